"""What is built is what users get: a wheel with two packages, the compiled module and the catalogue of data sets."""

import shutil
import subprocess
import sys
import zipfile
from importlib.util import find_spec
from pathlib import Path

import pytest

TOP = Path(__file__).parents[1]
USE = """
import sys
sys.path[:0] = sys.argv[1:]
import graphnoise, recsys, torch
assert graphnoise.__file__.startswith(sys.argv[1]), graphnoise.__file__
graph = graphnoise.Graph.from_edge_index(torch.tensor([[0, 1], [1, 0]]))
import recsys.kernels._native
result = graphnoise.propagate(graph, torch.eye(2), alpha=1.0, num_steps=1)
print(graphnoise.__version__, len(graphnoise.datasets.names()), result.y.tolist())
"""
# Stands before the compiler: the sources were compiled when this environment was made, so that objects are empty, and a
# module is a copy of the one that is imported here.
LAUNCHER = """#!/bin/sh
while [ "$1" != -o ]; do shift; done
case "$2" in
    recsys/*.so) cp '{recsys}' "$2" ;;
    *.so) cp '{graphnoise}' "$2" ;;
    *) : > "$2" ;;
esac
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """Unpack a wheel that was built from the source, but for the compilation."""
    folder = tmp_path_factory.mktemp("wheel")
    launcher = folder / "launcher"
    modules = {name: find_spec(f"{name}.kernels._native").origin for name in ("graphnoise", "recsys")}
    launcher.write_text(LAUNCHER.format(**modules))
    launcher.chmod(0o755)
    settings = {"build-dir": folder / "build"}
    settings |= {f"cmake.define.CMAKE_CXX_{tool}_LAUNCHER": launcher for tool in ("COMPILER", "LINKER")}
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(folder), str(TOP)]
    subprocess.run([*command, *(f"--config-settings={key}={value}" for key, value in settings.items())], check=True)
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
    assert {f"graphnoise/bench/page/page.{kind}" for kind in ("html.j2", "css", "js")} <= set(names)
    for package in ("graphnoise", "recsys"):
        assert any(name.startswith(f"{package}/kernels/_native.") and name.endswith(".so") for name in names)
    assert not [name for name in names if name.endswith((".cpp", ".h", ".csv.gz", ".npz")) or "test" in name]


def test_the_wheel_works_where_the_source_is_not(wheel, tmp_path):
    folder, _ = wheel
    installed = str(Path(find_spec("torch").origin).parents[1])
    command = [sys.executable, "-S", "-W", "ignore", "-c", USE, str(folder), installed]
    shown = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    assert shown == "0.2.0 8 [[0.0, 1.0], [1.0, 0.0]]\n"


@pytest.mark.skipif(shutil.which("cmake") is None, reason="no CMake outside the build environments of pip")
def test_a_missing_compiler_is_named(tmp_path):
    command = [shutil.which("cmake"), "-S", str(TOP), "-B", str(tmp_path), "-DSKBUILD_PROJECT_NAME=graphnoise"]
    command += ["-G", "Unix Makefiles", f"-DCMAKE_MAKE_PROGRAM={shutil.which('true')}"]
    done = subprocess.run(command, env={"PATH": str(tmp_path)}, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    said = " ".join(done.stderr.split())
    assert said.startswith(
        "CMake Error at CMakeLists.txt:6 (message): graphnoise: expected a C++ compiler, got none (Deb"
    )
    assert said.count("CMake Error") == 1
