"""Pricing a finished table of cells on other hardware, where the folders of its runs are not kept any more.

Cycles, conversions and energy follow from a plan, its masks and the hardware. Masks are chosen from the dense
network's weights before any training and stay, so that they can be made again without it; plans that were
made on images are read from where the grid keeps them; accuracies are taken from the table. That the networks
are the same ones is not assumed: all cycles, conversions and parameters must be those of the table.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from torch import nn

from rankfold import run_files
from rankfold.cost import CostKey
from rankfold.documents import read_json
from rankfold.errors import InputError
from rankfold.machine import Hardware, hardware_to_json
from rankfold.mapping import ArraySpec
from rankfold.models.load import apply_weights, load_model, read_weights
from rankfold.models.pretrained import shipped_baseline
from rankfold.plan import Plan
from rankfold.plan.methods import Planned
from rankfold.progress import Progress
from rankfold.records.typed import is_typed, write_typed
from rankfold.reproduce.cell import Outcome, cell_plan
from rankfold.reproduce.grid import Cell, Grid
from rankfold.reproduce.measure import Costs, Measurement, costs_on, steering_of
from rankfold.reproduce.planned import plan_path
from rankfold.reproduce.recorded import recorded_outcomes
from rankfold.reproduce.run import BASELINE, MARKER, TYPE, VERSION
from rankfold.runs.record import versions
from rankfold.runs.state import traced
from rankfold.surgery.by_weights import compress_by_weights_
from rankfold.surgery.layer_report import kept_parameters
from rankfold.surgery.supports import filled_in
from rankfold.training.data import load_images
from rankfold.workload import Network


@dataclass(frozen=True)
class _Dense:
    """The dense network with its weights, and its trace."""

    model: nn.Module
    network: Network


def price_again(grid: Grid, out: Path, progress: Progress) -> tuple[Outcome, ...]:
    """The cells of the table in a folder, with the energy that they have on the hardware of the grid.

    `grid.json` of the folder, if it has one, says of which hardware the energies are from then on.

    Args:
        grid: the grid that the table is of.
        out: the folder of its results; the runs themselves are not needed.
        progress: hears how far the work is.

    Returns:
        The rows of each cell of the grid, in its order; a cell that the table lacks has none.

    Raises:
        InputError: there is no such table, it holds a cell that the grid does not have, or a network that
            cannot be made again, or other cycles, conversions or parameters are counted for one of them.
    """
    known = recorded_outcomes(grid, out)
    pricing = _Pricing(grid, _dense(grid, out), out)
    outcomes = []
    for outcome in known:
        again: tuple[Measurement, ...] = ()
        if outcome.rows:
            again = pricing.rows(outcome.cell, outcome.rows)
            progress.note(f"{outcome.cell.name}: priced on {grid.hardware.name}")
        outcomes.append(Outcome(outcome.cell, again))
    _record(out / MARKER, grid.hardware)
    return tuple(outcomes)


def _dense(grid: Grid, out: Path) -> _Dense:
    """The network that the cells were made from."""
    data = load_images(grid.data)
    model = load_model(
        grid.model, len(data.classes), data.input_size[0], grid.baseline_recipe.seed, image=data.input_size
    )
    network = traced(model, data, grid.model)
    path = out / BASELINE / run_files.WEIGHTS
    found = shipped_baseline(grid.model, data.classes, data.input_size)
    if found is not None:
        path = found.weights
    apply_weights(model, read_weights(path), str(path))
    return _Dense(model, network)


class _Pricing:
    """Counts the costs of cells; cells that differ in the seed alone have the same, and count once.

    Args:
        grid: their grid.
        dense: the network that they were made from.
        out: the folder of the results, which keeps the plans that were made for them.
    """

    def __init__(self, grid: Grid, dense: _Dense, out: Path) -> None:
        self._grid = grid
        self._dense = dense
        self._out = out
        self._made: dict[Cell, tuple[Plan, int]] = {}
        self._known: dict[tuple[Cell, str], Costs] = {}

    def rows(self, cell: Cell, rows: Sequence[Measurement]) -> tuple[Measurement, ...]:
        """The rows of a cell with energies of the grid's hardware."""
        # Seeds order images in training; what a layer becomes is settled before it.
        setting = replace(cell, seed=0)
        if setting not in self._made:
            self._made[setting] = _made_again(cell, self._dense, self._grid.array, self._out)
        _, parameters = self._made[setting]
        hardware = self._grid.hardware
        return tuple(_row(row, self._costs(setting, row.array), parameters, hardware) for row in rows)

    def _costs(self, setting: Cell, array: str) -> Costs:
        if (setting, array) not in self._known:
            plan, _ = self._made[setting]
            size = ArraySpec.parse(array)
            costs = costs_on(size, self._dense.network, plan, plan.masks, self._grid.hardware)
            self._known[setting, array] = costs
        return self._known[setting, array]


