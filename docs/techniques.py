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

from graphnoise.statistics import DrawComparison, Values, compare_draws, estimate

TOP = Path(__file__).parents[1]
PAGE = TOP / "docs" / "techniques.md"
DATA = tomllib.loads(PAGE.with_suffix(".toml").read_text())
# Of those that carry over to graphs or clicks, by their number.
PAPERS = {int(number): paper for number, paper in DATA["papers"].items()}
FIELDS = ("number", "name", "where", "tier", "assumes", "helps", "harms", "cost", "test")
TECHNIQUES: list[dict[str, Any]] = DATA["technique"]


def differences(
    asked: Mapping[str, Any], folder: Path = TOP / "benchmarks" / "results"
) -> tuple[dict[str, dict[str, DrawComparison]], dict[str, Values]]:
    """Return, by setting, the comparisons of rows of a record with the row `against`, and the values of that row.

    Args:
        asked: The record, the row that others are compared `against`, the measure, `start` and `end` of the rows, and
            `others`, rows that are no techniques.
        folder: Folder of the records.
    """
    cells = pd.read_csv(folder / f"{asked['record']}.csv", low_memory=False).rename(columns={"seed": "draw"})
    start, end, against = asked.get("start", ""), asked.get("end", ""), asked["against"]
    own = cells["row"].str.startswith(start) & cells["row"].str.endswith(end)
    # Rows with other settings of a technique are not shown.
    own &= ~cells["row"].str.removeprefix(start).str.removesuffix(end).str.contains(":", regex=False)
    cells = cells[own | cells["row"].isin([against, *asked.get("others", [])])].dropna(subset=[asked["measure"]])
    if cells.duplicated(["row", "dataset", "noise", "rate", "draw"]).any():
        raise ValueError(f"{asked['record']}: a cell stands twice")
    compared, references = {}, {}
    for (dataset, kind, rate), part in cells.groupby(["dataset", "noise", "rate"]):
        values = {
            row: {draw: [value] for draw, value in zip(group["draw"], group[asked["measure"]], strict=True)}
            for row, group in part.groupby("row")
        }
        if against in values:
            setting = f"{dataset} {kind}{'' if rate == 1 else f' {rate:g}'}".removesuffix(" none 0")
            compared[setting] = {pair.first: pair for pair in compare_draws(values, [against])}
            references[setting] = values[against]
    return compared, references


def measured(asked: Mapping[str, Any], folder: Path = TOP / "benchmarks" / "results") -> list[str]:
    """Return lines with a table of the differences in points, and which are significant; arguments of `differences`."""
    compared, references = differences(asked, folder)
    start, end, others = asked.get("start", ""), asked.get("end", ""), asked.get("others", [])
    rows = sorted({row for pairs in compared.values() for row in pairs} - set(others)) + others
    shown = {row: f"`{row if row in others else row.removeprefix(start).removesuffix(end)}`" for row in rows}
    signs: dict[str, set[bool]] = {row: set() for row in rows}

    def entry(setting: str, row: str) -> str:
        pair = compared[setting].get(row)
        if pair is None:
            return ""
        half = "" if pair.half_width is None else f" ± {100 * pair.half_width:.1f}"
        fewer = f" ({pair.pairs})" if pair.pairs < len(references[setting]) else ""
        significant = pair.p is not None and pair.p < 0.05
        signs[row] |= {pair.difference > 0} if significant else set()
        return f"{100 * pair.difference:+.1f}{half}{'*' * significant}{fewer}"

    record = f"[record](../benchmarks/results/{asked['record']}.csv)"
    titles = [f"{setting} ({len(values)})" for setting, values in references.items()]
    lines = ["", f"### {asked['title']}", "", f"| {record} | {' | '.join(titles)} |", "|---|" + "---|" * len(titles)]
    means = (f"{100 * estimate(values).mean:.1f}" for values in references.values())
    lines.append(f"| `{asked['against']}` | {' | '.join(means)} |")
    lines += [f"| {shown[row]} | {' | '.join(entry(setting, row) for setting in compared)} |" for row in rows]
    lines += ["", "With an asterisk in at least one column:", ""]
    for text, found in (("better", {True}), ("worse", {False}), ("better in one, worse in another", {True, False})):
        lines.append(f"- {text}: {', '.join(shown[row] for row in rows if signs[row] == found) or 'none'}")
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
