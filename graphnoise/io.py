"""Atomic writes of files, and one error for damaged ones."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import pickle
import secrets
import struct
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from graphnoise.errors import DataError


@contextlib.contextmanager
def atomic_write(path: Path, hint: str = "") -> Iterator[BinaryIO]:
    """Write a file atomically: a temporary file in the same folder, flush, sync, rename.

    A killed process leaves at most a hidden `.tmp` file, which nothing reads; of two processes that write at once,
    the file of the last one remains, complete. A symbolic link stays, and the file that it names is replaced. A device
    or a pipe is written to at the end of the block, and never replaced.

    Args:
        path: The file; its folder is created if it does not exist.
        hint: Text at the end of the error message.

    Raises:
        DataError: The folder cannot be created or written.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     with atomic_write(Path(folder) / "a" / "b.bin") as file:
        ...         _ = file.write(b"data")
        ...     (Path(folder) / "a" / "b.bin").read_bytes()
        b'data'
    """
    target = Path(os.path.realpath(path))
    temporary = target.with_name(f".{target.name}.{os.getpid()}.{secrets.token_hex(4)}.tmp")
    try:
        if target.exists() and not target.is_file():
            buffer = io.BytesIO()
            yield buffer
            target.write_bytes(buffer.getvalue())
            return
        target.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, target)
    except OSError as error:
        raise DataError(f"{path}: cannot be written ({error.strerror or error}){hint}") from error
    finally:
        # Absent after the rename; incomplete otherwise.
        with contextlib.suppress(OSError):
            temporary.unlink()


def check_writable(path: Path, hint: str = "") -> None:
    """Raise `DataError` unless `atomic_write` can write a file there, as far as that is known before it does."""
    target = Path(os.path.realpath(path))
    try:
        if target.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        if target.exists() and not target.is_file():
            if not os.access(target, os.W_OK):
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
            return
        folder = next(folder for folder in target.parents if folder.exists())
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise DataError(f"{path}: cannot be written ({error.strerror or error}){hint}") from error


@contextlib.contextmanager
def reading(path: Path | str) -> Iterator[None]:
    """Turn the errors that readers raise for a damaged or absent file into one `DataError` that names the file."""
    try:
        yield
    except OSError as error:
        raise DataError(f"{path}: {error.strerror or error}") from error
    except (
        *(EOFError, IndexError, KeyError, MemoryError, NotImplementedError, OverflowError, TypeError, ValueError),
        *(struct.error, zipfile.BadZipFile, zlib.error, pickle.UnpicklingError),
    ) as error:
        raise DataError(f"{path}: {' '.join(str(error).split()) or type(error).__name__}") from error
