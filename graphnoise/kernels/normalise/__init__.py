"""Row normalisation with activations: after(u / max(norm of u, 1e-12)), where u = before(x).

The native tier reads x once and saves x and one number per row for the gradient, which is a second operation; the
reference tier is torch's own operators.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.autograd import forward_ad
from torch.nn import functional as F

from graphnoise.kernels import _native
from graphnoise.kernels.dispatch import select
from graphnoise.kernels.propagate import tangent
from graphnoise.resources import native_threads

# Values of `Before` in native.cpp.
BEFORE = {"none": 0, "leaky_relu": 1, "relu": 2}
AFTER = {"none": False, "relu": True}
SLOPE = 0.01


def normalise(x: Tensor, p: int, before: str, after: str, backend: str | None) -> Tensor:
    """Return the normalised rows; arguments are known to be valid.

    Args:
        x: Values, floating, shape [rows, width].
        p: Order of the norm, 1 or 2.
        before: Activation before, a key of `BEFORE`.
        after: Activation after, a key of `AFTER`.
        backend: "native" (CPU, float32), "reference" (any device and floating dtype), or None to let the data decide.

    Raises:
        InputError: `backend` is unknown or cannot serve these values.
    """
    native = None if x.dtype == torch.float32 and x.device.type == "cpu" else "needs float32 CPU tensors"
    if select(backend, {"native": native, "reference": None}) == "reference":
        return reference(x, p, before, after)
    if forward_ad._current_level >= 0 and tangent(x) is not None:
        raise NotImplementedError("row normalisation has no forward-mode derivative here: take backend='reference'")
    if torch.compiler.is_compiling() or (torch.is_grad_enabled() and x.requires_grad):
        out: Tensor = operation(x, p, before, after)[0]
        return out
    return _run(x, None, None, p, before, after)[0]


def reference(x: Tensor, p: int, before: str, after: str) -> Tensor:
    """Return the normalised rows by torch's operators."""
    u = x if before == "none" else F.relu(x) if before == "relu" else F.leaky_relu(x, SLOPE)
    y = F.normalize(u, p=float(p), dim=1, eps=1e-12)
    return F.relu(y) if after == "relu" else y


def _run(x: Tensor, grad: Tensor | None, norm: Tensor | None, p: int, before: str, after: str) -> tuple[Tensor, Tensor]:
    out = torch.empty_like(x, memory_format=torch.contiguous_format)
    x, grad = x.contiguous(), None if grad is None else grad.contiguous()
    norm = x.new_empty(x.shape[0]) if norm is None else norm.contiguous()
    _native.normalise(
        grad is not None,
        p,
        BEFORE[before],
        AFTER[after],
        native_threads(),
        x.shape[0],
        x.shape[1],
        x.data_ptr(),
        0 if grad is None else grad.data_ptr(),
        norm.data_ptr(),
        out.data_ptr(),
    )
    return out, norm


@torch.library.custom_op("graphnoise::normalise_rows", mutates_args=())
def operation(x: Tensor, p: int, before: str, after: str) -> tuple[Tensor, Tensor]:
    """Normalise as one node of torch's graph; returns the rows and their norms before, shape [rows]."""
    return _run(x, None, None, p, before, after)


@operation.register_fake
def _(x, p, before, after):  # type: ignore[no-untyped-def]
    return torch.empty_like(x, memory_format=torch.contiguous_format), x.new_empty(x.shape[0])


def _setup_context(ctx, inputs, output) -> None:  # type: ignore[no-untyped-def]
    x, *ctx.settings = inputs
    ctx.save_for_backward(x, output[1])
    ctx.mark_non_differentiable(output[1])


def _backward(ctx, grad, _):  # type: ignore[no-untyped-def]
    return gradient(*ctx.saved_tensors, grad, *ctx.settings), None, None, None


operation.register_autograd(_backward, setup_context=_setup_context)


@torch.library.custom_op("graphnoise::normalise_rows_backward", mutates_args=())
def gradient(x: Tensor, norm: Tensor, grad: Tensor, p: int, before: str, after: str) -> Tensor:
    """Return the gradient of x; `norm` is what the operation returned."""
    return _run(x, grad, norm, p, before, after)[0]


@gradient.register_fake
def _(x, norm, grad, p, before, after):  # type: ignore[no-untyped-def]
    return torch.empty_like(x, memory_format=torch.contiguous_format)


def _no_second_derivative(*_: object) -> None:
    raise NotImplementedError("row normalisation has no second derivative here: take backend='reference'")


gradient.register_autograd(_no_second_derivative)
