"""Folders of raw and cached files, atomic writes and checksums."""

from __future__ import annotations

import hashlib
import os
from contextlib import AbstractContextManager
from pathlib import Path
from typing import BinaryIO

from graphnoise import checks
from graphnoise.checks import fail
from graphnoise.datasets.safe import reading
from graphnoise.io import atomic_write

CACHE_HINT = "; GRAPHNOISE_CACHE sets another cache folder"


def cache_folder() -> Path:
    """Return the folder of fetched and converted files: `GRAPHNOISE_CACHE`, or `~/.cache/graphnoise`.

    Raises:
        InputError: The variable is not set, and there is no home folder.
    """
    return expanded("GRAPHNOISE_CACHE", os.environ.get("GRAPHNOISE_CACHE") or "~/.cache/graphnoise")


def expanded(name: str, path: str | os.PathLike[str]) -> Path:
    """Return a path with the home folder in place of `~`; `InputError` names the argument where there is none."""
    try:
        return checks.path(name, path).expanduser()
    except RuntimeError:
        fail(name, "a folder", f"{os.fspath(path)!r}, and there is no such home folder")


def root_folder(root: str | os.PathLike[str] | None = None) -> Path | None:
    """Return the folder that already holds data sets: the argument, or `GRAPHNOISE_DATA`, or none.

    Raises:
        InputError: The folder that was named does not exist.
    """
    name = root if root is not None else os.environ.get("GRAPHNOISE_DATA") or None
    if name is None:
        return None
    source = "root" if root is not None else "GRAPHNOISE_DATA"
    folder = expanded(source, name)
    try:
        exists = folder.is_dir()
    # A name that is too long.
    except OSError:
        exists = False
    if not exists:
        fail(source, "an existing folder", repr(str(name)))
    return folder


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal.

    Raises:
        DataError: The file cannot be read.
    """
    with reading(path), path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_data(path: Path) -> AbstractContextManager[BinaryIO]:
    """Write a file atomically; an error in the cache folder says how to set another one."""
    return atomic_write(path, hint=CACHE_HINT if path.is_relative_to(cache_folder()) else "")
