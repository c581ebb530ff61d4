import builtins
import io
import os
import pickle
import struct
import subprocess
import zipfile
from collections import OrderedDict, defaultdict

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy.sparse import csr_matrix, random_array

from graphnoise import DataError
from graphnoise.datasets.safe import csr, loads, read_npz


class Reduced:
    """What pickles as a call of any function with any arguments."""

    def __init__(self, function, *arguments, state=None):
        self.call = (function, arguments) if state is None else (function, arguments, state)

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize(
    "function",
    [
        *(os.system, builtins.eval, builtins.exec, builtins.getattr, builtins.__import__, subprocess.Popen),
        *(np.load, np.save, np.memmap, np.fromfile, np.testing.assert_equal, csr_matrix.__init__, pickle.loads),
    ],
)
def test_a_pickle_that_calls_anything_is_refused_and_nothing_runs(function, protocol, tmp_path):
    target = tmp_path / "ran"
    bomb = pickle.dumps(Reduced(function, f"touch {target}"), protocol=protocol)
    with pytest.raises(DataError, match=r"graph: refused"):
        loads(bomb, "graph")
    assert not target.exists()


def test_attributes_of_allowed_names_are_refused():
    for dotted in ("ndarray.tofile", "dtype.__class__", "ndarray.__subclasses__"):
        stack_global = b"\x80\x04\x8c\x05numpy\x8c" + bytes([len(dotted)]) + dotted.encode() + b"\x93."
        with pytest.raises(DataError, match=r"refused: the pickle names numpy\."):
            loads(stack_global, "graph")


@pytest.mark.parametrize("module", ["builtins", "__builtin__", "collections", "numpy", "scipy.sparse.csr"])
@pytest.mark.parametrize("name", ["__builtins__", "eval", "namedtuple", "frombuffer", "load", "csr_matrix.__class__"])
def test_other_names_of_allowed_modules_are_refused(module, name):
    with pytest.raises(DataError, match="refused: the pickle names"):
        loads(f"c{module}\n{name}\n.".encode(), "graph")


def test_a_pickle_cannot_change_the_classes_that_it_may_name():
    for module, name in [("numpy", "ndarray"), ("numpy", "dtype"), ("scipy.sparse.csr", "csr_matrix")]:
        build = f"c{module}\n{name}\n(NS'__init__'\nI1\ns".encode().replace(b"(NS", b"(N(dS") + b"t" + b"b."
        with pytest.raises(DataError):
            loads(build, "graph")
    assert loads(pickle.dumps(np.arange(3)), "graph").tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    "blob",
    [
        pickle.dumps(Reduced(np.ndarray, (1 << 40,))),
        pickle.dumps(Reduced(np.dtype, "O")),
        pickle.dumps(Reduced(np.dtype, [("a", "O")])),
        pickle.dumps(np.zeros(2, dtype=[("a", "f8")])),
        pickle.dumps(np.array([{}, {}], dtype=object)),
        pickle.dumps(np.array(["a"])),
        pickle.dumps(np.float64(1.0)),
        pickle.dumps(np.ma.masked_array([1.0])),
        pickle.dumps(csr_matrix),
        pickle.dumps({1, 2}, protocol=2),
        pickle.dumps(Reduced(list, range(3))),
        b"\x80\x02Pabc\n.",
        b"\x80\x02\x82\x01.",
        b"(icollections\ndefaultdict\n.",
        b"\x80\x02Nr\xff\xff\xff\x7f.",
        b"\x80\x04\x8e" + struct.pack("<Q", 1 << 60) + b"x.",
        b"",
        b"\x80",
        b"no pickle",
    ],
)
def test_what_is_not_plain_data_is_refused(blob):
    with pytest.raises(DataError, match=r"^graph: "):
        loads(blob, "graph")


@pytest.mark.parametrize("protocol", [2, 3, 4])
def test_plain_data_come_back(protocol):
    if (
        protocol == 2
        # Python 3 then writes bytes as a call of codecs.encode; Python 2 did not, see the Planetoid files.
    ):
        blob = pickle.dumps({0: [1, 2], 3: []}, protocol=2)
        assert loads(blob, "graph") == {0: [1, 2], 3: []}
        return
    lists = defaultdict(list, {0: [1, 2], 5: []})
    assert loads(pickle.dumps(lists, protocol=protocol), "graph") == lists
    assert loads(pickle.dumps(OrderedDict(a=1), protocol=protocol), "graph") == {"a": 1}
    for dtype in ("<f4", ">f8", "|u1", "<i8", ">i2", "|b1", "<f2"):
        for array in (np.arange(6).reshape(2, 3).astype(dtype), np.zeros((0, 3), dtype), np.array(1, dtype)):
            for order in ("C", "F"):
                again = loads(pickle.dumps(np.asarray(array, order=order), protocol=protocol), "x")
                assert again.dtype.kind == array.dtype.kind
                np.testing.assert_array_equal(again, array, strict=False)
    matrix = csr_matrix(random_array((7, 5), density=0.4, rng=np.random.default_rng(0)))
    again = loads(pickle.dumps(matrix, protocol=protocol), "x")
    assert type(again) is csr_matrix
    np.testing.assert_array_equal(again.toarray(), matrix.toarray())


@given(
    st.sampled_from(["indices", "indptr", "data", "_shape"]),
    st.integers(0, 20),
    st.sampled_from([-1, 7, 1 << 40, -(1 << 40)]),
)
def test_matrices_with_parts_that_do_not_fit_are_refused(part, place, value):
    matrix = csr_matrix(random_array((7, 5), density=0.6, rng=np.random.default_rng(0)))
    # Elsewhere 7 may be right.
    assume(value != 7 or part in ("indices", "data"))
    state = matrix.__dict__
    if part == "_shape":
        state[part] = (7, 2) if place % 2 else (value, 5)
    elif part == "data":
        state[part] = state[part][: place % len(state[part])]
    else:
        state[part] = state[part].astype(np.int64)
        state[part][place % len(state[part])] = value
    with pytest.raises(DataError):
        loads(pickle.dumps(matrix), "x")


