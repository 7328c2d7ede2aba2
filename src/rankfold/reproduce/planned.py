"""The plans of a grid: made once of the dense network and its images, kept beside the cells."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import torch
from torch import nn

from rankfold.cost.energy import completed
from rankfold.errors import InputError
from rankfold.machine import Hardware, hardware_to_json
from rankfold.mapping import ArraySpec
from rankfold.plan import Plan
from rankfold.plan.methods import Planned
from rankfold.plan.methods.planned import LAYER_BITS, MAX_CYCLES, MAX_ENERGY
from rankfold.plan.uniform import Bits, widths
from rankfold.planning import best_plan
from rankfold.progress import Progress
from rankfold.records.typed import read_typed, write_typed
from rankfold.reproduce.budgets import bit_choices, budgets_of
from rankfold.reproduce.measure import sized
from rankfold.runs.baseline import weights_digest
from rankfold.training.data import ImageData
from rankfold.workload import Network

FOLDER = "plans"  # beside the cells
TYPE, VERSION = "rankfold.plan_origin", 1
HARDWARE = "hardware"


def planned(
    method: Planned,
    model: nn.Module,
    data: ImageData,
    network: Network,
    array: ArraySpec,
    *,
    hardware: Hardware,
    bits: Bits,
    out: Path,
    device: torch.device,
    progress: Progress | None = None,
) -> Plan:
    """The best plan under the method's budgets; the same one for every seed of a grid.

    Args:
        method: the budgets.
        model: the dense network with its trained weights.
        data: of which training images are calibrated on, 512 of them, drawn with seed 0.
        network: the model's trace.
        array: of the grid.
        hardware: of the grid; a budget of energy is counted for it, at the size of the array.
        bits: of weights and inputs.
        out: folder of the grid, which keeps the plan.
        device: where it is measured.
        progress: hears how far the work is.

    Raises:
        InputError: no plan keeps the budgets; the message says what the least is. Or the plan that is there
            was made of other images or weights, or for other hardware.
    """
    path = plan_path(method, bits, out)
    record = path.with_name(path.name.removesuffix(".plan.json") + ".origin.json")
    origin: dict[str, Any] = {"data": data.digest, "weights": weights_digest(model)}
    # Plans for cycles are of whole weights, whatever the cells.
    planned_for: ArraySpec | Hardware = array
    if method.max_energy is not None:
        planned_for = sized(hardware, array)
        origin[HARDWARE] = figures_of(planned_for)
    if path.exists():
        _check_origin(path, record, origin)
        return Plan.load(path)
    planning = best_plan(
        copy.deepcopy(model).to(device),
        data,
        planned_for,
        *budgets_of(method),
        bits=bits,
        layer_bits=bit_choices(method),
        count_rounding=method.rounding is not None,
        network=network,
        progress=progress,
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    # Before the plan: one without its origin would be refused.
    write_typed(record, TYPE, VERSION, origin)
    planning.plan.save(path)
    return planning.plan


def figures_of(hardware: Hardware) -> dict[str, Any]:
    """What two descriptions of the same hardware have in common, whatever they leave open or are called."""
    figures = hardware_to_json(completed(hardware))
    del figures["name"]
    return figures


def plan_path(method: Planned, bits: Bits, out: Path) -> Path:
    """Where the grid in a folder keeps the plan, once it is made."""
    parts = []
    if method.max_cycles is not None:
        parts.append(f"{MAX_CYCLES.short}{method.max_cycles}")
    if method.max_energy is not None:
        parts.append(f"{MAX_ENERGY.short}{method.max_energy}")
    parts.append(_in_letters(bits))
    if method.layer_bits is not None:
        parts.append(f"{LAYER_BITS.short}{method.layer_bits}")
    if method.rounding is not None:
        parts.append(f"rounding-{method.rounding}")
    # Bits such as 2-8/4 would be a folder in a folder.
    name = "-".join(parts).replace("/", "_")
    return out / FOLDER / f"{name}.plan.json"


def _in_letters(bits: Bits) -> str:
    """Bits in the name of a file."""
    weights, inputs = widths(bits)
    if weights is None:
        return "float"
    if weights == inputs:
        return f"b{weights}"
    return f"b{weights}x{inputs}"


def _check_origin(path: Path, record: Path, origin: dict[str, Any]) -> None:
    """Refuse a plan that was not made of these images and weights, and for this hardware.

    Raises:
        InputError: it was made of others, or nothing says of which.
    """
    remedy = "remove the plan and the cells that were trained with it, and they are made again"
    if not record.exists():
        raise InputError(f"nothing says of what {path} was made ({record.name} is missing); {remedy}")
    known = read_typed(record, TYPE, VERSION)
    for key, value in origin.items():
        if known.get(key) != value:
            link = "for" if key == HARDWARE else "of"
            raise InputError(f"{path} was made {link} other {key}; give the {key} of before, or {remedy}")
