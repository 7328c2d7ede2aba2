"""The plans of a grid: made once of the dense network and its images, kept beside the cells."""

from __future__ import annotations

import copy
from pathlib import Path

import torch
from torch import nn

from rankfold.mapping import ArraySpec
from rankfold.plan import Plan
from rankfold.plan.methods import Planned
from rankfold.plan.uniform import Bits
from rankfold.planning import best_plan
from rankfold.planning.exact import CYCLES, Budget
from rankfold.progress import Progress
from rankfold.training.data import ImageData
from rankfold.workload import Network

FOLDER = "plans"  # beside the cells


def planned(
    method: Planned,
    model: nn.Module,
    data: ImageData,
    network: Network,
    array: ArraySpec,
    *,
    bits: Bits,
    out: Path,
    device: torch.device,
    progress: Progress | None = None,
) -> Plan:
    """The best plan under the method's budget; the same one for every seed of a grid.

    Args:
        method: the budget.
        model: the dense network with its trained weights.
        data: of which training images are calibrated on, 512 of them, drawn with seed 0.
        network: the model's trace.
        array: of the grid.
        bits: of weights and inputs.
        out: folder of the grid, which keeps the plan.
        device: where it is measured.
        progress: hears how far the work is.

    Raises:
        InputError: no plan keeps the budget; the message says what the least is.
    """
    path = out / FOLDER / f"c{method.max_cycles}-b{bits}.plan.json"
    if path.exists():
        return Plan.load(path)
    planning = best_plan(
        copy.deepcopy(model).to(device),
        data,
        array,
        Budget(CYCLES, method.max_cycles),
        bits=bits,
        network=network,
        progress=progress,
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    planning.plan.save(path)
    return planning.plan
