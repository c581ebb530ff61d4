"""The page of an audit: one HTML file without external resources, for light and dark screens."""

from __future__ import annotations

from html import escape
from typing import Any

import numpy as np
import pandas

from graphnoise.audit import drawings
from graphnoise.audit.audit import Audit
from graphnoise.audit.explain import two_digits

# Suspects in the table, and neighbourhoods that are drawn.
ROWS, DRAWN = 25, 12
CONFUSED = """Probability of the given class (columns) for each true class (rows); point at an entry for its 95 %
interval."""
COLOURED = "Colours are given classes, rings labels that are probably wrong"
FOUND = "Expected number of wrong labels found, the least credible looked at first; dashed: at random."
STYLE = """
:root { color-scheme: light dark; --text: #1d2430; --back: #fff; --soft: #667085; --line: #d8dde6; --panel: #f6f7f9;
  --right: #2f7dd1; --wrong: #d9480f; }
@media (prefers-color-scheme: dark) { :root { --text: #e4e7ec; --back: #14171c; --soft: #98a2b3; --line: #343a46;
  --panel: #1c2027; --right: #5b9be0; --wrong: #f0743e; } }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--text); background: var(--back); margin: 0 auto;
  padding: 1.5rem; max-width: 1080px; }
h1 { font-size: 1.5rem; margin: 0 0 .5rem; } h2 { font-size: 1.1rem; margin: 2rem 0 .5rem; }
p { max-width: 75ch; } .soft, figcaption { color: var(--soft); } .wide { overflow-x: auto; }
.charts { display: grid; grid-template-columns: repeat(auto-fit, minmax(320px, 1fr)); gap: 1.5rem; }
.stars { display: grid; grid-template-columns: repeat(auto-fill, minmax(220px, 1fr)); gap: 1rem; }
figure { margin: 0; background: var(--panel); border: 1px solid var(--line); border-radius: 6px; padding: .75rem; }
figcaption { font-size: .85rem; overflow-wrap: anywhere; } figcaption b { color: var(--text); }
table { border-collapse: collapse; font-size: .9rem; } th { font-weight: 600; text-align: left; white-space: nowrap; }
td, th { padding: .25rem .6rem; border-bottom: 1px solid var(--line); vertical-align: top; overflow-wrap: break-word; }
.number { text-align: right; font-variant-numeric: tabular-nums; }
.heat td { text-align: center; font-variant-numeric: tabular-nums; border: 1px solid var(--back); }
.heat .right { background: color-mix(in srgb, var(--right) var(--share), var(--panel)); }
.heat .wrong { background: color-mix(in srgb, var(--wrong) var(--share), var(--panel)); }
svg { width: 100%; height: auto; } svg text { fill: var(--soft); font-size: 11px; } svg line { stroke: var(--line); }
.bar { fill: var(--right); } .curve { fill: none; stroke: var(--right); stroke-width: 2; }
.chance { fill: none; stroke: var(--soft); stroke-dasharray: 4 4; } .star circle { stroke: var(--soft); }
.star .doubted { stroke: var(--wrong); stroke-width: 3; }
.key span { display: inline-block; width: .8em; height: .8em; border-radius: 50%; margin: 0 .3em 0 1em; }
"""


def page(audit: Audit, title: str, suspects: pandas.DataFrame, summary: str) -> str:
    """Return the page of an audit as HTML.

    Args:
        audit: The audit.
        title: What was audited, for the heading.
        suspects: Its suspects, as `Audit.suspects` returns them.
        summary: Its report, as `Audit.report` returns it.
    """
    posterior, estimate = audit.posterior, audit.estimate
    expected = audit.review(len(posterior.given))["expected_wrong"].to_numpy()
    stars = "".join(_star(audit, row.Index, row) for row in suspects[:DRAWN].itertuples())
    sections = [
        f"<h1>Audit of the labels of {escape(title)}</h1>",
        "".join(f"<div>{escape(line)}</div>" for line in summary.splitlines()),
        f'<h2>How classes are confused</h2><p class="soft">{CONFUSED}</p>',
        drawings.heat_map(estimate.transition, estimate.low, estimate.high, posterior.classes),
        '<div class="charts"><section><h2>How credible the labels are</h2>',
        drawings.histogram(posterior.credibility),
        "</section><section><h2>What looking finds</h2>",
        drawings.yield_curve(expected),
        f'<p class="soft">{FOUND}</p></section></div>',
    ]
    if len(suspects):
        sections += [
            "<h2>The first suspects and their neighbours</h2>",
            f'<p class="key soft">{COLOURED}:{_key(audit)}</p><div class="stars">{stars}</div>',
            f"<h2>Suspects</h2>{_table(suspects)}",
        ]
    head = f'<meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{escape(title)}</title>'
    body = "\n".join(sections)
    return f'<!doctype html>\n<html lang="en"><head>{head}<style>{STYLE}</style></head>\n<body>{body}</body></html>\n'


def _star(audit: Audit, node: int, row: Any) -> str:
    suggested = "no suggestion" if row.suggested is None else row.suggested
    names = [escape(str(value)) for value in (row.node, row.given, suggested, row.why)]
    text = f"<b>{names[0]}</b>: {names[1]} → <b>{names[2]}</b><br>{names[3]}"
    return f"<figure>{drawings.neighbourhood(audit, node)}<figcaption>{text}</figcaption></figure>"


def _key(audit: Audit) -> str:
    codes = np.unique(audit.posterior.given[audit.posterior.labelled])[: drawings.MAX_CLASSES].tolist()
    count = len(audit.posterior.classes)
    return " ".join(
        f'<span style="background:{drawings.colour(code, count)}"></span>{escape(str(audit.posterior.classes[code]))}'
        for code in codes
    )


def _table(suspects: pandas.DataFrame) -> str:
    heads = "".join(f"<th>{name}</th>" for name in ("node", "given", "credibility", "suggested", "probability", "why"))
    rows = []
    for row in suspects[:ROWS].itertuples(index=False):
        cells = [
            f"<td>{escape(str(row.node))}</td><td>{escape(str(row.given))}</td>",
            f'<td class="number">{two_digits(row.credibility)}</td>',
            f"<td>{escape('–' if row.suggested is None else str(row.suggested))}</td>",
            f'<td class="number">{two_digits(row.probability)}</td><td>{escape(row.why)}</td>',
        ]
        rows.append(f"<tr>{''.join(cells)}</tr>")
    more = f'<p class="soft">{len(suspects) - ROWS:,} more in suspects.csv.</p>' if len(suspects) > ROWS else ""
    return f'<div class="wide"><table><tr>{heads}</tr>{"".join(rows)}</table></div>{more}'
