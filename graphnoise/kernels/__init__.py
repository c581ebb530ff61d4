"""Operations with several tiers: a folder per operation, see README.md.

GRAPHNOISE_ISA in the environment names the instruction set of all compiled kernels ("baseline", "v3" or "v4": the
levels of x86-64); without it, the widest one that the processor supports is used.
"""

import os

# It loads libgomp.so.1, which wheels leave to it: two OpenMP runtimes in one process slow each other down.
import torch  # noqa: F401

from graphnoise.checks import choice

try:
    from graphnoise.kernels import _native
except ImportError as _error:
    if "libgomp" not in str(_error):
        raise
    raise ImportError(f"graphnoise: expected the OpenMP runtime libgomp (Debian: libgomp1), got {_error}") from None

if _name := os.environ.get("GRAPHNOISE_ISA"):
    _native.use_instruction_set(choice("GRAPHNOISE_ISA", _name, _native.instruction_sets()))
