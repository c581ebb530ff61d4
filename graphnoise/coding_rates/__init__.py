"""Coding rates of representations, maximal coding rate reduction as a loss, and the effective rank."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from graphnoise import checks
from graphnoise.coding_rates import solve
from graphnoise.kernels.csr import compress_unchecked
from graphnoise.resources import check_memory


class CodingRates(NamedTuple):
    """Result of `coding_rates`.

    Attributes:
        total: R, a scalar in nats.
        within: Rc, a scalar in nats.
    """

    total: Tensor
    within: Tensor


def coding_rate(z: Tensor, eps: float, *, dtype: torch.dtype | None = None) -> Tensor:
    r"""Coding rate of the rows of z.

        R = 1/2 logdet(I + d / (n eps) Z^T Z)

    Args:
        z: Representations, finite, floating, shape [n, d].
        eps: Squared distortion allowed for each row (ε² in the papers), above 0.
        dtype: Type of the computation and of the result, float32 or float64; by default that of z, float32 for 16 bits.

    Returns:
        A scalar in nats, differentiable (once); the gradient has the type of z.

    Raises:
        InputError: z is not finite, not a matrix, empty, or too large for float64; eps is not positive.

    Example:
        >>> round(float(coding_rate(torch.eye(8), eps=0.5)), 6)  # 8/2 · log(1 + 1/.5)
        4.394449

    Source:
        Ma et al., "Segmentation of Multivariate Mixed Data via Lossy Data Coding and Compression", 2007, section 3.
    """
    z = _representations(z)
    n = len(z)
    groups = solve.Groups(torch.arange(n, device=z.device), [0, n])
    total, _ = solve.rates(z, groups, eps=_positive("eps", eps), gamma1=1.0, dtype=_dtype(dtype, z))
    return total


def coding_rates(
    z: Tensor,
    labels: Tensor,
    num_classes: int | None = None,
    *,
    eps: float,
    gamma1: float = 1.0,
    dtype: torch.dtype | None = None,
) -> CodingRates:
    r"""Coding rate of all rows, and the mean of the coding rates of the classes, weighted by their shares of the rows.

        R  = 1/2 logdet(I + gamma1 d / (n eps) Z^T Z)
        Rc = sum_c n_c / n · 1/2 logdet(I + d / (n_c eps) Z^T Pi_c Z)

    with Pi_c = diag(memberships in class c) and n_c their sum; a class without rows adds 0. With classes the cost is
    O(n d²) for any number of them, with memberships O(num_classes n d²).

    Rounding of a Gram matrix must be small compared to the identity added to it: the trace d / eps · mean |z_i|² (of
    all rows, and of each class) may be at most .01 / (machine epsilon), 8.4·10⁴ in float32 and 4.5·10¹³ in float64.
    Above, float32 input is computed in float64 (and the result rounded), float64 input raises. Results depend on the
    number of threads by rounding only, as torch's matrix products do.

    Args:
        z: Representations, finite, floating, shape [n, d].
        labels: Class of each row, integer, shape [n], from 0 to num_classes - 1, or -1 for a row of no class, which
            counts in R and n, not in Rc; or memberships of at least 0, floating, shape [n, num_classes].
        num_classes: Number of classes; by default one more than the largest label.
        eps: Squared distortion allowed for each row (ε² in the papers), above 0.
        gamma1: Weight of the Gram matrix in R, at least 0.
        dtype: Type of the computation and of the results, float32 or float64; by default that of z, float32 for 16
            bits.

    Returns:
        R and Rc, scalars in nats, differentiable (once) in z and in memberships. At a class without rows Rc has no
        gradient in the memberships, and gets 0.

    Raises:
        InputError: An argument of the wrong shape, type or range; z is not finite, or too large for float64.

    Example:
        >>> rates = coding_rates(torch.eye(8), torch.arange(8) // 4, eps=0.5)
        >>> [round(float(rate), 6) for rate in rates]  # 8/2 · log(1 + 1/.5), 4/2 · log(1 + 2/.5)
        [4.394449, 3.218876]

    Source:
        Yu et al., "Learning Diverse and Discriminative Representations via the Principle of Maximal Coding Rate
        Reduction", NeurIPS 2020, section 2.
    """
    z = _representations(z)
    classes = _classes(labels, z, _number(num_classes))
    gamma1, dtype = checks.real("gamma1", gamma1, 0.0), _dtype(dtype, z)
    return CodingRates(*solve.rates(z, classes, eps=_positive("eps", eps), gamma1=gamma1, dtype=dtype))


def coding_rate_reduction(
    z: Tensor,
    labels: Tensor,
    num_classes: int | None = None,
    *,
    eps: float = 0.05,
    gamma1: float = 1.0,
    gamma2: float = 1.0,
    dtype: torch.dtype | None = None,
) -> Tensor:
    r"""Coding rate of all rows less that within the classes: gamma2 · R - gamma1 · Rc, to be maximised.

    R (which holds gamma1, too) and Rc are those of `coding_rates`. With gamma1 = gamma2 = 1 and labels or memberships
    that sum to 1 in every row it is at least 0, and 0 if and only if all classes have the same Z_c^T Z_c / n_c.

    Args:
        z: Representations, finite, floating, shape [n, d].
        labels: Class of each row (-1 for none), or memberships, as in `coding_rates`.
        num_classes: Number of classes; by default one more than the largest label.
        eps: Squared distortion allowed for each row (ε² in the papers), above 0.
        gamma1: Weight of Rc, and of the Gram matrix in R, at least 0.
        gamma2: Weight of R, at least 0.
        dtype: Type of the computation and of the result, as in `coding_rates`.

    Returns:
        A scalar in nats, differentiable (once).

    Raises:
        InputError: An argument of the wrong shape, type or range; z is not finite, or too large for float64.

    Example:
        >>> round(float(coding_rate_reduction(torch.eye(8), torch.arange(8) // 4, eps=0.5)), 6)
        1.175573

    Source:
        Yu et al., "Learning Diverse and Discriminative Representations via the Principle of Maximal Coding Rate
        Reduction", NeurIPS 2020, section 2; the weights: Chen et al., "ERASE: Error-Resilient Representation Learning
        on Graphs for Label Noise Tolerance", CIKM 2024.
    """
    gamma2 = checks.real("gamma2", gamma2, 0.0)
    total, within = coding_rates(z, labels, num_classes, eps=eps, gamma1=gamma1, dtype=dtype)
    return gamma2 * total - gamma1 * within


class CodingRateReduction(torch.nn.Module):
    r"""The loss -(gamma2 · R - gamma1 · Rc), for all rows at once or, with `memory`, for mini-batches.

    Rc of a batch is biased: a class of a few rows spans a few dimensions, and its rate is too small. With `memory`
    above 0 the Gram matrices Z_c^T Z_c and the counts of earlier batches are added to those of the batch, multiplied by
    `memory` at every call. This approximates the loss of all the rows of about 1 / (1 - memory) batches, although
    earlier batches were encoded by earlier parameters; the gradient goes to the batch only, scaled by its share of the
    rows. In evaluation mode the loss is that of the batch, and nothing is stored.

    Args:
        num_classes: Number of classes; by default one more than the largest label. Needed with `memory`.
        eps: Squared distortion allowed for each row (ε² in the papers), above 0.
        gamma1: Weight of Rc, and of the Gram matrix in R, at least 0.
        gamma2: Weight of R, at least 0.
        dtype: Type of the computation and of the loss, as in `coding_rates`. With `memory` a float32 computation is
            never repeated in float64.
        memory: Decay of earlier batches per call in training, in [0, 1). It takes num_classes + 1 matrices of d × d,
            which are moved with the module but are not part of its `state_dict`.

    Raises:
        InputError: A parameter out of its range.

    Example:
        >>> loss = CodingRateReduction(eps=0.5)
        >>> round(float(loss(torch.eye(8), torch.arange(8) // 4)), 6)
        -1.175573

        >>> half = CodingRateReduction(num_classes=2, eps=0.5, memory=0.999999)
        >>> batches = torch.eye(8).split(4)
        >>> [round(float(half(batch, torch.tensor([0, 0, 1, 1]))), 3) for batch in batches]
        [-1.022, -1.176]
    """

    grams: Tensor | None
    counts: Tensor | None

    def __init__(
        self,
        num_classes: int | None = None,
        eps: float = 0.05,
        gamma1: float = 1.0,
        gamma2: float = 1.0,
        dtype: torch.dtype | None = None,
        memory: float = 0.0,
    ) -> None:
        super().__init__()
        self.num_classes, self.eps = _number(num_classes), _positive("eps", eps)
        self.gamma1, self.gamma2 = checks.real("gamma1", gamma1, 0.0), checks.real("gamma2", gamma2, 0.0)
        self.dtype = None if dtype is None else _dtype(dtype)
        self.memory = checks.real("memory", memory, 0.0, math.nextafter(1, 0), "a number of at least 0 and below 1")
        if self.memory and num_classes is None:
            checks.fail("num_classes", "the number of classes, which memory needs", None)
        self.register_buffer("grams", None, persistent=False)
        self.register_buffer("counts", None, persistent=False)

    def forward(self, z: Tensor, labels: Tensor) -> Tensor:
        """Return the loss, a scalar.

        Args:
            z: Representations, finite, floating, shape [n, d].
            labels: Class of each row (-1 for none), or memberships, as in `coding_rates`.

        Raises:
            InputError: An argument of the wrong shape, type or range; z is not finite, or too large for its type; with
                `memory`, z of another width, type or device than before.
        """
        if not (self.memory and self.training):
            total, within = coding_rates(
                z, labels, self.num_classes, eps=self.eps, gamma1=self.gamma1, dtype=self.dtype
            )
            return self.gamma1 * within - self.gamma2 * total
        z = _representations(z)
        classes, dtype = _classes(labels, z, self.num_classes, keep_empty=True), _dtype(self.dtype, z)
        grams, counts = solve.gram_statistics(z, classes, dtype)
        if self.grams is not None and self.counts is not None:
            before = (self.grams.shape[1], self.grams.dtype, self.grams.device)
            if before != (z.shape[1], dtype, z.device):
                expected = f"{before[0]} columns for {before[1]} on {before[2]}, as before (reset() forgets)"
                checks.fail("z", expected, f"{z.shape[1]} for {dtype} on {z.device}")
            grams.add_(self.grams, alpha=self.memory)
            counts.add_(self.counts, alpha=self.memory)
        statistics = solve.Statistics(grams, counts)
        total, within = solve.rates(z, classes, eps=self.eps, gamma1=self.gamma1, dtype=dtype, statistics=statistics)
        self.grams, self.counts = grams, counts
        return self.gamma1 * within - self.gamma2 * total

    def reset(self) -> None:
        """Remove the statistics of earlier batches."""
        self.grams = self.counts = None

    def extra_repr(self) -> str:
        """Show the parameters."""
        shown = f"num_classes={self.num_classes}, eps={self.eps:g}, gamma1={self.gamma1:g}, gamma2={self.gamma2:g}"
        return f"{shown}, dtype={self.dtype}, memory={self.memory:g}"


def effective_rank(z: Tensor, *, centre: bool = False) -> float:
    r"""Effective number of dimensions of the rows of z: exp of the entropy of their singular values.

        exp(-sum_k p_k log p_k),  p_k = sigma_k / sum_j sigma_j

    from 1, all rows in one direction, to the smaller side of z, all singular values equal; 0 for a matrix of zeros. A
    drop to a few dimensions shows that an encoder has collapsed. The singular values are square roots of the
    eigenvalues of the smaller Gram matrix in float64; values below its rounding, about 3·10⁻⁷ of the largest singular
    value at a side of 512, count as 0.

    Args:
        z: Representations, finite, shape [n, d].
        centre: Whether to subtract the mean of the rows first.

    Raises:
        InputError: z is not finite, not a matrix, empty, or its Gram matrix is larger than the memory.

    Example:
        >>> round(effective_rank(torch.eye(5, 7)), 6), round(effective_rank(torch.ones(5, 7)), 6)
        (5.0, 1.0)

    Source:
        Roy and Vetterli, "The Effective Rank: a Measure of Effective Dimensionality", EUSIPCO 2007, section 2.
    """
    z, centre = _representations(z).detach(), checks.flag("centre", centre)
    (n, d), size = z.shape, solve.chunk_rows(z)
    solve.check_grams(z, 6, min(n, d))
    peak = max(abs(float(end)) for end in torch.aminmax(z))
    if not math.isfinite(peak):
        checks.finite("z", z)
    if peak == 0:
        return 0.0
    mean = torch.zeros(d, dtype=torch.float64, device=z.device)
    pieces = [slice(begin, begin + size) for begin in range(0, n, size)]
    if centre:
        for rows in pieces:
            mean += (z[rows].double() / peak).sum(0) / n
    if n <= d:
        x = z.double() / peak - mean
        gram = x @ x.t()
    else:
        gram = mean.new_zeros(d, d)
        for rows in pieces:
            solve.add_gram(gram, z[rows].double() / peak - mean)
    value = torch.linalg.eigvalsh(gram)
    unit = torch.finfo(torch.float64).eps
    # The second bound is the rounding of centring.
    value = value[value > max(max(n, d) * unit * float(value[-1]), n * d * (8 * unit) ** 2)]
    share = value.sqrt() / value.sqrt().sum()
    return math.exp(float(-(share * share.log()).sum())) if len(share) else 0.0


def _representations(z: Tensor) -> Tensor:
    """Return z if it is a non-empty matrix; values that are not finite show in its coding rate."""
    z = checks.tensor("z", z)
    if z.dim() != 2 or 0 in z.shape:
        checks.fail("z", "shape [n, d], n and d at least 1", f"shape {tuple(z.shape)}")
    if not z.is_floating_point():
        checks.fail("z", "floating-point values", f"values of type {z.dtype}")
    return z


def _positive(name: str, value: float) -> float:
    return checks.real(name, value, math.ulp(0.0), expected="a finite number above 0")


def _number(num_classes: int | None) -> int | None:
    return None if num_classes is None else checks.integer("num_classes", num_classes, 1)


def _dtype(dtype: torch.dtype | None, z: Tensor | None = None) -> torch.dtype:
    if dtype is None:
        return torch.float64 if z is not None and z.dtype == torch.float64 else torch.float32
    if not isinstance(dtype, torch.dtype) or dtype not in (torch.float32, torch.float64):
        checks.fail("dtype", "torch.float32, torch.float64 or None", repr(dtype))
    return dtype


def _classes(labels: Tensor, z: Tensor, num_classes: int | None, keep_empty: bool = False) -> solve.Groups | Tensor:
    """Return rows by class for classes, and memberships as they are; `keep_empty`: groups of classes without rows."""
    labels, n = checks.tensor("labels", labels), len(z)
    if labels.device != z.device:
        checks.fail("labels", f"a tensor on the device of z ({z.device})", labels.device)
    if labels.dim() == 2 and labels.is_floating_point():
        expected = f"shape [{n}, {'num_classes' if num_classes is None else num_classes}]"
        if len(labels) != n or labels.shape[1] != (num_classes or labels.shape[1]) or labels.shape[1] == 0:
            checks.fail("labels", expected, f"shape {tuple(labels.shape)}")
        low = float(checks.finite("labels", labels).detach().min())
        if low < 0:
            checks.fail("labels", "memberships of at least 0", low)
        return labels
    if labels.dim() != 1 or labels.is_floating_point() or labels.is_complex() or labels.dtype == torch.bool:
        expected = f"integer classes of shape [{n}] or floating memberships of shape [{n}, num_classes]"
        checks.fail("labels", expected, f"{labels.dtype} of shape {tuple(labels.shape)}")
    if len(labels) != n:
        checks.fail("labels", f"{n} labels, one per row of z", len(labels))
    # `labels.read_labels` takes 4 to 27 µs more for up to 2,708 rows, as it closes gaps, which cost nothing here.
    low, high = (int(end) for end in torch.aminmax(labels))
    count = max(high + 1, 0) if num_classes is None else num_classes
    if low < -1 or high >= count:
        checks.fail("labels", f"classes from 0 to {count - 1}, or -1 for none", f"values from {low} to {high}")
    rows = labels.long()
    # Empty classes add nothing, and lists as long as the largest label take time.
    if not keep_empty and count > n:
        known, rows = torch.unique(rows, return_inverse=True)
        rows, count = (rows - 1, known.numel() - 1) if low < 0 else (rows, known.numel())
    if low < 0:
        rows = torch.where(rows < 0, count, rows)
    check_memory(f"rows of {count} classes", 8.0 * count)
    rowptr, order = compress_unchecked(rows, count + 1)
    return solve.Groups(order, rowptr.tolist())
