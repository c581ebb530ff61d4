import os
import subprocess
import sys

import pytest

from graphnoise import DataError, InputError
from graphnoise.datasets.files import cache_folder, root_folder, sha256, write_data


def test_a_write_is_whole_or_nothing(tmp_path):
    path = tmp_path / "deep" / "a.bin"
    with write_data(path) as file:
        file.write(b"first")
        assert not path.exists()
    assert path.read_bytes() == b"first"
    with pytest.raises(ZeroDivisionError), write_data(path) as file:
        file.write(b"second, not finished" * (1 // 0))
    assert path.read_bytes() == b"first"
    assert os.listdir(path.parent) == ["a.bin"]
    assert sha256(path) == "a7937b64b8caa58f03721bb6bacf5c78cb235febe0e70b1b84cd99541461a08e"


def test_a_killed_writer_leaves_nothing_that_is_read(tmp_path):
    code = f"""
import pathlib, time
from graphnoise.datasets.files import write_data
with write_data(pathlib.Path({str(tmp_path / "a.bin")!r})) as file:
    file.write(b"half"); file.flush(); print("writing", flush=True); time.sleep(60)
"""
    with subprocess.Popen([sys.executable, "-W", "ignore", "-c", code], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "writing\n"
        process.kill()
        process.wait()
    left = os.listdir(tmp_path)
    assert len(left) == 1
    assert left[0].endswith(".tmp")
    assert left[0].startswith(".a.bin.")
    with write_data(tmp_path / "a.bin") as file:
        file.write(b"whole")
    assert (tmp_path / "a.bin").read_bytes() == b"whole"


def test_a_folder_that_cannot_be_written_is_one_clear_error(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("GRAPHNOISE_CACHE", str(tmp_path / "file"))
    with pytest.raises(DataError, match=r"cannot be written .*GRAPHNOISE_CACHE"), write_data(cache_folder() / "a"):
        pass
    monkeypatch.delenv("GRAPHNOISE_CACHE")
    with pytest.raises(DataError, match=r"cannot be written \(\w"), write_data(tmp_path / "file" / "a"):
        pass


def test_folders_come_from_the_argument_or_the_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("GRAPHNOISE_DATA", str(tmp_path))
    assert root_folder() == tmp_path
    assert root_folder(tmp_path / "..") == tmp_path / ".."
    monkeypatch.setenv("GRAPHNOISE_DATA", "")
    assert root_folder() is None
    with pytest.raises(InputError, match=r"^root: expected an existing folder, got .*nowhere"):
        root_folder(tmp_path / "nowhere")
    monkeypatch.setenv("GRAPHNOISE_DATA", str(tmp_path / "nowhere"))
    with pytest.raises(InputError, match=r"^GRAPHNOISE_DATA: expected an existing folder"):
        root_folder()
    monkeypatch.delenv("GRAPHNOISE_CACHE")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder() == tmp_path / ".cache" / "graphnoise"
