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

from graphnoise.statistics import compare_draws

TOP = Path(__file__).parents[1]
PAGE = TOP / "docs" / "techniques.md"
DATA = tomllib.loads(PAGE.with_suffix(".toml").read_text())
# Of those that carry over to graphs or clicks, by their number.
PAPERS = {int(number): paper for number, paper in DATA["papers"].items()}
FIELDS = ("number", "name", "where", "tier", "assumes", "helps", "harms", "cost", "test")
EFFECT = {"record": "techniques", "against": "ce", "measure": "test_accuracy"}
TECHNIQUES: list[dict[str, Any]] = [
    {**technique, **({"effect": EFFECT | technique["effect"]} if "effect" in technique else {})}
    for technique in DATA["technique"]
]


def effect(technique: Mapping[str, Any], folder: Path = TOP / "benchmarks" / "results") -> list[str]:
    """Return lines with the difference of two rows of a record, in points, paired by draw; none without a record.

    A technique's `effect` holds row, grid where a record has several, and what differs from `EFFECT`.
    """
    if not (asked := technique.get("effect")):
        return []
    table = pd.read_csv(folder / f"{asked['record']}.csv", low_memory=False)
    if "grid" in asked:
        table = table[table["grid"] == asked["grid"]]
    lines = []
    for (dataset, kind, rate), cells in table.groupby(["dataset", "noise", "rate"], sort=True):
        for suffix, labels in (("", ""), (":labels=graph-gp", ", labels corrected first")):
            values = {}
            for row in (asked["row"] + suffix, asked["against"] + suffix):
                own = cells[cells["row"] == row].dropna(subset=[asked["measure"]])
                values[row] = {int(draw): list(part[asked["measure"]]) for draw, part in own.groupby("draw")}
            for compared in compare_draws(values) if all(values.values()) else []:
                half = "" if compared.half_width is None else f" ± {100 * compared.half_width:.1f}"
                noise = "no noise" if kind == "none" else f"{kind} {rate:g}"
                lines.append(
                    f"{dataset}, {noise}{labels}: {100 * compared.difference:+.1f}{half} "
                    f"({compared.pairs} draw{'s' * (compared.pairs != 1)})"
                )
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
        DATA["summary"].strip(),
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
        if measured := effect(technique):
            asked = technique["effect"]
            record = f"[{asked['record']}.csv](../benchmarks/results/{asked['record']}.csv)"
            what = asked["measure"].replace("_", " ")
            lines.append(
                f"- measured: {what} of `{asked['row']}` minus that of `{asked['against']}`, in points, ± half a 95 % "
                f"interval, {record}: {'; '.join(measured)}"
            )
    return "\n".join(lines) + "\n"


def main() -> int:
    """Write the page."""
    PAGE.write_text(page())
    print(f"wrote {PAGE}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
