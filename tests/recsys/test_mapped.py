"""Interactions in folders: what is written is what is read, damage is found, and training copies no pairs."""

import json
import mmap
import subprocess
import sys

import numpy as np
import pytest
import scipy.sparse as sp

from graphnoise.errors import DataError, InputError
from recsys import Interactions, MatrixFactorization

RNG = np.random.default_rng(0)
MATRIX = sp.csr_array((RNG.random((60, 40)) < 0.2).astype(np.float32))
CLICKS = Interactions(
    MATRIX,
    RNG.integers(1, 6, MATRIX.nnz),
    RNG.random(MATRIX.nnz),
    np.array([f"user {k}" for k in range(60)]),
    np.arange(40) * 7,
)


def same(a, b):
    assert (a.matrix != b.matrix).nnz == 0
    assert (a.dislikes is None) == (b.dislikes is None)
    assert a.dislikes is None or (a.dislikes != b.dislikes).nnz == 0
    for name in ("ratings", "times", "users", "items"):
        x, y = getattr(a, name), getattr(b, name)
        assert (x is None) == (y is None)
        assert x is None or (np.array_equal(x, y) and x.dtype.kind == y.dtype.kind)


PAIR = sp.csr_array([[1, -1]])
RATED = Interactions.from_csr(sp.csr_array(RNG.integers(-2, 3, (12, 9))))
EMPTY = [Interactions(sp.csr_array(shape)) for shape in ((3, 4), (3, 0), (0, 4))]


@pytest.mark.parametrize("clicks", [CLICKS, RATED, Interactions(MATRIX), *EMPTY])
def test_what_is_written_is_read(clicks, tmp_path):
    clicks.save_mapped(tmp_path / "clicks")
    same(Interactions.open(tmp_path / "clicks"), clicks)
    Interactions.build(tmp_path / "parts", (clicks[k : k + 1] for k in range(max(clicks.num_users, 1))))
    same(Interactions.open(tmp_path / "parts"), clicks)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["clicks", "parts"]


def test_dislikes_are_mapped_and_folders_without_are_what_they_were(tmp_path):
    RATED.save_mapped(tmp_path / "rated")
    mapped = Interactions.open(tmp_path / "rated")
    for matrix in (mapped.matrix, mapped.dislikes):
        assert isinstance(_owner(matrix.indices), mmap.mmap)
        assert isinstance(_owner(matrix.data), mmap.mmap)
    # They are never recommended.
    found, _ = MatrixFactorization(4, iterations=1).fit(mapped, False).recommend(np.arange(12), mapped, N=9)
    assert not RATED.dislikes.toarray()[np.arange(12)[:, None], np.where(found < 0, 0, found)][found >= 0].any()
    CLICKS.save_mapped(tmp_path / "clicks")
    manifests = [json.loads((tmp_path / name / "interactions.json").read_text()) for name in ("rated", "clicks")]
    # Version 0.2.0 reads format 1, and would lose dislikes.
    assert [manifest["format"] for manifest in manifests] == [2, 1]
    assert sorted(manifests[1]) == ["bytes", "extras", "format", "ids", "num_items", "num_users", "pairs"]
    assert not list((tmp_path / "clicks").glob("dislike*"))


def test_some_parts_may_have_dislikes(tmp_path):
    parts = [RATED[:3], RATED[3:7]._changed(dislikes=None), RATED[7:]]
    Interactions.build(tmp_path / "clicks", parts)
    opened = Interactions.open(tmp_path / "clicks")
    assert (opened.matrix != RATED.matrix).nnz == 0
    expected = RATED.dislikes.toarray()
    expected[3:7] = 0
    assert np.array_equal(opened.dislikes.toarray(), expected)


def _owner(array):
    while getattr(array, "base", None) is not None:
        array = array.base
    return array


def test_a_model_of_mapped_interactions_has_the_same_bits(tmp_path):
    CLICKS.save_mapped(tmp_path / "clicks")
    models = [
        MatrixFactorization(8, iterations=3).fit(clicks, False)
        for clicks in (CLICKS, Interactions.open(tmp_path / "clicks"))
    ]
    assert np.array_equal(models[0].user_factors, models[1].user_factors)
    first, second = (model.recommend("user 3", CLICKS["user 3"])[0].tolist() for model in models)
    assert first == second


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ([], "got none"),
        ([MATRIX], "expected Interactions, got csr_array"),
        ([CLICKS, Interactions(MATRIX)], "of the first part in all of them"),
        ([CLICKS, CLICKS], "users whose ids differ"),
        ([Interactions(MATRIX), Interactions(MATRIX[:, :9])], "of the first part in all of them"),
        (7, "interactions of consecutive users, got int"),
    ],
)
def test_parts_that_do_not_fit_leave_nothing(parts, message, tmp_path):
    with pytest.raises(InputError, match=message):
        Interactions.build(tmp_path / "clicks", parts)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="limits the size of files")
