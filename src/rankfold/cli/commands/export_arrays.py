"""`rankfold export --to arrays`: what to program into every array."""

from __future__ import annotations

import argparse
from dataclasses import replace
from typing import Any

from rankfold.export.array_images.images import write_arrays


def export(options: argparse.Namespace, model: Any, plan: Any, result: Any) -> int:
    """Write the array images of a finished run and count them."""
    given = {"cell_bits": options.cell_bits, "coding": options.coding, "dac_bits": options.dac_bits}
    plan = replace(plan, array=replace(plan.array, **{key: value for key, value in given.items() if value is not None}))
    found = write_arrays(model, plan, options.out)
    print(
        f"{result.model}: {found.arrays:,} arrays of {plan.array} with {found.cells:,} cells, {found.activations:,} activations "
        f"an image: {options.out}"
    )
    return 0
