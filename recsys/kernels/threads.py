"""How many threads a call takes."""

from __future__ import annotations

import os

from graphnoise.checks import integer


def threads(num_threads: object) -> int:
    """Return the number of threads: as said, or as many as the process has cores where 0 is said.

    Raises:
        InputError: `num_threads` is not an integer of at least 0.

    Example:
        >>> threads(2), threads(0) >= 1
        (2, True)
    """
    wanted = integer("num_threads", num_threads, 0, 1024)
    if wanted:
        return wanted
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
