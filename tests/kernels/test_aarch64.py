"""The row kernels on AArch64, run by qemu, have the bits of x86-64 where products and sums are rounded apart."""

import shutil
import subprocess
from pathlib import Path

import pytest

TOP = Path(__file__).parents[2]
SOURCES = (
    *(f"graphnoise/kernels/{name}/rows.cpp" for name in ("propagate", "attention", "beliefs")),
    "recsys/kernels/sgd/rows.cpp",
    "tests/kernels/row_kernels.cpp",
)
FLAGS = ("-std=c++17", "-O1", "-Werror", "-Wall", "-Wextra", "-Wno-psabi", "-ffp-contract=off", "-static")
INCLUDE = ("-Igraphnoise/kernels", "-Irecsys/kernels")
COMPILERS = {"g++": (), "aarch64-linux-gnu-g++": ("qemu-aarch64",)}


@pytest.mark.skipif(
    not all(shutil.which(name) for name in ("g++", "aarch64-linux-gnu-g++", "qemu-aarch64")),
    reason="needs g++, aarch64-linux-gnu-g++ and qemu-aarch64",
)
def test_row_kernels_on_aarch64(tmp_path):
    commands = [(name, *FLAGS, *INCLUDE, *SOURCES, "-o", str(tmp_path / name)) for name in COMPILERS]
    builds = [subprocess.Popen(command, cwd=TOP) for command in commands]
    assert [build.wait() for build in builds] == [0, 0]
    runs = [(*emulator, str(tmp_path / name)) for name, emulator in COMPILERS.items()]
    native, emulated = (subprocess.run(run, capture_output=True, check=True).stdout for run in runs)
    assert native.count(b"\n") > 700_000
    assert b"nan" not in native
    assert native == emulated
