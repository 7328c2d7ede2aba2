"""The reader of array images in examples/, which shares no code with the package."""

import importlib.util
from pathlib import Path

_spec = importlib.util.spec_from_file_location(
    "run_arrays", Path(__file__).parents[2] / "examples" / "run_arrays.py"
)
run_arrays = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(run_arrays)
