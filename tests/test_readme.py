"""The README and docs/library.md hold: their examples run, links lead to files, commands exist."""

import re
from pathlib import Path

import pytest

from graphnoise.robust import methods

TOP = Path(__file__).parents[1]
README = (TOP / "README.md").read_text()
LIBRARY = (TOP / "docs" / "library.md").read_text()


def run(text, number, capsys):
    exec(compile(re.findall(r"```python\n(.*?)```", text, re.DOTALL)[number], "example", "exec"), {})
    return capsys.readouterr().out.splitlines()


def test_the_example_of_the_readme_runs(capsys):
    assert float(run(README, 0, capsys)[0]) > 0.7


def test_the_example_of_robust_classification_runs(capsys):
    accuracy, *_ = run((TOP / "docs" / "robust.md").read_text(), 0, capsys)
    assert float(accuracy) > 0.78


def test_the_example_of_a_method_of_ones_own_runs(capsys):
    (accuracy,) = run((TOP / "docs" / "robust-methods.md").read_text(), 1, capsys)
    assert float(accuracy) > 0.8


def test_methods_that_the_page_offers_for_pairs_need_no_graph():
    text = (TOP / "docs" / "robust-methods.md").read_text()
    offered = re.findall(r"`([a-z-]+)`", text[text.index("It trains with") : text.index("the other methods need")])
    losses = re.findall(r"^\| (`[^|]+) \|", text[: text.index("## Selection")], re.MULTILINE)
    named = {*(set(offered) - {"rate"}), *re.findall(r"`([a-z-]+)`", " ".join(losses))}
    assert named == {name for name in methods.names() if not methods.load(name).needs_graph}


def test_the_example_of_losses_runs(capsys):
    printed = "\n".join(run((TOP / "docs" / "robust-methods.md").read_text(), 0, capsys))
    assert "grad_fn" in printed
    assert 0 < float(printed.split()[-1]) < 1


def test_the_example_of_audits_runs(capsys):
    printed = "\n".join(run((TOP / "docs" / "audit.md").read_text(), 0, capsys))
    assert "some labels are wrong" in printed
    assert "neighbours say" in printed


def test_the_example_of_graphs_runs(capsys):
    rates, label_propagation, layer, erase, cluster, posterior = run(LIBRARY, 0, capsys)
    assert re.match(r"\{'train': 0\.\d+, 'val': 0\.\d+\}", rates)
    assert label_propagation.startswith("True ")
    assert re.fullmatch(r"\d+ torch.Size\(\[2708, 1433\]\)", layer)
    accuracy, shape = erase.split(" ", 1)
    assert float(accuracy) > 0.7
    assert shape == "torch.Size([2708, 64])"
    assert float(cluster) > 0.7
    assert float(posterior) > 0.95


@pytest.mark.usefixtures("movielens")
def test_the_example_of_recommenders_runs(capsys):
    lines = [line.split() for line in run(LIBRARY, 2, capsys)]
    assert [name for name, *_ in lines] == ["uniform", "dns"]
    (_, uniform, accuracy), (_, dns, other) = lines
    assert 0.9 < float(uniform) < 1.1
    assert float(dns) > 3
    # Popularity alone: 0.104.
    assert min(float(accuracy), float(other)) > 0.12


def test_the_examples_of_models_run(capsys):
    page = (TOP / "docs" / "recommenders.md").read_text()
    _, learned, published, popularity = run(page, 0, capsys)
    assert float(learned) > float(popularity) < float(published)
    assert run(page, 1, capsys)[::2] == ["['h'] ['f' 'g' 'h' None]", "['f' 'g']"]


PAGES = sorted(
    [TOP / "README.md", TOP / "CONTRIBUTING.md", *(TOP / "docs").glob("*.md"), TOP / "benchmarks" / "README.md"]
)


@pytest.mark.parametrize(
    ("page", "target"),
    [(page, link) for page in PAGES for link in sorted(set(re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text())))],
    ids=lambda value: value.name if isinstance(value, Path) else value,
)
def test_links_lead_to_files(page, target):
    assert (page.parent / target).exists()


@pytest.mark.parametrize("target", re.findall(r"^make (\w+)", README, re.MULTILINE))
def test_commands_are_targets_of_the_makefile(target):
    assert re.search(rf"^{target}:", (TOP / "Makefile").read_text(), re.MULTILINE)
