"""The plans of a grid: made once of the dense network and its images, kept beside the cells."""

from __future__ import annotations

import copy
from pathlib import Path

import torch
from torch import nn

from rankfold.errors import InputError
from rankfold.mapping import ArraySpec
from rankfold.plan import Plan
from rankfold.plan.methods import Planned
from rankfold.plan.uniform import Bits, widths
from rankfold.planning import best_plan
from rankfold.planning.exact import CYCLES, Budget
from rankfold.progress import Progress
from rankfold.records.typed import read_typed, write_typed
from rankfold.runs.baseline import weights_digest
from rankfold.training.data import ImageData
from rankfold.workload import Network

FOLDER = "plans"  # beside the cells
TYPE, VERSION = "rankfold.plan_origin", 1


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
        InputError: no plan keeps the budget; the message says what the least is. Or the plan that is there
            was made of other images or weights.
    """
    path = plan_path(method, bits, out)
    record = path.with_name(path.name.removesuffix(".plan.json") + ".origin.json")
    origin = {"data": data.digest, "weights": weights_digest(model)}
    if path.exists():
        _check_origin(path, record, origin)
        return Plan.load(path)
    planning = best_plan(
        copy.deepcopy(model).to(device),
        data,
        array,
        Budget(CYCLES, method.max_cycles),
        bits=bits,
        count_rounding=method.rounding is not None,
        network=network,
        progress=progress,
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    # Before the plan: one without its origin would be refused.
    write_typed(record, TYPE, VERSION, origin)
    planning.plan.save(path)
    return planning.plan


def plan_path(method: Planned, bits: Bits, out: Path) -> Path:
    """Where the grid in a folder keeps the plan, once it is made."""
    name = f"c{method.max_cycles}-{_in_letters(bits)}"
    if method.rounding is not None:
        name += f"-rounding-{method.rounding}"
    return out / FOLDER / f"{name}.plan.json"


def _in_letters(bits: Bits) -> str:
    """Bits in the name of a file."""
    weights, inputs = widths(bits)
    if weights is None:
        return "float"
    if weights == inputs:
        return f"b{weights}"
    return f"b{weights}x{inputs}"


def _check_origin(path: Path, record: Path, origin: dict[str, str]) -> None:
    """Refuse a plan that was not made of these images and weights.

    Raises:
        InputError: it was made of others, or nothing says of which.
    """
    remedy = "give the data of before, or remove the plan, and it is made again"
    if not record.exists():
        raise InputError(f"nothing says of what {path} was made ({record.name} is missing); {remedy}")
    known = read_typed(record, TYPE, VERSION)
    for key, value in origin.items():
        if known.get(key) != value:
            raise InputError(f"{path} was made of other {key}; {remedy}")
