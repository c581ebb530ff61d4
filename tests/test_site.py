"""The site builds without a warning, and its pages load nothing from elsewhere."""

import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import unquote, urljoin

import pytest

TOP = Path(__file__).parents[1]
MISSING = [name for name in ("mkdocs", "material", "mkdocstrings", "mkdocs_jupyter") if find_spec(name) is None]
pytestmark = pytest.mark.skipif(bool(MISSING), reason=f"the extra `docs` is not installed: {', '.join(MISSING)}")


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The pages of the site by path."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--quiet", "--strict", "--site-dir", str(folder)]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=TOP, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, "WARNING" in done.stderr) == (0, False), done.stderr
    return folder, {path.relative_to(folder).as_posix(): path.read_text() for path in folder.rglob("*.html")}


def test_pages_load_nothing_from_elsewhere(site):
    _, pages = site
    loaded = r"""<(?:link\b[^>]*rel="?stylesheet[^>]*href|script\b[^>]*src|img\b[^>]*src|iframe\b[^>]*src)="?https?:"""
    assert len(pages) > 40
    assert not [name for name, text in pages.items() if re.search(loaded, text)]


def test_links_between_pages_lead_somewhere(site):
    folder, pages = site
    lost = set()
    for name, text in pages.items():
        base = "" if name == "404.html" else name
        for link in set(re.findall(r'<(?:a|img)\b[^>]*(?:href|src)="(?!https?:|mailto:|data:|#)([^"#?]+)', text)):
            target = folder / unquote(urljoin(f"/{base}", link)).lstrip("/")
            if not target.exists() or (target.is_dir() and not (target / "index.html").exists()):
                lost.add((name, link))
    assert not lost


def test_the_reference_shows_public_names_and_examples(site):
    _, pages = site
    page = pages["docs/reference/noise/index.html"]
    for name in ("LabelNoise", "Transition", "dual_transition"):
        assert f'id="graphnoise.noise.{name}"' in page
    assert "Examples:" in page
    assert "&gt;&gt;&gt;" in page
