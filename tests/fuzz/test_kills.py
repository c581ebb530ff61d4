from fuzz import kills


def test_each_signal_loses_nothing_and_says_how_to_go_on():
    counts, wrong = kills.run(4, seed=1)
    assert wrong == []
    assert sum(counts.values()) == 4
