"""Interactions: the same matrix from every format and order; errors name the argument."""

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given
from hypothesis import strategies as st

from graphnoise.noise import flip_interactions
from graphnoise.resources import check_memory
from recsys import InputError, Interactions
from recsys.interactions import as_csr, check_disjoint

USERS, ITEMS = ["b", "a", "b", "c"], [30, 10, 10, 20]
FORMATS = ["csr", "csc", "coo", "lil", "dok", "bsr", "dia"]
pairs = st.sets(st.tuples(st.integers(0, 6), st.integers(0, 4)))


@given(pairs, st.randoms(use_true_random=False), st.sampled_from(FORMATS), st.booleans())
def test_every_format_gives_the_same_matrix(cells, random, kind, old):
    order = sorted(cells)
    random.shuffle(order)
    dense = np.zeros((7, 5), np.float32)
    for user, item in order:
        dense[user, item] = 1
    matrix = (sp.csr_matrix if old else sp.csr_array)(dense * 3).asformat(kind)
    users, items = [c[0] for c in order], [c[1] for c in order]
    times = [10 * u + i for u, i in order]
    triples = Interactions.from_triples(users, items, None, times, num_users=7, num_items=5)
    for clicks in (Interactions.from_csr(matrix), triples):
        assert clicks.matrix.dtype == np.float32
        assert clicks.matrix.has_canonical_format
        np.testing.assert_array_equal(clicks.matrix.toarray(), dense)
    np.testing.assert_array_equal(triples.times, 10 * triples.rows + triples.matrix.indices)


def test_ids_are_sorted_and_ratings_and_times_follow_their_pairs():
    clicks = Interactions.from_triples(USERS, ITEMS, [1, 2, 3, 4], [9.0, 8, 7, 6])
    assert clicks.users.tolist() == ["a", "b", "c"]
    assert clicks.items.tolist() == [10, 20, 30]
    seen = dict(
        zip(zip(clicks.rows.tolist(), clicks.matrix.indices.tolist(), strict=True), clicks.ratings, strict=True)
    )
    assert seen == {(1, 2): 1, (0, 0): 2, (1, 0): 3, (2, 1): 4}
    assert clicks.times.tolist() == [8, 7, 9, 6]
    high = clicks.at_least(3)
    assert (len(high), high.num_users, high.times.tolist()) == (2, 3, [7, 6])
    assert clicks.user_positions(["c", "a"]).tolist() == [2, 0]


def test_repeated_pairs_are_an_error_or_the_first_or_the_last_counts():
    triples = [0, 0, 1, 0], [1, 1, 0, 1], [5, 4, 3, 2]
    with pytest.raises(InputError, match=r"users, items: expected every pair.* once .*got 2 repeated.* 0, 1"):
        Interactions.from_triples(*triples)
    for rule, times, expected in [
        ("first", None, [5, 3]),
        ("last", None, [2, 3]),
        ("first", [3, 1, 0, 2], [4, 3]),
        ("last", [3, 1, 0, 2], [5, 3]),
        ("last", [3, 3, 0, 3], [2, 3]),
    ]:
        assert Interactions.from_triples(*triples, times, duplicates=rule).ratings.tolist() == expected


def test_users_and_items_without_interactions_stay():
    clicks = Interactions.from_triples([3], [1], num_users=5, num_items=2)
    assert clicks.matrix.shape == (5, 2)
    empty = Interactions.from_triples([], [])
    assert (empty.num_users, empty.num_items, len(empty)) == (0, 0, 0)
    assert len(clicks.subset(np.array([False]))) == 0
    assert clicks.subset(np.array([False])).matrix.shape == (5, 2)


@given(pairs, st.integers(1, 3))
def test_core_has_only_users_and_items_with_enough(cells, k):
    users, items = [c[0] for c in cells], [c[1] for c in cells]
    clicks = Interactions.from_triples(users, items, times=[10 * u + i for u, i in cells], num_users=7, num_items=5)
    # By hand, one pair at a time.
    rest = set(cells)
    while weak := [(u, i) for u, i in rest if sum(a == u for a, _ in rest) < k or sum(b == i for _, b in rest) < k]:
        rest.discard(weak[0])
    if cells and not rest:
        with pytest.raises(InputError, match=f"k: expected at most .* got {k}"):
            clicks.core(k)
        return
    core = clicks.core(k)
    dense = core.matrix.toarray()
    assert (dense.sum(0) >= k).all()
    assert (dense.sum(1) >= k).all()
    left = set(zip(core.users[core.rows].tolist(), core.items[core.matrix.indices].tolist(), strict=True))
    assert left == rest
    np.testing.assert_array_equal(core.times, 10 * core.users[core.rows] + core.items[core.matrix.indices])


