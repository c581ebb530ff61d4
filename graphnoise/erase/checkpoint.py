"""Checkpoints of a training run: tensors and plain values with a checksum, without pickled objects."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path
from typing import Any

import torch

from graphnoise.errors import DataError, InputError
from graphnoise.io import atomic_write

FORMAT = 1


def write_checkpoint(path: Path, state: dict[str, Any], mark: str) -> None:
    """Write a state to a file in one step; after an error the old file is unchanged.

    Raises:
        DataError: The file cannot be written.
    """
    buffer = io.BytesIO()
    torch.save({"format": FORMAT, "mark": mark, "state": state}, buffer)
    with atomic_write(path) as file:
        file.write(hashlib.blake2b(buffer.getvalue()).digest() + buffer.getvalue())


def read_checkpoint(path: Path, mark: str) -> dict[str, Any]:
    """Return the state in a file.

    Raises:
        InputError: It was written for other data or settings.
        DataError: It cannot be read, or is not a checkpoint.
    """
    try:
        data = path.read_bytes()
        size = hashlib.blake2b().digest_size
        # torch does not notice a flipped bit.
        if hashlib.blake2b(data[size:]).digest() != data[:size]:
            raise DataError(f"{path}: expected a checkpoint of ERASE, got another or a damaged file")
        content = torch.load(io.BytesIO(data[size:]), map_location="cpu", weights_only=True)
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error})") from error
    except DataError:
        raise
    except Exception as error:
        raise DataError(f"{path}: expected a checkpoint of ERASE, got another or a damaged file") from error
    if not isinstance(content, dict) or content.get("format") != FORMAT or not {"mark", "state"} <= content.keys():
        raise DataError(f"{path}: expected a checkpoint of ERASE (format {FORMAT}), got something else")
    if content["mark"] != mark:
        got = f"{path} of others (remove it to start anew)"
        raise InputError(f"checkpoint: expected one of the same data, seed and settings, got {got}")
    state: dict[str, Any] = content["state"]
    return state


def alike(ours: Any, stored: Any) -> bool:
    """Return whether a stored state may stand in for ours: the same types and shapes, entry by entry.

    What is empty or None before the first epoch may hold anything, as may lists, which grow.
    """
    if isinstance(ours, torch.Tensor):
        if not isinstance(stored, torch.Tensor) or stored.dtype != ours.dtype:
            return False
        same = stored.shape == ours.shape if ours.numel() else stored.dim() == ours.dim()
        return same and stored.numel() * stored.element_size() <= stored.untyped_storage().nbytes()
    if isinstance(ours, dict):
        return isinstance(stored, dict) and all(key in stored and alike(ours[key], stored[key]) for key in ours)
    return ours is None or type(ours) is type(stored)
