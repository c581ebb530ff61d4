"""The notebook that compares samplers runs; what is stored in it is a whole run, with plots, that names no machine."""

import base64
import json
import re
import socket
from pathlib import Path

import numpy as np
import pytest

from recsys.samplers import SAMPLERS

FILE = Path(__file__).parents[1] / "notebooks" / "compare_samplers.ipynb"
NOTEBOOK = json.loads(FILE.read_text())
CODE = [cell for cell in NOTEBOOK["cells"] if cell["cell_type"] == "code"]
OUTPUTS = [output for cell in CODE for output in cell["outputs"]]
PRINTED = "".join("".join(output["text"]) for output in OUTPUTS if output["output_type"] == "stream")


@pytest.mark.usefixtures("movielens")
def test_every_cell_runs(tmp_path, monkeypatch, capsys):
    import matplotlib as mpl
    import matplotlib.pyplot as plt

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COMPARE_SAMPLERS_QUICK", "1")
    names = {"__name__": "notebook"}
    with mpl.rc_context():
        plt.switch_backend("Agg")
        try:
            for number, cell in enumerate(CODE, 1):
                exec(compile("".join(cell["source"]), f"code cell {number}", "exec"), names)
            for figure in map(plt.figure, plt.get_fignums()):
                # A plot is drawn only now, and warnings are errors.
                figure.canvas.draw()
            figures = len(plt.get_fignums())
        finally:
            plt.close("all")
    assert figures == len([1 for output in OUTPUTS if "image/png" in output.get("data", {})])
    assert set(names["runs"]) == set(names["draws"]) == set(names["KINDS"])
    assert {names["sampler"](given).name for given, *_ in names["KINDS"].values()} == set(SAMPLERS)
    for label, runs in names["runs"].items():
        assert len(runs) == 2
        for run in runs:
            assert all(0 <= run[what] <= 100 for what in run if "before" in what or "after" in what), label
            assert 0.05 < run["hidden"] < 1, label
            assert 0.02 < run["held out"] < 1, label
    uniform = np.mean([run["false after"] for run in names["runs"]["uniform"]])
    assert np.mean([run["false after"] for run in names["runs"]["dns"]]) > 2 * uniform
    assert not list(tmp_path.iterdir())
    assert capsys.readouterr().err == ""


def test_outputs_are_those_of_one_whole_run():
    assert [cell["execution_count"] for cell in CODE] == list(range(1, len(CODE) + 1))
    kinds = {output["output_type"] for output in OUTPUTS}
    # So no error.
    assert kinds == {"stream", "display_data"}
    assert {output["name"] for output in OUTPUTS if output["output_type"] == "stream"} == {"stdout"}
    assert all(cell["outputs"] for cell in CODE if "print(" in "".join(cell["source"]))
    assert "nan" not in PRINTED
    assert "5 seeds, 65 trained models" in PRINTED
    pictures = [base64.b64decode("".join(o["data"]["image/png"])) for o in OUTPUTS if "data" in o]
    assert len(pictures) == 4
    assert all(picture.startswith(b"\x89PNG\r\n\x1a\n") and len(picture) > 10_000 for picture in pictures)
    assert FILE.stat().st_size < 1_000_000


def test_every_sampler_is_in_the_last_table():
    last = "".join("".join(output["text"]) for output in CODE[-1]["outputs"])
    assert all(re.search(rf"^{re.escape(name)}\b", last, re.MULTILINE) for name in SAMPLERS)


def test_no_machine_is_named():
    for cell in NOTEBOOK["cells"]:
        assert cell["metadata"] == {}, "no times, no editors' notes"
    assert set(NOTEBOOK["metadata"]) == {"kernelspec", "language_info"}
    assert NOTEBOOK["metadata"]["kernelspec"]["name"] == "python3"
    text = json.dumps([{**cell, "outputs": []} for cell in NOTEBOOK["cells"]], ensure_ascii=False) + PRINTED
    text += json.dumps([o["data"].get("text/plain", "") for o in OUTPUTS if "data" in o])
    text += "".join(base64.b64decode("".join(o["data"]["image/png"])).decode("latin-1") for o in OUTPUTS if "data" in o)
    assert not re.search(r"/(home|root|tmp|work|usr|opt|var|Users|mnt)/\w|[A-Z]:\\\\|\.venv|site-packages", text)
    host = re.escape(socket.gethostname())
    assert not re.search(rf"(?<!\w){host}(?!\w)", PRINTED)
