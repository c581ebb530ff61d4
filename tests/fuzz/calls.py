"""Public functions called with odd arguments: each call must return or raise a GraphnoiseError.

    python -m tests.fuzz.calls --calls 10000 --seed 0

Each call is a valid one of `cases.py` with one argument replaced. Calls run in forked children with limits of memory
and time, and are determined by their seed and number: `--first N --calls 1` repeats call N.
"""

import argparse
import collections
import contextlib
import importlib
import inspect
import multiprocessing
import numbers
import os
import pkgutil
import resource
import tempfile
import time
import types
import warnings
from typing import Any, NamedTuple

import numpy as np
import psutil
import scipy.sparse as sp
import torch

import graphnoise
import recsys
from graphnoise import GraphnoiseError, resources
from tests.fuzz.cases import CASES, OMITTED

SECONDS = 20
# Beyond what a child has when it starts.
MEMORY = 4 << 30
BATCH = 500
# Numbers that ask for work: large ones are valid, and take long.
WORK = ("iterations", "num_steps", "epochs", "passes", "num_layers", "resamples", "max_iterations", "factors", "heads")


class Outcome(NamedTuple):
    """What came of a call: "result", "typed error", or what a defect is called."""

    number: int
    call: str
    kind: str
    text: str = ""


def public() -> dict[str, Any]:
    """Return the public callables by name: those in `__all__`, or defined in a public module without it."""
    found: dict[str, Any] = {}
    for package in (graphnoise, recsys):
        inside = {module.name for module in pkgutil.iter_modules(package.__path__)} & set(package.__all__)
        for name in (package.__name__, *(f"{package.__name__}.{module}" for module in sorted(inside))):
            module = importlib.import_module(name)
            listed = getattr(module, "__all__", None) or [
                key for key, value in vars(module).items() if getattr(value, "__module__", None) == name
            ]
            for key in listed:
                value = getattr(module, key)
                if callable(value) and not key.startswith("_"):
                    found[f"{name}.{key}"] = value
    return found


def missing() -> list[str]:
    """Return the public callables that have no case."""
    known = {case.rsplit(".", 1)[1] for case in CASES}
    return [name for name in public() if name.rsplit(".", 1)[1] not in OMITTED | known]


def odd_values() -> list[Any]:
    """Return values that no argument, or few, can take."""
    nan, inf = float("nan"), float("inf")
    values: list[Any] = [None, True, False, -1, 0, 1, 2, 7, 2**31, 2**63, 10**12, 10**30, -(10**30), 0.5, 1.5, -0.1]
    values += [nan, inf, -inf, 1e300, 5e-324, 1j, np.float16(2), np.int8(-1), np.uint64(3)]
    values += ["", "abc", b"abc", "cora", "a\0b", "~nosuch/x", "x" * 5000, "/", ".", "nowhere/x.npz", "é.npz"]
    values += [[], [[]], [1, [2]], [None], ["a", "b"], (), (1, 2, 3), {}, {"a": 1}, {0: 1}, {1: nan}, set(), {0, 1}]
    values += [object(), lambda *_: None, iter([1, 2]), range(3), slice(2), Ellipsis, types.SimpleNamespace()]

    read_only = np.arange(6.0)
    read_only.flags.writeable = False
    values += [np.zeros(0), np.array(nan), np.zeros((2, 3, 4)), np.arange(12)[::-2], read_only, np.zeros((34, 0))]
    values += [np.array(["a", "b"]), np.array([None, 1]), np.array([1 + 1j]), np.zeros(3, "M8[s]")]
    values += [np.arange(4, dtype=">i8"), np.ma.masked_array([1, 2], [True, False]), np.zeros(2, [("a", int)])]
    values += [np.full((34, 2), inf), np.array([2**62, -(2**62)])]
    values += [np.broadcast_to(0.5, (10**6, 10**6)), np.broadcast_to(np.int64(0), (2, 10**11))]

    values += [torch.zeros(0), torch.tensor(1), torch.empty(34, 2, device="meta"), torch.zeros(2, 2).to_sparse()]
    values += [torch.tensor([True, False]), torch.zeros(2, 34), torch.full((34, 2), nan), torch.eye(3).to_sparse_csr()]
    values += [torch.zeros(2, dtype=kind) for kind in (torch.int8, torch.uint16, torch.cfloat)]
    values += [torch.rand(34, 2, dtype=torch.float16), torch.rand(34, 2, requires_grad=True)]
    values += [torch.zeros(1, 1).expand(10**6, 10**6), torch.full((34,), 10**9)]
    values += [torch.tensor([[0, 10**12], [1, 0]]), torch.tensor([[0, -1], [1, 0]])]

    broken = sp.csr_array(np.eye(9, dtype=np.float32)[[0] * 12])
    broken.indices[3] = 10**6
    values += [sp.csr_array((0, 0)), sp.coo_array([[1, 0, 2]]), sp.csr_array((12, 9)), sp.csr_array((10**6, 10**6))]
    return [*values, broken]


