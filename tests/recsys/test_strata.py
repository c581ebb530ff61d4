"""Matrix factorisation by several processes: the bits of one, and what is refused on all of them."""

import hashlib

import numpy as np
import pytest
import scipy.sparse as sp
from test_distributed import launch

from recsys import InputError, MatrixFactorization

X = sp.csr_array((np.random.default_rng(0).random((90, 200)) < 0.1).astype(np.float32))
MODEL = {"factors": 8, "objective": "nbpo", "iterations": 3, "num_threads": 1, "sampler": "popularity"}
BODY = f"""
import hashlib, scipy.sparse as sp
from recsys import InputError, MatrixFactorization
X = sp.csr_array((np.random.default_rng(0).random((90, 200)) < 0.1).astype(np.float32))
def fit(data=X, random_state=0, **call):
    return MatrixFactorization(mode="distributed", random_state=random_state, **{MODEL!r}).fit(data, False, **call)
def trained():
    model = fit()
    arrays = model.user_factors, model.item_factors, model.item_biases
    arrays += model.extra_user_factors, model.extra_item_factors
    print(hashlib.sha256(b"".join(x.tobytes() for x in arrays)).hexdigest(), model.counts)
trained()
# A callback of one process ends training on all.
print(fit(**(dict(callback=lambda *_: True) if rank == 1 else {{}})).epochs)
others = dict(random_state=1), dict(data=X[:, ::-1]), dict(validation=sp.csr_array(1 - X.toarray())), dict(data=X * 0)
for call in others:
    try:
        fit(**(call if rank == 1 else {{}}))
    except InputError as error:
        print(error)
regroup(2)
trained()
"""


def test_processes_have_the_bits_of_one(tmp_path):
    model = MatrixFactorization(mode="deterministic", **MODEL).fit(X, False)
    factors = model.user_factors, model.item_factors, model.item_biases
    arrays = *factors, model.extra_user_factors, model.extra_item_factors
    bits = hashlib.sha256(b"".join(x.tobytes() for x in arrays)).hexdigest()
    # Of eight blocks, three processes have unequal numbers.
    outputs = launch(tmp_path, BODY, 3)
    for rank, out in enumerate(outputs):
        trained, epochs, *refused, empty = out.splitlines()[:6]
        assert trained == f"{bits} {model.counts}"
        assert epochs == "1"
        for line in refused:
            others = [0, 2] if rank == 1 else [1]
            assert line == f"arguments: expected the same data and settings on every process, got others on {others}"
        own = "user_items: expected at least one interaction, got none"
        assert empty.startswith(
            own if rank == 1 else f"arguments: expected valid ones on every process, got on process 1: {own}"
        )
        assert out.splitlines()[6:] == [trained] * (rank < 2)


def test_without_a_group_there_is_one_error():
    with pytest.raises(InputError, match="mode: expected a process group"):
        MatrixFactorization(mode="distributed").fit(X, False)
