"""Atomic writes of files, and one error for damaged ones."""

from __future__ import annotations

import contextlib
import errno
import gzip
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

# Bytes of a text file and of one line of it, after decompression; of the arrays of a file, dense features included.
MAX_TEXT, MAX_LINE, MAX_BYTES = 1 << 31, 1 << 24, 1 << 31


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


def read_text_bytes(path: Path) -> bytes:
    """Return the bytes of a text file, decompressed where its name ends in `.gz`.

    Raises:
        DataError: The file is absent or damaged, or has more than 2 GiB of text, or a line of more than 16 MiB.
    """
    with reading(path), gzip.open(path) if path.suffix == ".gz" else path.open("rb") as stream:
        text, end = bytearray(), 0
        while chunk := stream.read(1 << 20):
            text += chunk
            if len(text) > MAX_TEXT:
                raise DataError(f"{path}: expected at most {MAX_TEXT:,} bytes of text, got more")
            # The last line break that is known.
            end = max(end, text.rfind(b"\n", max(end, len(text) - len(chunk))))
            if len(text) - end > MAX_LINE:
                raise DataError(f"{path}: expected lines of at most {MAX_LINE:,} bytes, got a longer one")
    return bytes(text)


@contextlib.contextmanager
def reading(path: Path | str) -> Iterator[None]:
    """Turn the errors that readers raise for a damaged or absent file into one `DataError` that names the file."""
    try:
        yield
    except OSError as error:
        raise DataError(f"{path}: {error.strerror or error}") from error
    except (
        *(EOFError, IndexError, KeyError, MemoryError, NotImplementedError, OverflowError, TypeError, ValueError),
        *(struct.error, zipfile.BadZipFile, zlib.error, pickle.UnpicklingError, RecursionError),
    ) as error:
        raise DataError(f"{path}: {' '.join(str(error).split()) or type(error).__name__}") from error