def _made_again(cell: Cell, dense: _Dense, array: ArraySpec, out: Path) -> tuple[Plan, int]:
    """The plan of a cell with its masks, and the parameters that its network has."""
    model = copy.deepcopy(dense.model)
    method = cell.setting()
    if isinstance(method, Planned):
        # It says itself what was found on data.
        plan = _kept_plan(cell, plan_path(method, cell.bits, out))
    else:
        plan = cell_plan(cell, model, dense.network, array)
        _check_made_of_weights(cell, plan)
    compress_by_weights_(model, plan)
    return filled_in(plan, model), kept_parameters(model)


def _check_made_of_weights(cell: Cell, plan: Plan) -> None:
    """Refuse a cell whose run found on training images which positions all outputs share.

    Raises:
        InputError: it is refused.
    """
    if any(layer.kind.made_for_data and layer.kind.shares_support for layer in plan.layers):
        raise InputError(
            f"cell {cell.name} has kernel positions that its run found on data; keep the folder of the run, "
            "and --time-limit 0 counts it on other hardware"
        )


def _kept_plan(cell: Cell, path: Path) -> Plan:
    """The plan that was made of weights and images before; of which does not matter, as its cycles,
    conversions and parameters must be those of the table.

    Raises:
        InputError: it is not there any more, or damaged.
    """
    if not path.exists():
        raise InputError(
            f"cell {cell.name} has a plan that was made on images, and {path} is not there; put it there "
            "again, or keep the folder of the run, and --time-limit 0 counts it on other hardware"
        )
    return Plan.load(path)


def _row(row: Measurement, costs: Costs, parameters: int, hardware: Hardware) -> Measurement:
    """One row, with its energy on the hardware."""
    for text, (cycles, conversions, energy) in costs.items():
        key = CostKey.parse(text)
        if (key.mapping, steering_of(key)) != (row.mapping, row.steering):
            continue
        counted = (cycles, conversions, parameters)
        recorded = (row.cycles, row.conversions, row.parameters)
        if counted != recorded:
            raise InputError(
                f"cell {row.cell} under {row.mapping} on {row.array}: cycles, conversions and parameters are "
                f"{counted}, and {recorded} in the table; its network is another one, so it cannot be priced"
            )
        return replace(row, energy=energy, hardware=hardware.name)
    raise InputError(f"cell {row.cell} has no mapping {row.mapping} with {row.steering} steering")


def _record(path: Path, hardware: Hardware) -> None:
    """Say in the record of a grid what its energies are of, and with which versions they were counted."""
    if not path.exists():
        return
    content = read_json(path)
    if not is_typed(content, TYPE, VERSION):
        raise InputError(f"{path} is not the record of a grid ({TYPE}); move it away")
    # What trained the networks stays as it is.
    own = {name: value for name, value in content.items() if not name.startswith("_")}
    record = {**own, "hardware": hardware_to_json(hardware), "priced_with": versions()}
    write_typed(path, TYPE, VERSION, record)
