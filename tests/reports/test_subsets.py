"""Tables of subsets refuse to render without a random subset and hard labels."""

import pytest

from graphnoise import InputError
from graphnoise.reports import selection_table

ROW = {"selection": "small loss", "kept": 0.2, "soft_labels": "teacher", "steps": 100, "accuracy": 0.8, "hard": 0.7}
RANDOM = {**ROW, "selection": "random", "accuracy": 0.7}


def test_gains_are_those_over_the_random_subset():
    table = selection_table([ROW, RANDOM, {**ROW, "kept": 0.5, "accuracy": 0.6}, {**RANDOM, "kept": 0.5}])
    assert table["gain"].round(9).tolist() == [0.1, 0.0, -0.1, 0.0]


@pytest.mark.parametrize(
    "rows",
    [[ROW], [ROW, {**RANDOM, "kept": 0.5}], [ROW, {**RANDOM, "soft_labels": "none"}], [ROW, {**RANDOM, "steps": 200}]],
)
def test_a_random_subset_of_equal_size_labels_and_steps_is_required(rows):
    with pytest.raises(InputError, match="rows: expected a random subset beside"):
        selection_table(rows)


def test_two_random_subsets_of_one_setting_are_refused():
    with pytest.raises(InputError, match="rows: expected one random subset of each size, soft labels and steps"):
        selection_table([ROW, RANDOM, {**RANDOM, "accuracy": 0.9}])


def test_hard_labels_are_required():
    with pytest.raises(InputError, match=r"rows\[0\]: hard: expected an accuracy with hard labels, got none"):
        selection_table([{key: value for key, value in ROW.items() if key != "hard"}, RANDOM])
    with pytest.raises(InputError, match=r"rows\[1\]: hard: expected a rate"):
        selection_table([ROW, {**RANDOM, "hard": float("nan")}])
