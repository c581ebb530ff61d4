"""Problems for the tests of coding rates, and the rates by matrices of rows by rows."""

import torch
from hypothesis import strategies as st

EXACT = 1e-10

# n, d, sizes of the classes, rows of no class
SHAPES = {
    "wide and narrow": (61, 12, [30, 9, 8, 1], 13),
    "all labelled": (40, 6, [20, 5, 15], 0),
    "more columns than rows": (9, 17, [4, 3], 2),
    "as many rows as columns": (10, 10, [7, 3], 0),
    "empty classes": (25, 7, [0, 12, 0, 13, 0], 0),
    "one row": (1, 5, [1], 0),
    "one column": (30, 1, [10, 20], 0),
    "no class at all": (20, 8, [0, 0], 20),
    "Grams in blocks, rows in pieces": (1400, 131, [1050, 90, 60, 110], 90),
}


def problem(name, draw, dtype=torch.float64):
    n, d, sizes, none = SHAPES[name]
    z = torch.randn(n, d, generator=draw, dtype=torch.float64).to(dtype)
    y = torch.repeat_interleave(torch.tensor([*range(len(sizes)), -1]), torch.tensor([*sizes, none]))
    return z, y[torch.randperm(n, generator=draw)], len(sizes)


def memberships(n, classes, draw):
    pi = torch.rand(n, classes, generator=draw, dtype=torch.float64)
    return pi / pi.sum(1, keepdim=True)


def one_hot(y, classes):
    return (y[:, None] == torch.arange(classes)).double()


def oracle(z, pi, eps, gamma1=1.0):
    """R and Rc by n x n membership matrices, as the papers write them."""
    n, d = z.shape
    whole = torch.logdet(torch.eye(d).double() + gamma1 * d / (n * eps) * z.t() @ z) / 2
    within = torch.zeros(()).double()
    for c in range(pi.shape[1]):
        Pi = torch.diag(pi[:, c])
        trace = torch.trace(Pi)
        if trace > 0:
            within = within + trace / n * torch.logdet(torch.eye(d).double() + d / (trace * eps) * z.t() @ Pi @ z) / 2
    return whole, within


def orthonormal_classes(n, p, C, draw):
    rows = torch.linalg.qr(torch.randn(p, p, generator=draw, dtype=torch.float64))[0][:C]
    y = torch.arange(n) % C
    return rows[y], y


def orthogonal(d, draw):
    return torch.linalg.qr(torch.randn(d, d, generator=draw, dtype=torch.float64))[0]


shapes = st.tuples(st.integers(1, 30), st.integers(1, 12), st.integers(1, 5), st.integers(0, 2**31), st.floats(0.01, 5))


def random_problem(n, d, C, seed):
    draw = torch.Generator().manual_seed(seed)
    scale = torch.rand(d, generator=draw, dtype=torch.float64) ** 3
    z = torch.randn(n, d, generator=draw, dtype=torch.float64) * scale
    return z, torch.randint(0, C, (n,), generator=draw), draw
