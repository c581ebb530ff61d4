"""Matrix factorisation by several processes: the bits of one."""

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
model = MatrixFactorization(mode="distributed", **{MODEL!r}).fit(X, False)
arrays = model.user_factors, model.item_factors, model.item_biases, model.extra_user_factors, model.extra_item_factors
print(hashlib.sha256(b"".join(x.tobytes() for x in arrays)).hexdigest(), model.counts)
try:
    MatrixFactorization(mode="distributed", random_state=rank, **{MODEL!r}).fit(X, False)
except InputError as error:
    print(error)
"""


@pytest.mark.parametrize("ranks", [2, 4])
def test_processes_have_the_bits_of_one(ranks, tmp_path):
    model = MatrixFactorization(mode="deterministic", **MODEL).fit(X, False)
    factors = model.user_factors, model.item_factors, model.item_biases
    arrays = *factors, model.extra_user_factors, model.extra_item_factors
    bits = hashlib.sha256(b"".join(x.tobytes() for x in arrays)).hexdigest()
    for out in launch(tmp_path, BODY, ranks):
        trained, refused = out.splitlines()
        assert trained == f"{bits} {model.counts}"
        assert refused.startswith("arguments: expected the same data and settings on every process")


def test_without_a_group_there_is_one_error():
    with pytest.raises(InputError, match="mode: expected a process group"):
        MatrixFactorization(mode="distributed").fit(X, False)
