"""Read damaged files with every reader, each in a child of its own: `python -m tests.fuzz.files --files 20000`.

The corpus was written by `--corpus`. A file is mutated as bytes, or within its archive, its stream or its JSON, which
is packed and sealed again. A child ends well (a result), or by an error of this package that names the file or the
argument; another exception, a signal, more than 2 GiB of memory or 60 seconds are defects.
"""

import argparse
import gzip
import hashlib
import io
import json
import os
import pickle
import random
import re
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
import warnings
import zipfile
from collections import Counter
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from scipy.sparse import csr_matrix

from graphnoise import ERASE, datasets
from graphnoise.bench import record, registry
from graphnoise.bench.report import render
from graphnoise.bench.speed import operation
from graphnoise.bench.store import Store, cell_key
from graphnoise.bench.suite import Suite
from graphnoise.errors import DataError, GraphnoiseError
from recsys import ALS, EASE, Interactions, Popularity, Recommender
from recsys.datasets import read_table

CORPUS = Path(__file__).parent / "corpus"
MEMORY, SECONDS = 2 << 30, 60
CLEAN, TYPED, DEFECT = 0, 10, 11
EXTREMES = [b"0", b"-1", b"1e308", b"-1e999", b"NaN", b"99999999999999999999", b"2147483648", b"1" * 5000, b""]
VALUES = [None, {}, [], "", "x", "\ud800", -1, 0, 1.5, True, 1e308, 10**30, [None], {"a": 1}]


def report(source):
    """Everything that `graphnoise report` makes of cells, but files."""
    parts, _ = record.by_task(source)
    console = Console(width=120, file=io.StringIO())
    for name, records in parts.items():
        task = registry.task(name)
        record.to_csv(task, records).encode()
        for section in task.sections(records):
            for piece in render(task, section):
                console.print(piece)


def _claims(path):
    store, key = Store(path), next(CORPUS.glob("claim/*.claim")).name.partition(".")[0]
    store.held(key)
    store.holder(key)
    store.sweep()
    store.claim(key)


def _erase(path):
    data = datasets.load_npz(CORPUS / "npz" / "graph.npz")
    model = ERASE(epochs=3, layers=1, width=4, heads=1, n_init=2, checkpoint=path, checkpoint_every=1)
    return model.fit(data)


# By folder of the corpus: what reads its files, and whether the reader takes the folder.
READERS = {
    "npz": (datasets.load_npz, False),
    "pt": (datasets.load_pt, False),
    "planetoid": (datasets.load_folder, True),
    "ogb": (datasets.load_ogb, True),
    "edges": (lambda path: datasets.read_edges(path / "edges.csv", path / "labels.csv.gz"), True),
    "clicks": (lambda path: read_table(path, "user", "item", "rating", "time"), False),
    "records": (lambda path: report(record.open_source(path)), False),
    "suite": (Suite.read, False),
    "cell": (lambda path: report(Store(path)), True),
    "claim": (_claims, True),
    "erase": (_erase, False),
    "model": (Recommender.load, False),
    "speed": (operation.read, False),
}


