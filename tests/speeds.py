"""What tests of `graphnoise bench speed` share."""

import json
import os
import re

import pytest

from graphnoise.cli.main import main

DAMAGE = {
    "no key": lambda r: r.pop("key"),
    "no case": lambda r: r.pop("case"),
    "no environment": lambda r: r.update(environment=None),
    "no versions": lambda r: r["environment"].update(versions=[]),
    "a number of cores that is none": lambda r: r["environment"].update(cores="2"),
    "no times": lambda r: r.update(times={}),
    "a time that is none": lambda r: [entry["seconds"].update(median="fast") for entry in r["times"].values()],
    "notes that are none": lambda r: r.update(notes=["x"]),
    "a load that is none": lambda r: r.update(load="much"),
}


def call(capfd, *words):
    with pytest.raises(SystemExit) as stop:
        main(["bench", "speed", *map(str, words)])
    out, err = capfd.readouterr()
    return stop.value.code, out, err


def held(path):
    return json.loads(path.read_text())["records"]


def refused(capfd, message, *words, code=1, folder=None):
    """A command that ends with one line of error, prints nothing else, and leaves nothing in a folder."""
    got, out, err = call(capfd, *words)
    assert (got, out) == (code, "")
    assert one_error(err)
    assert re.search(message, err), err
    assert folder is None or not list(folder.iterdir())


def one_error(text):
    """Whether a text is one line, of an error."""
    return text.startswith("graphnoise: error: ") and text.count("\n") == 1


def killed(*_):
    """What a process without memory comes to."""
    os._exit(9)
