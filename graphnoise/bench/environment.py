"""What ran where: machine, versions, commit, time and memory of a cell."""

from __future__ import annotations

import contextlib
import functools
import os
import platform
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil

from graphnoise.resources import limit_threads

PACKAGES = ("graphnoise", "torch", "torch-geometric", "numpy", "scipy", "scikit-learn")


@functools.cache
def environment() -> dict[str, Any]:
    """Return machine, versions and commit, as every record carries them."""
    return {
        "machine": platform.machine(),
        "system": f"{platform.system()} {platform.release()}",
        "processor": _processor(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "versions": {name: version(name) for name in PACKAGES},
        "commit": _commit(),
    }


def _processor() -> str:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor()


def _commit() -> str | None:
    """Return the commit of the source checkout that runs, with "+" if it was changed; None for an installed wheel."""
    top = Path(__file__).parents[2]
    if not (top / ".git").exists():
        return None
    git = functools.partial(subprocess.check_output, cwd=top, text=True, stderr=subprocess.DEVNULL, timeout=10)
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        head, state = git(["git", "rev-parse", "HEAD"]), git(["git", "status", "--porcelain", "--untracked-files=no"])
        return str(head).strip() + ("+" if state.strip() else "")
    return None


# Results then do not depend on the number of cores, and cells run side by side instead.
one_thread = functools.partial(limit_threads, 1)


class Meter:
    """Seconds and peak memory of what happens between `start` and `read`.

    Where the system lets a process reset its peak (Linux), the peak is this cell's; elsewhere it is the process's.
    """

    def start(self) -> None:
        """Begin to measure."""
        try:
            Path("/proc/self/clear_refs").write_text("5")
            self._scope = "cell"
        except OSError:
            self._scope = "process"
        self._began = time.perf_counter()

    def read(self) -> dict[str, Any]:
        """Return seconds, peak resident memory in bytes and what it is the peak of."""
        seconds = time.perf_counter() - self._began
        return {"seconds": seconds, "peak_memory": self._peak(), "peak_memory_of": self._scope}

    def _peak(self) -> int:
        if self._scope == "cell":
            for line in Path("/proc/self/status").read_text().splitlines():
                if line.startswith("VmHWM"):
                    return int(line.split()[1]) * 1024
        if sys.platform == "win32":
            return int(psutil.Process().memory_info().peak_wset)
        import resource

        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024
