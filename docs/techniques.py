"""Writes techniques.md, the catalogue of techniques of the wider label-noise literature, from techniques.toml.

python docs/techniques.py            # writes docs/techniques.md
"""

from __future__ import annotations

import sys
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from graphnoise.statistics import compare_draws, estimate

TOP = Path(__file__).parents[1]
PAGE = TOP / "docs" / "techniques.md"
DATA = tomllib.loads(PAGE.with_suffix(".toml").read_text())
# Of those that carry over to graphs or clicks, by their number.
PAPERS = {int(number): paper for number, paper in DATA["papers"].items()}
FIELDS = ("number", "name", "where", "tier", "assumes", "helps", "harms", "cost", "test")
TECHNIQUES: list[dict[str, Any]] = DATA["technique"]


def measured(asked: Mapping[str, Any], folder: Path = TOP / "benchmarks" / "results") -> list[str]:
    """Return lines with a table of differences from a row of a record, in points, paired by draw.

    Args:
        asked: The title of the table, the record, the row that others are compared `against`, the measure, `start` and
            `end` of the rows, and `others`, rows that are no techniques.
        folder: Folder of the records.
    """
    cells = pd.read_csv(folder / f"{asked['record']}.csv", low_memory=False).rename(columns={"seed": "draw"})
    cells = cells.dropna(subset=[asked["measure"]])
    start, end, against = (asked.get(key, "") for key in ("start", "end", "against"))
    names = sorted({row for row in cells["row"] if row.startswith(start) and row.endswith(end) and row != against})
    names = [row for row in names if ":" not in row.removeprefix(start).removesuffix(end)]
    names = [row for row in names if row not in asked["others"]] + asked["others"]
    shown = {row: f"`{row if row in asked['others'] else row.removeprefix(start).removesuffix(end)}`" for row in names}
    entries: dict[str, list[str]] = {row: [] for row in (against, *names)}
    signs: dict[str, set[str]] = {row: set() for row in names}
    titles = []
    for (dataset, kind, rate), part in cells[cells["row"].isin(entries)].groupby(["dataset", "noise", "rate"]):
        values = {
            row: {int(draw): list(own[asked["measure"]]) for draw, own in group.groupby("draw")}
            for row, group in part.groupby("row")
        }
        if against not in values:
            continue
        noise = "" if kind == "none" else f" {kind}" if rate == 1 else f" {kind} {rate:g}"
        titles.append(f"{dataset}{noise} ({len(values[against])})")
        entries[against].append(f"{100 * estimate(values[against]).mean:.1f}")
        compared = {pair.first: pair for pair in compare_draws(values, [against])}
        for row in names:
            pair = compared.get(row)
            half = "" if pair is None or pair.half_width is None else f" ± {100 * pair.half_width:.1f}"
            star = "*" * (pair is not None and pair.p is not None and pair.p < 0.05)
            entries[row].append("" if pair is None else f"{100 * pair.difference:+.1f}{half}{star}")
            signs[row] |= {entries[row][-1][0]} if star else set()
    lines = ["", f"### {asked['title']}", ""]
    lines.append(f"| [record](../benchmarks/results/{asked['record']}.csv) | {' | '.join(titles)} |")
    lines.append("|---|" + "---|" * len(titles))
    lines += [f"| {shown.get(row, f'`{row}`')} | {' | '.join(texts)} |" for row, texts in entries.items()]
    lines += ["", "With an asterisk in at least one column:", ""]
    for text, kind in (("better", {"+"}), ("worse", {"-"}), ("better in one, worse in another", {"+", "-"})):
        lines.append(f"- {text}: {', '.join(shown[row] for row in names if signs[row] == kind) or 'none'}")
    return lines


def check(techniques: list[dict[str, Any]]) -> None:
    """Raise ValueError for a record that lacks a field, has another number, or stands twice."""
    seen = set()
    for technique in techniques:
        missing = [field for field in FIELDS if not technique.get(field)]
        if missing or technique["number"] not in PAPERS or technique["tier"] not in "ABC":
            raise ValueError(f"{technique.get('name')}: {', '.join(missing) or 'number or tier'}")
        key = (technique["number"], technique["name"])
        if key in seen:
            raise ValueError(f"{key}: twice")
        seen.add(key)


def page(techniques: list[dict[str, Any]] = TECHNIQUES) -> str:
    """Return the text of techniques.md."""
    check(techniques)
    ordered = sorted(techniques, key=lambda technique: (technique["number"], technique["name"]))
    covered = {technique["number"] for technique in ordered}
    missing = ", ".join(f"#{number}" for number in PAPERS if number not in covered)
    lines = [
        "# Techniques from the wider label-noise literature",
        "",
        (
            "Written by `python docs/techniques.py` from techniques.toml. Of 49 papers on wrong labels in other "
            f"fields, {len(PAPERS)} have a technique that carries over"
        ),
        f"to graphs or clicks; {len(covered)} of them are here, with {len(ordered)} techniques"
        + (f" (not here: {missing})." if missing else "."),
        "Where a docstring says “in the spirit of”, the text of the paper was not available,",
        "and formula and defaults are of this package.",
        "",
        "## Measured",
        "",
        DATA["summary"].strip(),
        *(line for asked in DATA["table"] for line in measured(asked)),
        "",
        "## All",
        "",
        "| # | technique | paper | tier |",
        "|---|---|---|---|",
    ]
    lines += [f"| {t['number']} | {t['name']} | {PAPERS[t['number']]} | {t['tier']} |" for t in ordered]
    for technique in ordered:
        lines += ["", f"## {technique['name']} (#{technique['number']})", "", f"*{PAPERS[technique['number']]}.*", ""]
        for field in ("assumes", "helps", "harms", "cost"):
            word = {"helps": "helps with", "harms": "harms with"}.get(field, field)
            lines.append(f"- {word}: {technique[field]}")
        lines += [f"- where: `{technique['where']}`", f"- test: `{technique['test']}`"]
    return "\n".join(lines) + "\n"


def main() -> int:
    """Write the page."""
    PAGE.write_text(page())
    print(f"wrote {PAGE}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