def variants(value: Any) -> list[Any]:
    """Return changed copies of a valid value: another type, layout, sign, order or length."""
    nan = float("nan")
    if isinstance(value, torch.Tensor):
        out: list[Any] = [value.t() if value.dim() == 2 else value[None], value[:-1], value[:0], value.numpy()]
        out += [value.to(kind) for kind in (torch.float16, torch.float64, torch.int8, torch.int32, torch.bool)]
        out += [torch.stack([value, value], -1)[..., 0], value.tolist(), value.to("meta"), value.to_sparse()]
        if value.is_floating_point():
            out += [torch.where(value == value.max(), bad, value) for bad in (nan, float("inf"))]
            return [*out, value.clone().requires_grad_(), value * 1e30, -value]
        return [*out, value.long() + 10**6, value.long() * 10**15, -value.long()]
    if isinstance(value, np.ndarray):
        frozen = value.copy()
        frozen.flags.writeable = False
        out = [value.T if value.ndim == 2 else value[None], value[:-1], value[:0], frozen, value.tolist()]
        out.append(np.stack([value, value], -1)[..., 0])
        if value.dtype.kind in "biuf":
            with np.errstate(all="ignore"):
                out += [value.astype(kind) for kind in "efbilL?O"]
            out += [value[::-1], value + 1, value * 2 + 10**6, -1 * value.astype(float)]
        return out
    if sp.issparse(value):
        broken = value.copy()
        if getattr(broken, "nnz", 0) and hasattr(broken, "indices"):
            broken.indices[0] = 10**7
        return [value.T, value.tocoo(), value.toarray(), value.astype(np.float64) * nan, -1 * value, broken, value[:-1]]
    if isinstance(value, list | tuple):
        changed = [value * 2, value[:0], [value], np.array(value, dtype=object), iter(value)]
        return [*changed, [nan, *value], [-1, *value]]
    if isinstance(value, bool) or value is None:
        return []
    if isinstance(value, int):
        changed = [-value, value * 10**6, value * 10**15, float(value), value + 0.5]
        return [*changed, str(value), np.int32(value), np.array(value)]
    if isinstance(value, float):
        changed = [-value, value * 1e15, value * 1e-15, value * 1e300]
        return [*changed, str(value), np.float32(value), torch.tensor(value)]
    if isinstance(value, str):
        return [value.upper(), value + "x", value.encode(), [value], value[:-1]]
    return []


def describe(value: Any) -> str:
    """Return a short text of a value."""
    if isinstance(value, np.ndarray | torch.Tensor):
        return f"{type(value).__name__}({value.dtype}, {tuple(value.shape)})"
    if sp.issparse(value):
        return f"{type(value).__name__}({value.dtype}, {value.shape})"
    text = repr(value)
    return text if len(text) < 60 else f"{text[:50]}… ({type(value).__name__})"


