"""Values of single users as short text: for paired tests between recorded cells."""

from __future__ import annotations

import base64
import zlib

import numpy as np
from numpy.typing import ArrayLike, NDArray

from graphnoise.checks import DataError

STEPS = 65_534  # values in [0, 1] are kept to half of 1 / STEPS
NONE = 65_535  # stands for NaN: a user of whom nothing is known


def pack(values: ArrayLike) -> str:
    """Return values in [0, 1], or NaN, as text: 16 bits each, compressed, in base64.

    Example:
        >>> unpack(pack([0.0, 0.25, 1.0, np.nan])).round(4).tolist()
        [0.0, 0.25, 1.0, nan]
    """
    given = np.asarray(values, np.float64)
    steps = np.where(np.isnan(given), NONE, np.rint(np.nan_to_num(given) * STEPS)).astype("<u2")
    return base64.b64encode(zlib.compress(steps.tobytes(), 9)).decode()


def unpack(text: str) -> NDArray[np.float64]:
    """Return the values of `pack`.

    Raises:
        DataError: the text is none of `pack`.
    """
    try:
        steps = np.frombuffer(zlib.decompress(base64.b64decode(text, validate=True)), "<u2")
        return np.where(steps == NONE, np.nan, steps / STEPS)
    except (ValueError, TypeError, zlib.error) as error:
        raise DataError(f"users: expected packed values, got {error}") from error
