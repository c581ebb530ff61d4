"""Links of the README and of the pages lead to files, and targets of make exist; what they run: `test_pages.py`."""

import re
from pathlib import Path

import pytest

from graphnoise.robust import methods

TOP = Path(__file__).parents[1]
README = (TOP / "README.md").read_text()


def test_the_readme_counts_the_methods_of_robust_training():
    assert f"[{len(methods.names())} methods](docs/robust-methods.md)" in README


PAGES = sorted(
    [TOP / "README.md", TOP / "CONTRIBUTING.md", *(TOP / "docs").rglob("*.md"), TOP / "benchmarks" / "README.md"]
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
