"""What is built is what users get: a wheel with two packages, the compiled module and the catalogue of data sets."""

import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

TOP = Path(__file__).parents[1]
USE = """
import sys
sys.path[:0] = sys.argv[1:]
import graphnoise, recsys, torch
assert graphnoise.__file__.startswith(sys.argv[1]), graphnoise.__file__
graph = graphnoise.Graph.from_edge_index(torch.tensor([[0, 1], [1, 0]]))
result = graphnoise.propagate(graph, torch.eye(2), alpha=1.0, num_steps=1)
print(graphnoise.__version__, len(graphnoise.datasets.names()), result.y.tolist())
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """Unpack a wheel that was built from the source."""
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(folder)]
    subprocess.run([*command, "--config-settings", f"build-dir={folder / 'build'}", str(TOP)], check=True)
    (path,) = folder.glob("graphnoise-*.whl")
    with zipfile.ZipFile(path) as archive:
        archive.extractall(folder / "unpacked")
        return folder / "unpacked", archive.namelist()


def test_the_wheel_holds_the_packages_and_nothing_else(wheel):
    _, names = wheel
    assert {name.split("/")[0].split("-")[0] for name in names} == {"graphnoise", "recsys"}
    for needed in ("graphnoise/py.typed", "recsys/py.typed", "graphnoise/datasets/_manifest/manifest.toml"):
        assert needed in names
    assert "graphnoise/datasets/_manifest/splits/cora.csv" in names
    assert any(name.startswith("graphnoise/kernels/_native.") and name.endswith(".so") for name in names)
    assert not [name for name in names if name.endswith((".cpp", ".h", ".csv.gz", ".npz")) or "test" in name]


def test_the_wheel_works_where_the_source_is_not(wheel, tmp_path):
    folder, _ = wheel
    command = [sys.executable, "-S", "-W", "ignore", "-c", USE, str(folder), sysconfig.get_path("purelib")]
    shown = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    assert shown == "0.1.0 8 [[0.0, 1.0], [1.0, 0.0]]\n"
