"""Puts the modules of a folder, which GRAPHNOISE_SANITIZED names, in place of the installed ones; see `make sanitize`.

Python imports a module of this name first of all, in every process that finds it on PYTHONPATH.
"""

import os
import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

MODULES = {"graphnoise.kernels._native": "_native.so", "recsys.kernels._native": "recsys.so"}

if folder := os.environ.get("GRAPHNOISE_SANITIZED"):
    for name, file in MODULES.items():
        spec = spec_from_file_location(name, Path(folder) / file)
        assert spec is not None, file
        assert spec.loader is not None, file
        sys.modules[name] = module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
