"""Whole writes: a file is the old one or the new one, at any moment. And one error for files that are damaged."""

from __future__ import annotations

import contextlib
import os
import pickle
import secrets
import struct
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from graphnoise.checks import DataError


@contextlib.contextmanager
def atomic_write(path: Path, hint: str = "") -> Iterator[BinaryIO]:
    """Write a whole file or none: a temporary file in the same folder, flush, sync, rename.

    A killed process leaves at most a hidden `.tmp` file, which nothing reads; of two processes that write at once,
    the last one's file stays, whole.

    Args:
        path: The file; its folder is made if need be.
        hint: What the error message adds.

    Raises:
        DataError: The folder cannot be made or written.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     with atomic_write(Path(folder) / "a" / "b.bin") as file:
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
        raise DataError(f"{path}: cannot be written ({error.strerror or error}){hint}") from error
    finally:
        with contextlib.suppress(OSError):  # gone after the rename; left half-written otherwise
            temporary.unlink()


@contextlib.contextmanager
def reading(path: Path | str) -> Iterator[None]:
    """Turn what a damaged or absent file makes the readers raise into one `DataError` that names the file."""
    try:
        yield
    except OSError as error:
        raise DataError(f"{path}: {error.strerror or error}") from error
    except (
        *(EOFError, IndexError, KeyError, MemoryError, NotImplementedError, OverflowError, TypeError, ValueError),
        *(struct.error, zipfile.BadZipFile, zlib.error, pickle.UnpicklingError),
    ) as error:
        raise DataError(f"{path}: {str(error) or type(error).__name__}") from error
