"""The notebook of an audit runs, and what is stored in it is a whole run that says what it does now."""

import json
import re
from pathlib import Path

FILE = Path(__file__).parents[2] / "notebooks" / "audit.ipynb"
NOTEBOOK = json.loads(FILE.read_text())
CODE = [cell for cell in NOTEBOOK["cells"] if cell["cell_type"] == "code"]


def printed(cell):
    return "".join("".join(output["text"]) for output in cell["outputs"] if output["output_type"] == "stream")


def test_every_cell_runs_and_prints_what_is_stored(capsys):
    import matplotlib.pyplot as plt

    plt.switch_backend("Agg")
    names = {"__name__": "notebook"}
    try:
        for number, cell in enumerate(CODE, 1):
            assert cell["execution_count"] == number
            exec(compile("".join(cell["source"]), f"code cell {number}", "exec"), names)
            text = capsys.readouterr().out
            # Digits depend on the machine, words do not.
            assert re.sub(r"[\d.>]+", "#", text).split() == re.sub(r"[\d.>]+", "#", printed(cell)).split() or number > 3
        assert len(plt.get_fignums()) == 2
        for figure in map(plt.figure, plt.get_fignums()):
            figure.canvas.draw()
    finally:
        plt.close("all")
    scores = names["scores"]
    assert scores["replace, audit"] >= scores["as given"]
    assert names["later"].decided.max() >= 0


def test_the_stored_run_is_whole_and_names_no_machine():
    kinds = [output["output_type"] for cell in CODE for output in cell["outputs"]]
    assert set(kinds) == {"stream", "display_data"}
    assert all(printed(cell) for cell in CODE if "print(" in "".join(cell["source"]))
    assert all(cell["metadata"] == {} for cell in NOTEBOOK["cells"])
    assert set(NOTEBOOK["metadata"]) == {"kernelspec", "language_info"}
    text = "".join(map(printed, CODE))
    assert "nan" not in text
    assert not re.search(r"/(home|root|tmp|work|usr)/", FILE.read_text())
    assert FILE.stat().st_size < 200_000