def test_frames_of_pandas():
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"u": USERS, "i": ITEMS, "stars": [1, 2, 3, 4]})
    clicks = Interactions.from_frame(frame, "u", "i", rating="stars")
    assert clicks.ratings.tolist() == [2, 3, 1, 4]
    with pytest.raises(InputError, match=r"item: expected one of i, stars, u, got 'items'"):
        Interactions.from_frame(frame, "u", "items")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([0, 1], [0]), r"items: expected 2 entries, as many as users, got 1"),
        (([0, None], [0, 1]), r"users: expected integers or text, got 1 others, the first None"),
        (([0, float("nan")], [0, 1]), r"users: expected an id everywhere, got 1 missing"),
        (([0.5, 1.0], [0, 1]), r"users: expected integers or text"),
        (([0, "a"], [0, 1]), r"users: expected"),
        (([[0, 1]], [0, 1]), r"users: expected a list of ids, got shape \(1, 2\)"),
        (([0], [0], [float("nan")]), r"ratings: expected finite numbers, got 1 NaN"),
        (([0], [0], [1, 2]), r"ratings: expected 1 numbers"),
        (([0], [0], None, [float("inf")]), r"times: expected finite numbers"),
        (([0], [0], None, ["now"]), r"times: expected numbers or dates, got 1 others, the first 'now'"),
    ],
)
def test_wrong_triples_are_named(arguments, message):
    if arguments[0] == [0, "a"]:
        arguments = (np.array([0, "a"], dtype=object), [0, 1])
    with pytest.raises(InputError, match=message):
        Interactions.from_triples(*arguments)


def test_wrong_positions_and_ids_are_named():
    with pytest.raises(InputError, match=r"users: expected positions from 0 to 1, got 1 others, the first 2"):
        Interactions.from_triples([0, 2], [0, 0], num_users=2)
    clicks = Interactions.from_triples(USERS, ITEMS)
    with pytest.raises(InputError, match=r"users: expected known ids, got 1 unknown, the first 'z'"):
        clicks.user_positions(["a", "z"])
    with pytest.raises(InputError, match=r"items: expected known ids, got 1 unknown, the first 'a'"):
        clicks.item_positions(["a"])
    with pytest.raises(InputError, match=r"users: expected ids that differ, got 1 that repeat"):
        Interactions.from_csr(sp.csr_array([[1], [1]]), users=["a", "a"])
    with pytest.raises(InputError, match=r"items: expected 1 ids, got 2"):
        Interactions.from_csr(sp.csr_array([[1], [1]]), items=["a", "b"])
    with pytest.raises(InputError, match=r"rating: expected interactions with ratings, got none"):
        clicks.at_least(3)
    with pytest.raises(InputError, match=r"keep: expected a Boolean array \[4\]"):
        clicks.subset([0, 1])
    with pytest.raises(InputError, match=r"1000000000000 users × 5 items: expected .* GiB of memory, got 14901\.2 GiB"):
        Interactions.from_triples([0], [0], num_users=10**12, num_items=5)
    with pytest.raises(InputError, match=r"frame: expected a table with named columns, got int"):
        Interactions.from_frame(3, "u", "i")


@pytest.mark.parametrize(
    ("matrix", "message"),
    [
        (np.ones((2, 2)), r"m: expected Interactions or a SciPy sparse matrix.*ndarray of 2 dimensions"),
        (sp.csr_array([[1.0, -2.0]]), r"m: expected values of at least 0, got -2.0 for user 0, item 1"),
        (sp.csr_array([[0, -2]]), r"m: expected values of at least 0, got -2 for user 0, item 1"),
        (sp.csr_array([[0, 1], [1, np.nan]]), r"m: expected finite values, got nan for user 1, item 1"),
        (sp.csr_array([[np.inf]]), r"m: expected finite values, got inf"),
        (sp.csr_matrix((np.ones(1), [7], [0, 1]), shape=(1, 3)), r"m: expected a well-formed sparse matrix, got .*< 3"),
        (sp.csr_array([[1j]]), r"m: expected real numbers, got values of type complex128"),
        (sp.coo_array((np.ones(2), ([0, 0], [1, 1]))), r"m: expected every pair of user and item once, got 1 repeated"),
        (sp.csr_array((np.ones(2), [1, 1], [0, 2]), (1, 2)), r"m: expected every pair .* once, got 1 repeated"),
        (sp.csc_array((np.ones(2), [0, 0], [0, 2]), (1, 1)), r"m: expected every pair .* once, got 1 repeated"),
    ],
)
def test_wrong_matrices_are_named(matrix, message):
    with pytest.raises(InputError, match=message):
        as_csr("m", matrix)