def make_call(seed: int, number: int, names: list[str]) -> tuple[str, Any, dict[str, Any]]:
    """Return call `number`: its text, its callable, and its arguments."""
    rng = np.random.default_rng([seed, number])
    name = names[rng.integers(len(names))]
    case = CASES[name]
    arguments = case.arguments()
    keys = [*arguments, *case.more]
    with contextlib.suppress(TypeError, ValueError):
        keys += [
            key
            for key, parameter in inspect.signature(case.call).parameters.items()
            if key not in keys and parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY)
        ]
    keys = [key for key in keys if key != "_cache"]
    if not keys:
        return f"{name}()", case.call, arguments
    key = keys[rng.integers(len(keys))]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        values = odd_values()
        changed = variants(arguments[key]) if key in arguments else []
    pool = changed if changed and rng.random() < 0.5 else values
    value = pool[rng.integers(len(pool))]
    if key in WORK and isinstance(value, numbers.Real) and value > 100:
        value = 3
    return f"{name}({key}={describe(value)})", case.call, {**arguments, key: value}


def _work(connection: Any, seed: int, calls: list[int], names: list[str], folder: str) -> None:
    os.chdir(folder)
    warnings.simplefilter("ignore")
    silent = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silent, 1), os.dup2(silent, 2)
    # What the memory holds is decided by the library, below the limit that ends the process.
    resources.available_memory = lambda: MEMORY // 4
    limit = psutil.Process().memory_info().vms + MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    for number in calls:
        text, call, arguments = make_call(seed, number, names)
        connection.send(Outcome(number, text, "started"))
        try:
            call(**arguments)
            outcome = Outcome(number, text, "result")
        except GraphnoiseError as error:
            outcome = Outcome(number, text, "typed error", str(error))
        except BaseException as error:
            outcome = Outcome(number, text, type(error).__name__, str(error)[:200])
        connection.send(outcome)
    connection.send(None)


def run(seed: int, first: int, count: int, names: list[str]) -> list[Outcome]:
    """Make calls first … first + count - 1 in children, one after another, and return what came of each."""
    context = multiprocessing.get_context("fork")
    outcomes: list[Outcome] = []
    waiting = list(range(first, first + count))
    with tempfile.TemporaryDirectory() as folder:
        while waiting:
            ours, theirs = context.Pipe(duplex=False)
            child = context.Process(target=_work, args=(theirs, seed, waiting[:BATCH], names, folder))
            child.start()
            theirs.close()
            current: Outcome | None = None
            kind = ""
            while True:
                if not ours.poll(SECONDS):
                    kind = f"no end within {SECONDS} s"
                    break
                try:
                    message = ours.recv()
                except EOFError:
                    kind = "end of the process"
                    break
                if message is None:
                    break
                if message.kind == "started":
                    current = message
                else:
                    outcomes.append(message)
                    waiting.remove(message.number)
                    current = None
            child.kill()
            child.join()
            if kind:
                number = waiting[0] if current is None else current.number
                text = "" if current is None else current.call
                outcomes.append(Outcome(number, text, kind, f"exit code {child.exitcode}"))
                waiting.remove(number)
    return outcomes


def main() -> int:
    """Run calls and print what came of them; returns 1 if there are defects."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--only", default="", help="part of the names of the callables")
    options = parser.parse_args()
    os.environ["GRAPHNOISE_DATA"] = tempfile.gettempdir()
    begin = time.monotonic()
    names = [name for name in CASES if options.only in name]
    outcomes = run(options.seed, options.first, options.calls, names)
    counts = collections.Counter(outcome.kind for outcome in outcomes)
    defects = [outcome for outcome in outcomes if outcome.kind not in ("result", "typed error")]
    for outcome in defects:
        print(f"{outcome.number}: {outcome.call}: {outcome.kind}: {outcome.text}")
    print(f"{len(outcomes)} calls in {time.monotonic() - begin:.0f} s: {dict(counts)}; {len(defects)} defects")
    return int(bool(defects))


if __name__ == "__main__":
    raise SystemExit(main())
