"""Row normalisation with the activations before and after it in the same pass."""

from __future__ import annotations

import torch
from torch import Tensor

from graphnoise import checks
from graphnoise.kernels.normalise import AFTER, BEFORE, normalise


def normalise_rows(
    x: Tensor, p: int = 1, before: str = "none", after: str = "none", *, backend: str | None = None
) -> Tensor:
    r"""Divide each row by its norm, with an activation before or after.

    y_i = after(u_i / max(||u_i||_p, 1e-12)), u = before(x): equal to `torch.nn.functional.normalize` and activations,
    in one pass over the rows forward and one backward. Zero rows stay zero.

    Args:
        x: Values, floating, shape [rows, width].
        p: Order of the norm: 1 (sum of absolute values) or 2 (Euclidean).
        before: "none", "leaky_relu" (slope 0.01) or "relu".
        after: "none" or "relu".
        backend: "native" (CPU, float32; no second derivative), "reference" (any device and floating dtype), or None to
            let the data decide.

    Returns:
        Normalised rows, shape [rows, width].

    Raises:
        InputError: x is no floating-point matrix; a setting is unknown; `backend` cannot serve these values.

    Example:
        >>> import torch
        >>> normalise_rows(torch.tensor([[3.0, -1.0], [0.0, 0.0]]), after="relu").tolist()
        [[0.75, 0.0], [0.0, 0.0]]

    Source:
        Chen et al., "ERASE: Error-Resilient Representation Learning on Graphs for Label Noise Tolerance", CIKM 2024
        (its encoder's layers).
    """
    if not isinstance(x, Tensor) or x.dim() != 2 or not x.is_floating_point() or x.layout != torch.strided:
        got = f"shape {tuple(x.shape)} of type {x.dtype}" if isinstance(x, Tensor) else type(x).__name__
        checks.fail("x", "a floating-point tensor of shape [rows, width]", got)
    if type(p) is not int or p not in (1, 2):
        checks.fail("p", "1 or 2", repr(p))
    checks.choice("before", before, BEFORE)
    checks.choice("after", after, AFTER)
    return normalise(x, p, before, after, backend)
