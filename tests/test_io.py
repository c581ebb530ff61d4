"""Atomic writes: whole files or none, links followed, devices and folders never replaced."""

import gzip
import os
import stat
import threading
from pathlib import Path

import pytest

from graphnoise.errors import DataError
from graphnoise.io import atomic_write, read_text_bytes


def write(path, data=b"data"):
    with atomic_write(path) as file:
        file.write(data)


def test_an_error_leaves_the_old_file(tmp_path):
    path = tmp_path / "folder" / "file"
    write(path, b"old")
    with pytest.raises(TypeError), atomic_write(path) as file:
        file.write("text")
    assert path.read_bytes() == b"old"
    assert [entry.name for entry in path.parent.iterdir()] == ["file"]


@pytest.mark.parametrize("exists", [True, False])
def test_a_link_is_followed(tmp_path, exists):
    (tmp_path / "other").mkdir()
    target, link = tmp_path / "other" / "file", tmp_path / "link"
    if exists:
        target.write_bytes(b"old")
    link.symlink_to(target)
    write(link, b"new")
    assert link.is_symlink()
    assert target.read_bytes() == b"new"
    assert [entry.name for entry in target.parent.iterdir()] == ["file"]


def test_a_pipe_is_written_to(tmp_path):
    path = tmp_path / "pipe"
    os.mkfifo(path)
    contents = []
    reader = threading.Thread(target=lambda: contents.append(path.read_bytes()))
    reader.start()
    write(path)
    reader.join()
    assert contents == [b"data"]
    assert stat.S_ISFIFO(path.stat().st_mode)


def test_devices_stay_devices():
    write(Path("/dev/null"))
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)


def test_a_full_device_is_an_error(tmp_path):
    link = tmp_path / "full"
    link.symlink_to("/dev/full")
    with pytest.raises(DataError, match="full: cannot be written"):
        write(link, b"data" * 100)
    assert stat.S_ISCHR(os.stat("/dev/full").st_mode)


def test_a_folder_is_an_error(tmp_path):
    with pytest.raises(DataError, match="cannot be written"):
        write(tmp_path)
    assert tmp_path.is_dir()


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_limits_of_text(tmp_path, monkeypatch, suffix):
    path = tmp_path / f"text.csv{suffix}"
    path.write_bytes(gzip.compress(b"12\n34567") if suffix else b"12\n34567")
    assert read_text_bytes(path) == b"12\n34567"
    monkeypatch.setattr("graphnoise.io.MAX_LINE", 4)
    with pytest.raises(DataError, match=r"text\.csv.*: expected lines of at most 4 bytes"):
        read_text_bytes(path)
    monkeypatch.setattr("graphnoise.io.MAX_TEXT", 7)
    with pytest.raises(DataError, match=r"text\.csv.*: expected at most 7 bytes of text"):
        read_text_bytes(path)


def test_a_line_of_400_megabytes_is_refused_early(tmp_path):
    path = tmp_path / "line.csv.gz"
    with gzip.open(path, "wb", compresslevel=1) as file:
        for _ in range(400):
            file.write(b"1," * (1 << 19))
    with pytest.raises(DataError, match="expected lines of at most"):
        read_text_bytes(path)