def write_corpus():
    """Write the corpus anew, with the writers of the packages."""
    shutil.rmtree(CORPUS, ignore_errors=True)
    for name in READERS:
        (CORPUS / name).mkdir(parents=True)
    data = datasets.planted_partition([6, 6], 0.6, 0.1, num_features=3, split=(2, 2, 4), seed=1)
    datasets.save_npz(data, CORPUS / "npz" / "graph.npz")
    tensors = {key: value for key, value in data.to_dict().items() if isinstance(value, torch.Tensor)}
    torch.save(tensors, CORPUS / "pt" / "graph.pt")
    # The public split takes 500 nodes for validation.
    matrix, onehot = csr_matrix((508, 3), dtype=np.float32), np.eye(2, dtype=np.uint8)[[0, 1] * 254]
    parts = {"allx": matrix[:506], "x": matrix[:2], "tx": matrix[506:]}
    parts |= {"ally": onehot[:506], "y": onehot[:2], "ty": onehot[506:]}
    parts["graph"] = {node: [(node + 1) % 508] for node in range(508)}
    for name, part in parts.items():
        (CORPUS / "planetoid" / f"ind.toy.{name}").write_bytes(pickle.dumps(part, 4))
    (CORPUS / "planetoid" / "ind.toy.test.index").write_text("507\n506\n")
    files = {"raw/edge": "0,1\n2,3", "raw/node-feat": "1,0\n2,1\n3,0\n4,1", "raw/node-label": "0\n1\nnan\n0"}
    files |= {"raw/num-node-list": "4", "raw/num-edge-list": "2", "raw/node_year": "1\n2\n3\n4"}
    files |= {"split/a/train": "0", "split/a/valid": "1", "split/a/test": "3"}
    for name, text in files.items():
        path = CORPUS / "ogb" / f"{name}.csv.gz"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(gzip.compress(text.encode(), mtime=0))
    (CORPUS / "edges" / "edges.csv").write_text("source,target,weight\na,b,1\nb,c,0.5\nc,d,2\n")
    labels = b"node,label,split,y_true\na,0,train,0\nb,1,val,1\nc,1,test,0\nd,-1,,\n"
    (CORPUS / "edges" / "labels.csv.gz").write_bytes(gzip.compress(labels, mtime=0))
    (CORPUS / "clicks" / "clicks.csv").write_text("user,item,rating,time\n1,7,3,2020-01-01\n2,8,4,2021-05-06\n")
    suite = (
        'title = "A"\n[defaults]\ndatasets = ["cora"]\nseeds = 2\n[[grid]]\nname = "a"\nmethods = ["lp:alpha=0.5"]\n'
    )
    (CORPUS / "suite" / "suite.toml").write_text(suite + 'rates = [0.0, 0.3]\nnoise = ["pair"]\n')
    graph, clicks = str(CORPUS / "npz" / "graph.npz"), "planted(users=40,items=60,density=0.4)"
    runs = {
        "nodes": {"datasets": [graph], "methods": ["mlp:epochs=1"], "noise": ["pair"], "rates": [0.3]},
        "cluster": {"datasets": [graph], "methods": ["flow"], "accuracies": ["0.9/0.95"]},
        "recommend": {"datasets": [clicks], "methods": ["itemknn"], "noise": ["false-negative"], "rates": [0.2]},
    }
    store = Store(CORPUS / "cell")
    for name, grid in runs.items():
        task = registry.task(name)
        config = task.cells(task.Grid(**grid, seeds=1, **({"trials": 1} if name == "recommend" else {})))[-1]
        result = task.run_cell(config)
        config = {**config, "dataset": config["dataset"].replace(graph, "graph.npz")}
        store.write(cell_key(config), config, result)
        cell = store.read(cell_key(config))
        (CORPUS / "records" / f"{name}.csv").write_text(record.to_csv(task, [cell]))
    store.claim(key := store.keys()[0]) or (CORPUS / "claim" / f"{key}.0.claim").write_text(
        '{"machine": "m b ns", "pid": 1, "started": "5", "lease": 60.0, "since": 1.5}'
    )
    _erase(CORPUS / "erase" / "run.pt")
    seen = Interactions.from_triples([0, 0, 1], [0, 1, 1])
    for model in (Popularity(), EASE(), ALS(factors=2)):
        model.fit(seen, False).save(CORPUS / "model" / type(model).__name__)
    timed = operation.load_operation("propagate")
    session = operation.Session(timed, timed.options(), CORPUS / "speed" / "speed.json")
    kept = session.new_record(timed.cases(session.options)[0]) | {"skipped": "too large"}
    operation.add(session.path, timed, kept)


def _replace(chance, tree):
    """Replace, remove or add an entry anywhere in a JSON value; lists and dictionaries are changed in place."""
    while True:
        places = list(tree) if isinstance(tree, dict) else range(len(tree))
        place = chance.choice(places)
        if isinstance(tree[place], dict | list) and tree[place] and chance.random() < 0.8:
            tree = tree[place]
        elif chance.random() < 0.3:
            del tree[place]
            return
        else:
            tree[place] = chance.choice(VALUES)
            return


def _bytes(chance, blob, others):
    """Return bytes with one change."""
    blob, kind = bytearray(blob), chance.randrange(6)
    place = chance.randrange(len(blob) + 1)
    numbers = [match.span() for match in re.finditer(rb"-?\d+(?:\.\d+)?", blob)]
    if kind == 0 and blob:
        for _ in range(chance.choice((1, 1, 4, 30))):
            blob[chance.randrange(len(blob))] ^= 1 << chance.randrange(8)
    elif kind == 1:
        del blob[place:]
    elif kind == 2:
        other = chance.choice(others)
        begin = chance.randrange(len(other) + 1)
        blob[place : place + chance.randrange(20)] = other[begin : begin + chance.randrange(60)]
    elif kind == 3:
        width = chance.choice((1, 2, 4, 8))
        blob[place : place + width] = chance.choice((b"\0", b"\xff", b"\x7f")) * width
    elif kind == 4 and numbers:
        begin, end = chance.choice(numbers)
        blob[begin:end] = chance.choice(EXTREMES)
    else:
        lines = bytes(blob).splitlines(keepends=True)
        chance.shuffle(lines)
        blob = bytearray(b"".join(lines * chance.choice((1, 2))))
    return bytes(blob)