@given(st.binary(max_size=200))
def test_any_bytes_give_plain_data_or_one_error(blob):
    try:
        value = loads(blob, "graph")
    except DataError:
        return
    assert value is None or isinstance(value, (int, float, str, bytes, list, tuple, dict, set, frozenset, np.ndarray))


@given(st.data())
def test_damaged_pickles_give_matrices_or_one_error(data):
    blob = bytearray(pickle.dumps(csr_matrix(np.eye(4, dtype=np.float32)), protocol=4))
    for _ in range(data.draw(st.integers(1, 4))):
        blob[data.draw(st.integers(0, len(blob) - 1))] = data.draw(st.integers(0, 255))
    try:
        value = loads(bytes(blob), "x")
    except DataError:
        return
    if isinstance(value, csr_matrix):
        value.check_format(full_check=True)


@pytest.mark.parametrize("put", [b"p%d\n", b"q%c", b"r%c\x00\x00\x00"])
def test_a_memo_is_not_larger_than_the_file(put):
    size = len(b"]" + put % 9 + b".")
    assert loads(b"]" + put % size + b".", "graph") == []
    with pytest.raises(DataError, match="refused: a memo beyond the size of the file"):
        loads(b"]" + put % (size + 1) + b".", "graph")


def test_nesting_and_self_reference_give_no_crash():
    deep = b"\x80\x02" + b"(" * 5_000 + b"t" * 5_000
    assert isinstance(loads(deep + b".", "graph"), tuple)
    assert isinstance(loads(b"\x80\x02}" + deep[2:] + b"K\x01s.", "graph"), dict)
    # Hashed as a key, it would overflow the stack.
    deeper = b"\x80\x02})" + b"\x85" * 10_000_000 + b"K\x01s."
    with pytest.raises(DataError, match="refused: opcode TUPLE1"):
        loads(deeper, "graph")
    assert isinstance(loads(b"\x80\x02]q\x00h\x00a.", "graph"), list)


def test_csr_checks_its_parts():
    ones, indices, indptr = np.ones(2), np.array([1, 0]), np.array([0, 1, 2])
    assert csr(ones, indices, indptr, (2, 2)).toarray().tolist() == [[0, 1], [1, 0]]
    for parts in (
        (ones, np.array([1, 2]), indptr, (2, 2)),
        (ones, indices.astype(float), indptr, (2, 2)),
        (ones, indices, np.array([0, 2, 1]), (2, 2)),
        (ones, indices, np.array([1, 1, 2]), (2, 2)),
        (ones[:1], indices, indptr, (2, 2)),
        (ones, indices, indptr, (2, 2, 2)),
        (ones, indices, indptr, (3, 2)),
        (None, indices, indptr, (2, 2)),
    ):
        with pytest.raises(ValueError):
            csr(*parts)


def write(path, **members):
    with zipfile.ZipFile(path, "w") as archive:
        for name, blob in members.items():
            archive.writestr(f"{name}.npy", blob)
    return path


def npy(array) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def test_npz_members_come_back_as_numpy_wrote_them(tmp_path):
    arrays = {
        "a": np.arange(12.0).reshape(3, 4),
        "b": np.asfortranarray(np.arange(6, dtype=">i4").reshape(2, 3)),
        "c": np.array("text"),
        "d": np.array(True),
        "e": np.zeros((0, 2), np.float32),
        "unread": np.array([{}], dtype=object),
    }
    np.savez_compressed(tmp_path / "a.npz", **arrays)
    actual = read_npz(tmp_path / "a.npz", set(arrays) - {"unread"})
    assert set(actual) == set(arrays) - {"unread"}
    for key, value in actual.items():
        np.testing.assert_array_equal(value, arrays[key])


@pytest.mark.parametrize(
    "blob",
    [
        b"",
        b"\x93NUMPY\x01\x00",
        npy(np.arange(9))[:-1],
        npy(np.arange(9)) + b"x",
        npy(np.zeros(2, dtype=[("a", "f8")])),
        npy(np.arange(9)).replace(b"(9,)", b"(-9,)"),
        npy(np.arange(9)).replace(b"(9,)", b"(9**9**9,)"),
        npy(np.arange(9)).replace(b"'<i8'", b"'<q9'"),
        npy(np.array([{}, {}], dtype=object)),
        npy(np.array([Reduced(os.system, "true")], dtype=object).reshape(())),
    ],
)
def test_damaged_or_odd_arrays_are_refused(blob, tmp_path):
    with pytest.raises(DataError, match=r"a\.npz: x"):
        read_npz(write(tmp_path / "a.npz", x=blob), ("x",))


def test_a_truncated_or_absent_archive_is_one_error(tmp_path):
    path = tmp_path / "a.npz"
    np.savez(path, x=np.arange(1000))
    whole = path.read_bytes()
    for size in (0, 1, 30, 100, len(whole) // 2, len(whole) - 30, len(whole) - 1):
        path.write_bytes(whole[:size])
        with pytest.raises(DataError, match=r"a\.npz"):
            read_npz(path, ("x",))
    middle = len(whole) // 2
    path.write_bytes(whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :])
    with pytest.raises(DataError, match="CRC"):
        read_npz(path, ("x",))
    with pytest.raises(DataError, match="No such file"):
        read_npz(tmp_path / "b.npz", ("x",))
