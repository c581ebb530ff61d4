from fuzz import kills


def test_a_dozen_signals_lose_nothing_and_say_how_to_go_on():
    counts, wrong = kills.run(12, seed=1)
    assert wrong == []
    assert sum(counts.values()) == 12
