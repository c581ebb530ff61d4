"""Values of single users as short text: for paired tests between recorded cells."""

from __future__ import annotations

import base64
import zlib

import numpy as np
from numpy.typing import ArrayLike, NDArray

from graphnoise._check import DataError

STEPS = 65_535  # values in [0, 1] are kept to half of 1 / STEPS


def pack(values: ArrayLike) -> str:
    """Return values in [0, 1] as text: 16 bits each, compressed, in base64.

    Example:
        >>> unpack(pack([0.0, 0.25, 1.0])).round(4).tolist()
        [0.0, 0.25, 1.0]
    """
    steps = np.rint(np.asarray(values, np.float64) * STEPS).astype("<u2")
    return base64.b64encode(zlib.compress(steps.tobytes(), 9)).decode()


def unpack(text: str) -> NDArray[np.float64]:
    """Return the values of `pack`.

    Raises:
        DataError: the text is none of `pack`.
    """
    try:
        return np.frombuffer(zlib.decompress(base64.b64decode(text, validate=True)), "<u2") / STEPS
    except (ValueError, TypeError, zlib.error) as error:
        raise DataError(f"users: expected packed values, got {error}") from error
