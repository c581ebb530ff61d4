from fuzz import kills


def test_signals_lose_nothing_and_say_how_to_go_on():
    # Tests of the runner kill it, and interrupt it.
    counts, wrong = kills.run(2, seed=1, signals=("TERM", "HUP"), seeds=1)
    assert wrong == []
    assert sum(counts.values()) == 2
