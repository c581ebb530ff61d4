"""Operations with several tiers: a folder per operation, see README.md.

GRAPHNOISE_ISA in the environment names the instruction set of all compiled kernels ("baseline", "v3" or "v4": the
levels of x86-64); without it, the widest one that the processor supports is used.
"""

import os

from graphnoise.checks import choice
from graphnoise.kernels import _native

if _name := os.environ.get("GRAPHNOISE_ISA"):
    _native.use_instruction_set(choice("GRAPHNOISE_ISA", _name, _native.instruction_sets()))
