"""Rules about the source itself: who may import whom, no global random state, no pickles, names of entry points."""

import ast
import re
from pathlib import Path

import pytest

TOP = Path(__file__).parents[1]
SOURCES = sorted(p for package in ("graphnoise", "recsys") for p in (TOP / package).rglob("*.py"))


def imports(path):
    """Yield (module, at the top level of the file?) for each absolute import."""
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names = [node.module]
        for name in names:
            yield name, node in tree.body


def test_there_are_sources():
    assert len(SOURCES) > 30


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(TOP)))
def test_source_rules(path):
    text = path.read_text()
    if path.parts[len(TOP.parts)] == "graphnoise":
        for name, top in imports(path):
            knows_recsys = name.split(".")[0] == "recsys"
            command_line = path.parent.name == "cli"
            assert not knows_recsys or (command_line and not top), "graphnoise never imports recsys"
    assert not re.search(r"np\.random\.(seed|rand|randn|choice|shuffle|permutation|uniform|normal)\(", text)
    assert not re.search(r"torch\.(manual_seed|seed)\(|(?<![\w.])random\.(seed|random|choice)\(", text)
    assert "allow_pickle=True" not in text
    assert "weights_only=False" not in text
    assert len(text.splitlines()) <= 400, "a file over 400 lines is two rooms"
