"""The README keeps its word: its example runs, its links lead somewhere, its commands exist."""

import re
from pathlib import Path

import pytest

TOP = Path(__file__).parents[1]
README = (TOP / "README.md").read_text()
EXAMPLES = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


def test_the_example_runs(capsys):
    exec(compile(EXAMPLES[0], "README.md", "exec"), {})
    first, second, third, fourth, fifth, sixth = capsys.readouterr().out.splitlines()
    assert re.match(r"\{'train': 0\.\d+, 'val': 0\.\d+\}", first)
    assert second.startswith("True ")
    assert re.fullmatch(r"\d+ torch.Size\(\[2708, 1433\]\)", third)
    accuracy, shape = fourth.split(" ", 1)
    assert float(accuracy) > 0.7
    assert shape == "torch.Size([2708, 64])"
    assert float(fifth) > 0.7
    assert float(sixth) > 0.95


@pytest.mark.usefixtures("movielens")
def test_the_example_of_samplers_runs(capsys):
    exec(compile(EXAMPLES[1], "README.md", "exec"), {})
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert [name for name, *_ in lines] == ["uniform", "dns"]
    (_, uniform, accuracy), (_, dns, other) = lines
    assert 0.9 < float(uniform) < 1.1
    assert float(dns) > 3
    assert min(float(accuracy), float(other)) > 0.12  # popularity alone: 0.104


@pytest.mark.parametrize("target", sorted(set(re.findall(r"\]\(([^)#:]+)\)", README))))
def test_links_lead_to_files(target):
    assert (TOP / target).exists()


@pytest.mark.parametrize("target", re.findall(r"^make (\w+)", README, re.MULTILINE))
def test_commands_are_targets_of_the_makefile(target):
    assert re.search(rf"^{target}:", (TOP / "Makefile").read_text(), re.MULTILINE)