@pytest.mark.parametrize("size", [0, 1000, 2000])
def test_a_full_disk_leaves_nothing(size, tmp_path):
    import resource

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        with pytest.raises(DataError, match="cannot be written"):
            CLICKS.save_mapped(tmp_path / "clicks")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_is_never_written_over(tmp_path):
    CLICKS.save_mapped(tmp_path / "clicks")
    with pytest.raises(DataError, match="does not exist yet"):
        CLICKS.save_mapped(tmp_path / "clicks")
    same(Interactions.open(tmp_path / "clicks"), CLICKS)


def test_damage_is_found(tmp_path):
    def damaged(change, message, clicks=CLICKS):
        folder = tmp_path / f"{len(list(tmp_path.iterdir()))}"
        clicks.save_mapped(folder)
        change(folder)
        with pytest.raises(DataError, match=message):
            Interactions.open(folder)

    def edit(name, kind, place, value):
        def change(folder):
            values = np.fromfile(folder / name, kind)
            values[place] = value
            values.tofile(folder / name)

        return change

    def entry(name, value):
        def change(folder):
            path = folder / "interactions.json"
            path.write_text(json.dumps({**json.loads(path.read_text()), name: value}))

        return change

    def zipped(folder):
        np.savez(folder / "users.npz", np.arange(60))
        (folder / "users.npz").rename(folder / "users.npy")

    damaged(edit("col.bin", "<i4", 3, 40), "columns from 0 to 39")
    damaged(edit("col.bin", "<i4", 1, MATRIX.indices[0]), "items that ascend")
    damaged(edit("rowptr.bin", "<i8", 5, 0), "row bounds")
    damaged(lambda folder: (folder / "ones.bin").write_bytes(b""), "expected .* bytes, got 0")
    damaged(lambda folder: (folder / "interactions.json").unlink(), r"Interactions.save_mapped")
    damaged(entry("format", 9), "expected format 1 or 2, got 9")
    damaged(entry("pairs", -1), "interactions.json")
    damaged(entry("extras", {"ratings": "<f8"}), "interactions.json")
    damaged(entry("ids", ["users", "../items"]), "interactions.json")
    damaged(entry("num_items", 10**30), "interactions.json")
    damaged(edit("ones.bin", "<f4", 4, np.nan), "expected ones")
    damaged(edit("ratings.bin", "<f4", 4, np.nan), "expected finite values")
    damaged(lambda folder: np.save(folder / "users.npy", np.arange(3)), "expected 60 ids")
    damaged(lambda folder: np.save(folder / "users.npy", np.zeros(60, int)), "expected ids that differ")
    damaged(lambda folder: np.save(folder / "users.npy", np.arange(60.0)), "integers or text, got float64")
    damaged(zipped, "users.npy")
    damaged(edit("dislike_col.bin", "<i4", 0, 9), "columns from 0 to 8", RATED)
    damaged(edit("dislike_ones.bin", "<f4", 0, 2), "expected ones", RATED)
    damaged(edit("dislike_col.bin", "<i4", 0, 0), "no dislike among interactions", Interactions.from_csr(PAIR))
    damaged(entry("dislikes", -1), "interactions.json", RATED)


MEASURE = """
import sys, threading, numpy as np, scipy.sparse as sp
from recsys import Interactions, MatrixFactorization
def anonymous():
    with open("/proc/self/status") as file:
        return int(next(line for line in file if line.startswith("RssAnon")).split()[1]) * 1024
def model(epochs):
    return MatrixFactorization(8, iterations=epochs, num_threads=2, random_state=0)
# Imports and thread pools first.
model(1).fit(sp.csr_array(np.eye(64, dtype=np.float32)), False)
from recsys.kernels import negatives, sgd
sgd.MAX_GROUPED, negatives.MAX_BITS = 1, 0
clicks = Interactions.open(sys.argv[1])
before, peak, done = anonymous(), [0], threading.Event()
def watch():
    while not done.wait(.002):
        peak[0] = max(peak[0], anonymous())
thread = threading.Thread(target=watch); thread.start()
model(1).fit(clicks, False)
done.set(); thread.join()
print(peak[0] - before)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_training_copies_no_pairs(tmp_path):
    users, items, each = 20_000, 4_000, 400
    columns = (np.random.default_rng(0).integers(0, 10, (2_000, each)) + np.arange(each) * 10).astype(np.int32)
    part = sp.csr_array((np.ones(columns.size), columns.ravel(), np.arange(2_001) * each), shape=(2_000, items))
    Interactions.build(tmp_path / "clicks", [Interactions(part)] * 10)
    command = [sys.executable, "-c", MEASURE, tmp_path / "clicks"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    # A round copies an eighth of the pairs, 8 bytes each; chunks of pairs, the heap and factors take some more.
    assert int(done.stdout) < users * each + (20 << 20) < 4 * users * each, "the bytes of the columns alone"
