"""Puts the module that GRAPHNOISE_SANITIZED names in the place of the installed one; see `make sanitize`.

Python imports a module of this name first of all, in every process that finds it on PYTHONPATH.
"""

import os
import sys
from importlib.util import module_from_spec, spec_from_file_location

NAME = "graphnoise.kernels._native"

if path := os.environ.get("GRAPHNOISE_SANITIZED"):
    spec = spec_from_file_location(NAME, path)
    assert spec is not None, path
    assert spec.loader is not None, path
    sys.modules[NAME] = module_from_spec(spec)
    spec.loader.exec_module(sys.modules[NAME])
