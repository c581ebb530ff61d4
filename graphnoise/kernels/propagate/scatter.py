"""torch-scatter tier of propagation (optional): messages are written to memory and summed by row.

torch-scatter's segment sums have a first derivative only, so `scatter_add` is used if a gradient is recorded.
"""

from __future__ import annotations

from importlib.util import find_spec

import torch

from graphnoise.kernels.arcs import Arcs
from graphnoise.kernels.cache import cached_on
from graphnoise.kernels.propagate.reference import Product


def unsupported_reason() -> str | None:
    """Return why this tier is not available, or None if it is."""
    return None if find_spec("torch_scatter") else "needs the torch-scatter package"


def multiply(arcs: Arcs, dtype: torch.dtype) -> Product:
    """Multiply by S with torch-scatter's sum over the segments of compressed rows."""
    from torch_scatter import scatter_add, segment_csr

    value = arcs.value
    if value is None:
        weights = cached_on(
            arcs.col, f"ones {dtype}", lambda: torch.ones(arcs.col.shape, dtype=dtype, device=arcs.col.device)
        )
    else:
        weights = value.to(dtype)
    rowptr = arcs.rowptr.long()
    left, right = (None if scale is None else scale.to(dtype).unsqueeze(1) for scale in (arcs.left, arcs.right))

    def product(y: torch.Tensor) -> torch.Tensor:
        messages = (y if right is None else right * y)[arcs.col] * weights.unsqueeze(1)
        new: torch.Tensor
        if messages.requires_grad:
            new = scatter_add(messages, arcs.row, dim=0, dim_size=arcs.num_nodes)
        else:
            new = segment_csr(messages, rowptr, reduce="sum")
        return new if left is None else left * new

    return product
