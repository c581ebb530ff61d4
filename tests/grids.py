"""What tests of grids of cells share: the records that must be there, and waiting for commands."""

import io
import os
import time

from rich.console import Console

from graphnoise.bench.record import by_task
from graphnoise.bench.report import render
from graphnoise.bench.runner import Store, cell_key
from graphnoise.bench.tasks.nodes import Nodes


def group_is_gone(group):
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return True
    return False


def finish(*processes):
    """Wait for commands that must end well and say nothing on the error stream; return what they said."""
    ends = [(*process.communicate(timeout=60), process.returncode) for process in processes]
    assert [(err, code) for _, err, code in ends] == [("", 0)] * len(ends)
    return [out for out, _, _ in ends]


def files(store):
    return {path.name: path.read_bytes() for path in store.folder.glob("*.json")}


def uninterrupted(helpers, tmp_path, count, seconds=0.0):
    store = Store(tmp_path / "uninterrupted")
    cells = helpers.cells(count, seconds)
    for config in cells:
        store.write(cell_key(config), config, helpers.work({**config, "seconds": 0}))
    return files(store)


def wait_for(condition, seconds=30.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.001)


def logged(log):
    return sorted(int(line.split()[0]) for line in log.read_text().splitlines())


def node_sections(source):
    """The sections of the cells of `nodes` in a source."""
    return Nodes().sections(by_task(source)[0]["nodes"])


def node_tables(source):
    """What the report of `nodes` prints for a source."""
    console = Console(width=120, file=io.StringIO())
    for section in node_sections(source):
        for part in render(Nodes(), section):
            console.print(part)
    return console.file.getvalue()
