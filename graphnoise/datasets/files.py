"""Folders and files: where data are looked for, whole writes, checksums."""

from __future__ import annotations

import hashlib
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from graphnoise._check import DataError, fail
from graphnoise.datasets.safe import reading


def cache_folder() -> Path:
    """Return the folder of fetched and converted files: `GRAPHNOISE_CACHE`, or `~/.cache/graphnoise`."""
    return Path(os.environ.get("GRAPHNOISE_CACHE") or Path.home() / ".cache" / "graphnoise")


def root_folder(root: str | os.PathLike[str] | None = None) -> Path | None:
    """Return the folder that already holds data sets: the argument, or `GRAPHNOISE_DATA`, or none.

    Raises:
        InputError: the folder that was named does not exist.
    """
    given = root if root is not None else os.environ.get("GRAPHNOISE_DATA") or None
    if given is None:
        return None
    folder = Path(given).expanduser()
    if not folder.is_dir():
        fail("root" if root is not None else "GRAPHNOISE_DATA", "an existing folder", str(folder))
    return folder


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal.

    Raises:
        DataError: the file cannot be read.
    """
    with reading(path), path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def writing(path: Path) -> Iterator[BinaryIO]:
    """Write a whole file or none: a temporary file in the same folder, flush, sync, rename.

    A process that is killed leaves at most a hidden `.tmp` file, which nothing reads; of two processes that write at
    once, the last one's file stays, whole.

    Raises:
        DataError: the folder cannot be made or written.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with writing(Path(folder) / "a" / "b.bin") as file:
    ...         _ = file.write(b"whole")
    ...     (Path(folder) / "a" / "b.bin").read_bytes()
    b'whole'
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        hint = "; GRAPHNOISE_CACHE names another cache folder" if path.is_relative_to(cache_folder()) else ""
        raise DataError(f"{path}: cannot be written ({error.strerror or error}){hint}") from error
    finally:
        if temporary.exists():  # something failed half way
            temporary.unlink()
