"""Methods, parameters and outcomes of diffusions by pushes."""

from __future__ import annotations

from typing import NamedTuple

# In the order of `Method` and `Status` in methods.h.
METHODS = ("pagerank", "l1_pagerank", "flow", "norm_flow", "heat_kernel")
STATUS = ("converged", "max_pushes", "exhausted", "overflow", "stopped")


class Settings(NamedTuple):
    """Method and parameters of a run; parameters of other methods are ignored.

    Attributes:
        method: One of `METHODS`.
        alpha: Probability to return to the seeds ("pagerank", "l1_pagerank").
        eps: Residual allowed per unit of degree ("pagerank", "heat_kernel"), or rho ("l1_pagerank").
        tol: Excess of mass allowed ("flow", "norm_flow"), or excess of the gradient as a part of rho ("l1_pagerank").
        p: Norm of the flow ("norm_flow").
        t: Time ("heat_kernel").
        unit: Whether sinks are 1 and not the degree ("flow", "norm_flow").
        max_pushes: Largest number of pushes.
    """

    method: str
    alpha: float = 0.0
    eps: float = 0.0
    tol: float = 0.0
    p: float = 2.0
    t: float = 0.0
    unit: bool = False
    max_pushes: int = 0
