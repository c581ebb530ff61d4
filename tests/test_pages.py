"""The README and the pages of docs: every block of Python and of commands runs or says why not; all commands parse."""

import glob
import re
import shlex
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.core import TyperCommand

from graphnoise.cli.main import main
from graphnoise.robust import methods

TOP = Path(__file__).parents[1]
PAGES = {path.stem: path.read_text() for path in [TOP / "README.md", *sorted((TOP / "docs").glob("*.md"))]}
MARK = r"(?:<!-- not run: (?P<reason>[^\n]+) -->\n)?"
BLOCK = re.compile(MARK + r"^```(?P<kind>python|sh)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)


def commands(text):
    """The command lines of `graphnoise` in blocks, fenced or indented, and in tables."""
    joined = text.replace("\\\n", " ")
    yield from re.findall(r"^(?:    )?graphnoise (.+)", joined, re.MULTILINE)
    # In a sentence a command without a file or an option's value is a name, and capitals stand for one.
    inline = re.findall(r"`graphnoise ([^`…]+ [^`…]*(?:--|\.)[^`…]*)`", joined)
    yield from (line for line in inline if not re.search(r"\b[A-Z]{4}|--[a-z-]+$", line))


def files():
    """What the commands and blocks of docs/scale.md read."""
    edges = pd.DataFrame({"source": [0, 1, 2, 3], "target": [1, 2, 3, 0]})
    edges.to_parquet("edges.parquet")
    renamed = edges.set_axis(["from", "to"], axis=1).assign(amount=1.0)
    renamed.to_csv("part-1.csv", index=False)
    np.save("labels.npy", np.eye(4, 2, dtype=np.float32))
    clicks = {"who": ["ann", "bob", "ann", "bob"], "what": [7, 7, 9, 8], "stars": [5, 4, -1, 2]}
    pd.DataFrame({**clicks, "day": ["2026-05-17"] * 4}).to_csv("ratings.csv", index=False)


def run(kind, text, names):
    """Run a block; commands run in this process and with one job."""
    if kind == "python":
        exec(compile(text, "block", "exec"), names)
        return
    for line in commands(text):
        words = [part for word in shlex.split(line, comments=True) for part in sorted(glob.glob(word)) or [word]]
        with pytest.raises(SystemExit) as stop:
            main([*words, *["--jobs", "1"] * (words[0] == "bench")])
        assert stop.value.code == 0, line


def readme(blocks):
    assert float(blocks[1]) > 0.7


def audit(blocks):
    assert "some labels are wrong" in blocks[0]
    assert "neighbours say" in blocks[0]


def clustering(blocks):
    (*numbers,) = map(float, blocks[0].split())
    labels, plain, weighted, auto, beliefs = numbers
    assert plain < labels < weighted - 0.2
    assert auto > labels + 0.2
    assert min(auto, beliefs) > weighted
    assert float(blocks[1]) > 0.9
    assert blocks[2].count("True") == 3


def library(blocks):
    rates, label_propagation, layer, erase, cluster, posterior = blocks[0].splitlines()
    assert re.match(r"\{'train': 0\.\d+, 'val': 0\.\d+\}", rates)
    assert label_propagation.startswith("True ")
    assert re.fullmatch(r"\d+ torch.Size\(\[2708, 1433\]\)", layer)
    accuracy, shape = erase.split(" ", 1)
    assert float(accuracy) > 0.7
    assert shape == "torch.Size([2708, 64])"
    assert float(cluster) > 0.7
    assert float(posterior) > 0.95
    (first, uniform, accuracy), (second, dns, other) = (line.split() for line in blocks[2].splitlines())
    assert (first, second) == ("uniform", "dns")
    assert 0.9 < float(uniform) < 1.1
    assert float(dns) > 3
    # Popularity alone: 0.104.
    assert min(float(accuracy), float(other)) > 0.12


def recommenders(blocks):
    _, learned, published, popularity = blocks[0].splitlines()
    assert float(learned) > float(popularity) < float(published)
    assert blocks[1].splitlines()[::2] == ["['h'] ['f' 'g' 'h' None]", "['f' 'g']"]


def robust(blocks):
    assert float(blocks[0].split()[0]) > 0.78


def robust_methods(blocks):
    assert "grad_fn" in blocks[0]
    assert 0 < float(blocks[0].split()[-1]) < 1
    assert float(blocks[1]) > 0.8


def tour_library(blocks):
    cross_entropy, corrected = (float(line.split()[-1]) for line in blocks[3].splitlines())
    assert corrected > cross_entropy + 0.05
    assert min(float(blocks[1].split()[0]), float(blocks[2])) > 0.9
    assert "some labels are wrong" in blocks[4]


def tour_command_line(blocks):
    assert "ggp" in blocks[0]
    assert "some labels are wrong" in blocks[2]
    assert "itemknn" in blocks[5]


# What the blocks of a page must print.
CHECKS = {
    check.__name__.replace("_", "-").replace("readme", "README"): check
    for check in (
        *(readme, audit, clustering, library, recommenders, robust, robust_methods),
        *(tour_library, tour_command_line),
    )
}


@pytest.mark.parametrize("page", [page for page, text in PAGES.items() if BLOCK.search(text)])
def test_blocks_run(page, tmp_path, monkeypatch, capsys, request):
    """Blocks of Python share their names, and all blocks of a page a folder."""
    import matplotlib.pyplot as plt

    monkeypatch.chdir(tmp_path)
    plt.switch_backend("Agg")
    if page == "scale":
        files()
    names, blocks = {"__name__": "page"}, []
    for block in BLOCK.finditer(PAGES[page]):
        if block["reason"] is None:
            if "ml-100k" in block["text"]:
                request.getfixturevalue("movielens")
            run(block["kind"], block["text"], names)
            blocks.append(capsys.readouterr().out)
    plt.close("all")
    if page in CHECKS:
        CHECKS[page](blocks)


def test_few_blocks_do_not_run_and_say_why():
    reasons = [block["reason"] for text in PAGES.values() for block in BLOCK.finditer(text)]
    assert len(reasons) > 30
    assert all(len(reason) > 10 for reason in reasons if reason is not None)
    assert len([reason for reason in reasons if reason is not None]) <= 8
    assert sum(text.count("<!-- not run") for text in PAGES.values()) == len([r for r in reasons if r is not None])


@pytest.mark.parametrize("line", sorted({line for text in PAGES.values() for line in commands(text)}))
def test_commands_parse(line, monkeypatch, capsys):
    monkeypatch.setattr(TyperCommand.__base__, "invoke", lambda self, context: None)
    with pytest.raises(SystemExit) as stop:
        main(shlex.split(line, comments=True))
    assert stop.value.code == 0, capsys.readouterr().err


def test_a_wrong_option_does_not_parse(monkeypatch, capsys):
    monkeypatch.setattr(TyperCommand.__base__, "invoke", lambda self, context: None)
    with pytest.raises(SystemExit) as stop:
        main(["bench", "nodes", "--methods", "lp"])
    assert stop.value.code == 2


def test_methods_that_the_page_offers_for_pairs_need_no_graph():
    text = PAGES["robust-methods"]
    offered = re.findall(r"`([a-z-]+)`", text[text.index("It trains with") : text.index("the other methods need")])
    losses = re.findall(r"^\| (`[^|]+) \|", text[: text.index("## Selection")], re.MULTILINE)
    named = {*(set(offered) - {"rate"}), *re.findall(r"`([a-z-]+)`", " ".join(losses))}
    assert named == {name for name in methods.names() if not methods.load(name).needs_graph}


@pytest.mark.parametrize("page", ["limits", "which-method"])
def test_figures_of_pages_that_gather_are_on_the_pages_that_they_link(page):
    linked = "".join(PAGES[name] for name in set(re.findall(r"\]\(([a-z-]+)\.md", PAGES[page])) - {"limits"})
    figures = set(re.findall(r"\d*\.\d+", re.sub(r"`[^`]*`|\]\([^)]*\)", "", PAGES[page])))
    assert len(figures) >= 5
    assert not {figure for figure in figures if figure not in linked}
