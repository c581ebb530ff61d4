"""The folder of an audit as part of the page: figures, and suspects with their neighbourhoods."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas

from graphnoise import checks
from graphnoise.audit.drawings import Seen, colour, star
from graphnoise.bench.page.figure import Figure
from graphnoise.datasets.tables import named_frame
from graphnoise.errors import DataError, GraphnoiseError
from graphnoise.io import reading

FILES = ("labels.csv", "suspects.jsonl", "transition.csv")
# Suspects on the page, and points of a curve.
MAX_SUSPECTS, POINTS = 300, 200


@dataclass(frozen=True)
class Suspect:
    """A suspected label: node, given and suggested class ("" for none), chances, reason, and its neighbours as SVG."""

    node: str
    given: str
    suggested: str
    credibility: float
    probability: float
    why: str
    drawing: str


@dataclass(frozen=True)
class AuditPart:
    """What the page shows of an audit.

    Attributes:
        about: Name, command, date, machine and summary, as far as they are recorded.
        figures: Transition matrix, and the expected precision and recall of looking.
        suspects: The first suspects.
        more: Number of those that are not shown.
        classes: Names of the classes with their colours.
    """

    about: dict[str, Any]
    figures: Sequence[Figure]
    suspects: Sequence[Suspect]
    more: int
    classes: Sequence[tuple[str, str]]


def is_audit(folder: Path) -> bool:
    """Return whether a folder has a file of an audit of labels."""
    return any((folder / name).exists() for name in FILES[:2])


def read_audit(folder: Path) -> AuditPart:
    """Return what the page shows of an audit.

    Raises:
        DataError: A file is absent, damaged, of another version, or has numbers that are no probabilities.
    """
    for name in FILES:
        if not (folder / name).exists():
            raise DataError(f"{folder}: expected the files of `graphnoise audit`, got none named {name}")
    texts: dict[str, Any] = {"keep_default_na": False, "dtype": {"true": str, "given": str, "node": str}}
    transition = named_frame("folder", folder / "transition.csv", **texts)
    labels = named_frame("folder", folder / "labels.csv", **texts)
    for frame, file, columns in (
        (transition, "transition.csv", ("probability", "low", "high")),
        (labels, "labels.csv", ("credibility",)),
    ):
        for column in columns:
            if column not in frame:
                raise DataError(f"{folder / file}: expected a column {column!r}, got none")
            _chances(folder / file, column, frame[column])
    names = list(dict.fromkeys(transition["true"]))
    about = _about(folder / "audit.json")
    suspects, total = _suspects(folder / "suspects.jsonl", names)
    command = str(about.get("command", ""))
    figures = [_confusion(transition, command), _looking(labels, command)]
    colours = [(name, colour(place, len(names))) for place, name in enumerate(names)]
    return AuditPart(about, figures, suspects, total - len(suspects), colours)


def _chances(file: Path, column: str, values: Any) -> Any:
    try:
        array = np.asarray(values, dtype=float)
    except (TypeError, ValueError):
        array = np.array([np.nan])
    if not ((array >= 0) & (array <= 1)).all():
        raise DataError(f"{file}: expected numbers in [0, 1] as {column}, got others (NaN or text among them)")
    return array


def _about(file: Path) -> dict[str, Any]:
    if not file.exists():
        return {}
    with reading(file):
        about = json.loads(file.read_bytes())
    if not isinstance(about, dict) or not isinstance(about.get("environment"), dict):
        raise DataError(f"{file}: expected an object that `graphnoise audit` wrote, got another")
    return about


def _confusion(transition: pandas.DataFrame, command: str) -> Figure:
    frame = transition.rename(columns={"true": "true class", "given": "given class"})
    note = "Probability of each given class for each true class, with 95 % intervals in the table."
    return Figure(
        "How classes are confused",
        note,
        frame,
        "heat",
        "probability",
        "true class",
        None,
        "given class",
        command=command,
    )


def _looking(labels: pandas.DataFrame, command: str) -> Figure:
    """Return expected precision and recall of looking at the least credible labels first."""
    credibility = np.sort(labels["credibility"].to_numpy(dtype=float))
    looks = np.arange(1, len(credibility) + 1)
    found = np.cumsum(1 - credibility)
    places = np.unique(np.geomspace(1, max(len(looks), 1), POINTS).astype(int)) - 1
    places = places[places < len(looks)]
    total = max(float(found[-1]), 1e-12) if len(found) else 1.0
    frame = pandas.DataFrame(
        {
            "labels looked at": looks[places],
            "expected wrong": found[places],
            "expected recall, %": 100 * found[places] / total,
            "expected precision, %": 100 * found[places] / looks[places],
        }
    )
    note = (
        "The least credible labels are looked at first; expected by the credibilities, not measured against the truth. "
        "At the right end, all labels are looked at."
    )
    x, y = "expected recall, %", "expected precision, %"
    return Figure("Detection curve of the audit", note, frame, "lines", x, y, command=command)


def _suspects(file: Path, classes: Sequence[str]) -> tuple[list[Suspect], int]:
    with reading(file):
        lines = [line for line in file.read_text(encoding="utf-8").splitlines() if line.strip()]
    suspects = []
    for number, line in enumerate(lines[:MAX_SUSPECTS], 1):
        try:
            suspects.append(_suspect(json.loads(line), classes))
        except (GraphnoiseError, ValueError, KeyError, TypeError, AttributeError) as error:
            reason = " ".join(str(error).split())
            raise DataError(f"{file}, line {number}: expected a suspect, got another line ({reason})") from error
    return suspects, len(lines)


def _suspect(entry: dict[str, Any], classes: Sequence[str]) -> Suspect:
    places = {name: place for place, name in enumerate(classes)}

    def node(name: object, given: object, credibility: object) -> Seen:
        text = "no label" if given is None else str(given)
        chance = None if credibility is None else checks.rate("credibility", credibility)
        return Seen(str(name), text, places.get(text, -1), chance)

    centre = node(entry["node"], entry["given"], entry["credibility"])
    drawing = ""
    # Folders of earlier versions have no neighbours in this file.
    if "neighbours" in entry:
        ends = [node(end["node"], end["given"], end["credibility"]) for end in entry["neighbours"]]
        drawing = star(centre, ends, checks.integer("more", entry["more"], 0), len(classes))
    return Suspect(
        centre.name,
        centre.given,
        "" if entry["suggested"] is None else str(entry["suggested"]),
        checks.rate("credibility", entry["credibility"]),
        checks.rate("probability", entry["probability"]),
        str(entry["why"]),
        drawing,
    )