def _zipped(chance, blob, others):
    """Return a zip archive with one member changed, repeated, renamed or left out."""
    with zipfile.ZipFile(io.BytesIO(blob)) as archive:
        members = [(name, archive.read(name)) for name in archive.namelist()]
    place = chance.randrange(len(members))
    name, content = members[place]
    kind = chance.randrange(6)
    if kind == 0:
        members.append((name, content))
    elif kind == 1:
        del members[place]
    elif kind == 2:
        members[place] = (chance.choice(members)[0], content)
    else:
        members[place] = (name, _bytes(chance, content, others))
    out = io.BytesIO()
    warnings.filterwarnings("ignore", "Duplicate name")
    with zipfile.ZipFile(out, "w", chance.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))) as archive:
        for name, content in members:
            archive.writestr(name, content)
    return out.getvalue()


def mutate(chance, path, others):
    """Change a file."""
    blob, inside = path.read_bytes(), chance.random() < 0.7
    if inside and path.suffix == ".gz":
        blob = gzip.compress(_bytes(chance, gzip.decompress(blob), others))
    elif (inside and path.suffix == ".npz") or (path.name == "graph.pt" and inside):
        blob = _zipped(chance, blob, others)
    elif inside and path.name == "run.pt":
        size = hashlib.blake2b().digest_size
        blob = _zipped(chance, blob[size:], others)
        blob = hashlib.blake2b(blob).digest() + blob
    elif inside and path.suffix == ".json":
        tree = json.loads(blob)
        _replace(chance, tree)
        # As `Store` seals its cells; of no meaning in other files.
        body = "".join(f",\n{json.dumps(key)}:{json.dumps(value)}" for key, value in tree.items() if key != "checksum")
        body = (body.removeprefix(",\n") + "}\n").encode()
        blob = b'{"checksum":"%s",\n' % hashlib.blake2b(body, digest_size=16).hexdigest().encode() + body
    else:
        blob = _bytes(chance, blob, others)
    path.write_bytes(blob)


def _try(reader, path, names):
    """Read, in a child, and exit with the outcome; print what a defect is."""
    size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (size + MEMORY, size + MEMORY))
    warnings.simplefilter("ignore")
    try:
        with np.errstate(all="ignore"):
            reader(path)
        return CLEAN
    except GraphnoiseError as error:
        lines = str(error).splitlines()
        if any(name in lines[0] for name in names) or not isinstance(error, DataError):
            return TYPED
        print(f"does not name the file: {lines[0]}", file=sys.stderr)
    except BaseException:
        print(traceback.format_exc(limit=-4), file=sys.stderr)
    return DEFECT


def child(reader, path, names, log):
    """Return the outcome of a reader, and what it said of a defect."""
    if not (pid := os.fork()):
        descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(descriptor, 1)
        os.dup2(descriptor, 2)
        code = DEFECT
        try:
            code = _try(reader, path, names)
            sys.stderr.flush()
        finally:
            os._exit(code)
    end = time.monotonic() + SECONDS
    while (found := os.waitpid(pid, os.WNOHANG)) == (0, 0):
        if time.monotonic() > end:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            return "defect", f"took more than {SECONDS} s"
        time.sleep(0.001)
    code = os.waitstatus_to_exitcode(found[1])
    if code in (CLEAN, TYPED):
        return "result" if code == CLEAN else "error", ""
    return "defect", f"exit code {code}: {log.read_text()[-2000:]}"


def copied(path, place):
    """Copy a file or a folder of the corpus, and return the copy."""
    return Path((shutil.copytree if path.is_dir() else shutil.copy)(path, Path(place) / path.name))


def run(files, seed=0, only=None, say=lambda line: None):
    """Return counts by reader and outcome, and a line or more on each defect."""
    torch.set_num_threads(1)
    counts, defects, names = Counter(), [], only or list(READERS)
    for number in range(files):
        chance, name = random.Random(f"{seed} {number}"), names[number % len(names)]
        reader, takes_folder = READERS[name]
        with tempfile.TemporaryDirectory() as place:
            folder = copied(CORPUS / name, place)
            contents = sorted(path for path in folder.rglob("*") if path.is_file())
            changed = chance.choice(contents)
            mutate(chance, changed, [path.read_bytes() for path in contents])
            path = folder if takes_folder else changed
            outcome, text = child(reader, path, (str(folder), changed.name), Path(place, "log"))
        counts[name, outcome] += 1
        if text:
            defects.append(f"file {number} of seed {seed} ({name}, {changed.name}): {text}")
            say(defects[-1])
    return counts, defects


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", help="a reader, as the folders of the corpus are called")
    parser.add_argument("--corpus", action="store_true", help="write the corpus anew")
    options = parser.parse_args()
    if options.corpus:
        write_corpus()
        return
    only = [options.only] if options.only else None
    counts, defects = run(options.files, options.seed, only, lambda line: print(line, flush=True))
    for name in READERS:
        shown = ", ".join(f"{counts[name, kind]} {kind}s" for kind in ("result", "error", "defect"))
        print(f"{name}: {shown}")
    print(f"{len(defects)} defects in {options.files} files")
    sys.exit(bool(defects))


if __name__ == "__main__":
    main()