def test_as_csr_leaves_the_callers_matrix_alone():
    given = sp.csr_array((np.array([2.0, 0.0, 3.0]), np.array([1, 0, 2]), np.array([0, 3])), shape=(1, 3))
    before = [part.copy() for part in (given.data, given.indices, given.indptr)]
    assert as_csr("m", given).toarray().tolist() == [[0, 1, 1]]
    assert as_csr("m", given, weights=True).toarray().tolist() == [[0, 2, 3]]
    for part, was in zip((given.data, given.indices, given.indptr), before, strict=True):
        np.testing.assert_array_equal(part, was)


def test_ratings_must_follow_a_sorted_matrix():
    unsorted = sp.csr_array((np.ones(2), np.array([1, 0]), np.array([0, 2])), shape=(1, 2))
    with pytest.raises(InputError, match=r"matrix: expected sorted CSR without stored zeros, since ratings follow"):
        Interactions(unsorted, ratings=np.array([1, 2]))


def test_parts_that_overlap_are_named():
    train = Interactions.from_triples([0, 1], [0, 1], num_users=2, num_items=3)
    other = Interactions.from_triples([0, 1], [1, 1], num_users=2, num_items=3)
    with pytest.raises(
        InputError, match=r"validation: expected no pair of train, got 1 of them, the first user 1, item 1"
    ):
        check_disjoint([("train", train), ("validation", other)])
    with pytest.raises(InputError, match=r"validation: expected the shape of train, \(2, 3\), got \(2, 4\)"):
        check_disjoint([("train", train), ("validation", sp.csr_array((2, 4)))])


def test_check_memory_names_the_size():
    check_memory("a small thing", 1000)
    with pytest.raises(InputError, match=r"dense scores: expected to need at most .* GiB of memory, got 931322\.6 GiB"):
        check_memory("dense scores", 1e15)


def test_text_beside_numbers_is_not_made_text():
    """NumPy would make the text "nan" of a missing id."""
    for users, found in ((["ann", float("nan")], "1 others, the first nan"), (["ann", 3], "both"), ([[0], [1, 2]], "")):
        with pytest.raises(InputError, match=f"users: expected .*{found}"):
            Interactions.from_triples(users, [1, 2])
    assert Interactions.from_triples(["ann", np.str_("bob")], [1, 2]).users.tolist() == ["ann", "bob"]


def test_what_float32_cannot_hold_is_named():
    with pytest.raises(InputError, match=r"ratings: expected numbers that float32 holds, got 1e\+300"):
        Interactions.from_triples([0, 1], [0, 1], ratings=[1e300, 1])
    with pytest.raises(InputError, match=r"clicks: expected values of at most .* got 1e\+300"):
        as_csr("clicks", sp.csr_array([[1e300, 1.0]]), weights=True)


def test_what_only_looks_like_interactions_is_checked():
    """`NoisyInteractions` has a matrix too, of any values."""
    noisy = flip_interactions(sp.csr_array([[2.0, 0.0], [0.0, 5.0]]), 0.0)
    assert as_csr("clicks", noisy).data.tolist() == [1, 1]
    with pytest.raises(InputError, match="values of at least 0, got -1"):
        as_csr("clicks", flip_interactions(sp.csr_array([[-1.0, 0.0]]), 0.0))


@pytest.mark.parametrize("place", [9, -1])
def test_triples_outside_their_matrix_are_named(place):
    """SciPy would write beyond its arrays."""
    matrix = sp.coo_array(np.eye(3))
    matrix.coords[0][0] = place
    with pytest.raises(InputError, match="clicks: expected indices from 0 to 2, got values from"):
        as_csr("clicks", matrix)


def test_large_ids_are_found_whatever_the_integer_type():
    ids = [2**60 + k for k in range(9)]
    clicks = Interactions.from_triples(ids, range(9))
    for kind in (np.int64, np.uint64):
        assert clicks.user_positions(np.array(ids[3:5], kind)).tolist() == [3, 4]
    hashes = Interactions.from_triples(np.array(ids, np.uint64), range(9))
    assert hashes.user_positions(ids[3:5]).tolist() == [3, 4]
    with pytest.raises(InputError, match="users: expected known ids, got 1 unknown, the first -5"):
        Interactions.from_triples(np.array([2**64 - 5], np.uint64), [0]).user_positions([-5])
