from fuzz import kills


def test_signals_lose_nothing_and_say_how_to_go_on():
    # Tests of the runner kill it, and interrupt it; those of the command line send each signal to a command.
    counts, wrong = kills.run(1, seed=1, signals=("TERM",), seeds=1)
    assert wrong == []
    assert sum(counts.values()) == 1
