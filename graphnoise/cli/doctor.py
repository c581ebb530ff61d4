"""`graphnoise doctor`: what this installation has, what is missing, and what to do about it."""

from __future__ import annotations

import importlib
import json
import re
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, requires, version
from typing import Any

from graphnoise.cli.console import Json, Root, out, wide


def doctor(root: Root = None, as_json: Json = False) -> None:
    """Show versions, processor, kernels, threads, GPUs and data folders of this installation, with advice."""
    facts = diagnosis(root)
    if as_json:
        print(json.dumps(facts, indent=2))
        return
    from graphnoise.bench.report import plain_table

    table = plain_table(show_header=False)
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in facts.items():
        if name != "advice":
            table.add_row(name.replace("_", " "), _text(value))
    wide(table)
    for line in facts["advice"]:
        out.print(f"advice: {line}", soft_wrap=True)


def diagnosis(root: str | None = None) -> dict[str, Any]:
    """Return the facts by name, with values of JSON's types, and "advice", a list of sentences."""
    import psutil

    # It loads an OpenMP runtime of its own, as most commands do.
    import torch
    from threadpoolctl import threadpool_info

    from graphnoise import datasets
    from graphnoise.bench.environment import environment
    from graphnoise.datasets.files import cache_folder
    from graphnoise.kernels import _native
    from graphnoise.kernels.propagate import scatter, triton
    from graphnoise.resources import available_memory, cpu_count

    # It loads an OpenMP runtime of its own, as most commands do.
    importlib.import_module("sklearn.utils.validation")
    here = environment()
    pools = sorted(str(pool["filepath"]) for pool in threadpool_info() if pool["user_api"] == "openmp")
    gpus = [torch.cuda.get_device_name(k) for k in range(torch.cuda.device_count())]
    found = [entry.name for entry in datasets.catalogue(root) if entry.where != "absent"]
    found += [name.name for name, status in datasets.feedback_catalogue(root) if status != "absent"]
    facts = {
        "versions": here["versions"] | {"python": here["python"]},
        "commit": here["commit"] or "an installed package",
        "system": f"{here['system']}, {here['machine']}",
        "processor": here["processor"],
        "cores": {"of the machine": here["cores"], "of this process": cpu_count()},
        "memory_gb": {
            "of the machine": round(psutil.virtual_memory().total / 1e9, 1),
            "available": round(available_memory() / 1e9, 1),
        },
        "instruction_set": {"used": _native.instruction_set(), "supported": list(_native.instruction_sets())},
        "threads": {"torch": torch.get_num_threads()},
        "openmp_runtimes": pools,
        "gpus": gpus,
        "propagation": {
            "native": "available",
            "triton": triton.unsupported_reason(torch.empty(0, device="cuda" if gpus else "cpu")) or "available",
            "scatter": scatter.unsupported_reason() or "available",
            "reference": "available",
        },
        "extras": {name: f"needs {', '.join(missing)}" if missing else "installed" for name, missing in _extras()},
        "data_folder": root or "none (GRAPHNOISE_DATA or --root names one)",
        "cache_folder": str(cache_folder()),
        "data_sets": found,
    }
    return facts | {"advice": _advice(facts)}


def _extras() -> Iterable[tuple[str, list[str]]]:
    """Return the optional dependencies that are not installed, by extra, those of development left out."""
    missing: dict[str, list[str]] = {}
    for line in requires("graphnoise") or []:
        extra = re.search(r"""extra == ['"]([\w-]+)['"]""", line)
        if extra is None or extra[1] in ("dev", "mutants", "docs"):
            continue
        name = re.split(r"[^\w.-]", line)[0]
        lacking = missing.setdefault(extra[1], [])
        try:
            version(name)
        except PackageNotFoundError:
            lacking.append(name)
    return missing.items()


def _advice(facts: dict[str, Any]) -> list[str]:
    """Return what a user may want to change."""
    advice = []
    if len(facts["openmp_runtimes"]) > 1 and facts["threads"]["torch"] > 1:
        advice.append(
            "several OpenMP runtimes are loaded; threads of one that wait actively slow down the other: "
            "OMP_WAIT_POLICY=passive in the environment, or OMP_NUM_THREADS=1 for small problems"
        )
    used, supported = facts["instruction_set"].values()
    if used != supported[-1]:
        advice.append(f"GRAPHNOISE_ISA={used} is set; this processor also supports {supported[-1]}")
    if facts["threads"]["torch"] > facts["cores"]["of this process"]:
        advice.append("torch has more threads than this process has cores: OMP_NUM_THREADS sets their number")
    if facts["gpus"] and facts["propagation"]["triton"] != "available":
        advice.append(f"propagation does not use the GPU: the Triton kernel {facts['propagation']['triton']}")
    if not facts["data_sets"]:
        advice.append("no data set is there: `graphnoise data get cora` fetches one")
    return advice


def _text(value: object) -> str:
    """Return a fact as a line."""
    if isinstance(value, dict):
        return ", ".join(f"{key}: {_text(part)}" for key, part in value.items())
    if isinstance(value, list):
        return " ".join(map(str, value)) or "none"
    return str(value)
