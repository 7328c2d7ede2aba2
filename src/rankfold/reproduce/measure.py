"""`Measurement`: one trained network under one mapping on one array."""

from __future__ import annotations

import csv
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from rankfold.cost import PUBLISHED, CostKey, Masks, network_cycles, published_cycles
from rankfold.cost.energy import ComponentTable, hardware_table, network_energy
from rankfold.cost.keys import DENSE_FAMILY
from rankfold.cost.published import has_published_cycles
from rankfold.documents import in_schema, read_json
from rankfold.errors import InputError, NarrowArrayError, UnpricedCellsError
from rankfold.machine import DEFAULT_HARDWARE, Hardware, hardware_to_json
from rankfold.mapping import MAPPINGS, ArraySpec
from rankfold.models.load import load_model
from rankfold.plan import LayerPlan, Plan, masks_for
from rankfold.plan.kinds import IDEAL, PLAIN
from rankfold.plan.methods import settings
from rankfold.records.csv_table import write_csv
from rankfold.records.schema import schema_validator
from rankfold.records.typed import is_typed, write_typed
from rankfold.reproduce.grid import COLUMNS, Cell, settings_of
from rankfold.runs.folder import RunFolder
from rankfold.runs.result import Result
from rankfold.workload import ZOO, Network, trace, zoo_network

# 6: files before it may hold one mapping twice, of networks with layers of several kinds; before 5 they lack
# the published reading; before 4 they may be of the arrays that version 0.1 took for the default, and do not
# say so.
TYPE, VERSION = "rankfold.cell-costs", 6
STORED = "costs.json"  # in the folder of a cell
TABLE = "cells.csv"  # in the folder of a grid

# (cycles, conversions, energy) of a network on one array, by the text of their key.
Costs = dict[str, list[Any]]


# Version 0.1 wrote tables without it, whose energies are those of arrays that take networks to chance.
UNKNOWN = "not on record"


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """One row of the table of all cells: accuracy on the test split; cycles, conversions, energy per image.

    Attributes:
        cell: name of the cell.
        method: `low-rank`, `patdnn`, `pairs`, `support`, `quantise` or `channel`.
        groups: g of low-rank.
        rank: r of low-rank, as the grid gives it.
        entries: e of pattern pruning, of shared supports and of row-sparse low-rank.
        block: output channels that share a pattern under PAIRS; None: all.
        ratio: share of the channels that channel pruning removes.
        bits: of weights and inputs; None for float.
        seed: of the training.
        epochs: of fine-tuning.
        baseline: accuracy of the dense float network, 0 to 1.
        before: accuracy before fine-tuning.
        accuracy: accuracy at the end.
        parameters: weights and biases that are left.
        array: R x C.
        mapping: how all layers are mapped, those that are not compressed too; `published`: in the published
            reading, which leaves some layers out (`rankfold.cost.published`).
        steering: `ideal` where each column gets inputs of its own for nothing, else `plain`.
        cycles: array activations per image of all convolutions.
        conversions: columns converted by ADCs per image; one for a column and a whole vector, like cycles.
        energy: pJ, dynamic, on the hardware; None where its cells do not hold a weight in a row of the
            array, and for the window that both stages of a pair share, which is no mapping of a plan.
        distil: weight of distillation, where the grid gives one.
        hardware: what energy is counted for, at the size of `array`; `UNKNOWN` in tables that do not say it.
        others: settings of methods from elsewhere, as pairs of name and value; columns of the table of these
            names.
    """

    cell: str
    method: str
    groups: int | None
    rank: str | None
    entries: int | None
    block: int | None
    ratio: float | None
    bits: int | None
    seed: int
    epochs: int
    baseline: float
    before: float
    accuracy: float
    parameters: int
    array: str
    mapping: str
    steering: str
    cycles: int
    conversions: int
    energy: float | None
    distil: float | None = None
    hardware: str = UNKNOWN
    others: tuple[tuple[str, Any], ...] = ()

    @property
    def settings(self) -> dict[str, Any]:
        """What the grid says of the method, by setting."""
        return settings_of(self)


OTHERS = "others"
# How the cells of a table are read; others are texts.
NUMBERS: dict[str, type[int] | type[float]] = {
    "groups": int,
    "entries": int,
    "block": int,
    "ratio": float,
    "bits": int,
    "seed": int,
    "epochs": int,
    "baseline": float,
    "before": float,
    "accuracy": float,
    "parameters": int,
    "cycles": int,
    "conversions": int,
    "energy": float,
    "distil": float,
}
MAY_BE_EMPTY = ("groups", "rank", "entries", "block", "ratio", "bits", "energy", "distil")


def measure(
    cell: Cell, folder: Path, arrays: Sequence[ArraySpec], hardware: Hardware = DEFAULT_HARDWARE
) -> tuple[Measurement, ...]:
    """Map the finished run of a cell for each array.

    What an earlier call counted is read from `costs.json` in the folder.

    Args:
        cell: the cell.
        folder: of its run.
        arrays: to map for.
        hardware: what energy is counted for, at the size of each array.

    Raises:
        InputError: a file is missing or damaged.
    """
    run = RunFolder(folder, "")
    result = Result.load(run.result)
    # Mapping takes seconds and training hours: a new array in the grid is counted for cells that are done.
    described = hardware_to_json(hardware)
    known = _stored(folder / STORED, result.run, described)
    missing = [array for array in arrays if str(array) not in known]
    if missing:
        _count(known, run, result, missing, hardware)
        content = {"run": result.run, "hardware": described, "costs": known}
        write_typed(folder / STORED, TYPE, VERSION, content)
    rows = []
    for array in arrays:
        for key, costs in known[str(array)].items():
            row = _row(cell, result, array, CostKey.parse(key), costs)
            rows.append(replace(row, hardware=hardware.name))
    return tuple(rows)


def _row(cell: Cell, result: Result, array: ArraySpec, key: CostKey, costs: Sequence[Any]) -> Measurement:
    cycles, conversions, energy = costs
    measured = result.accuracy
    if measured.baseline is None or measured.decomposed is None:
        raise InputError(
            f"the run of cell {cell.name} has no accuracy before training, as those of a grid have; move its "
            "folder away"
        )
    return Measurement(
        cell=cell.name,
        method=cell.method,
        groups=cell.groups,
        rank=cell.rank,
        entries=cell.entries,
        block=cell.block,
        ratio=cell.ratio,
        bits=cell.bits,
        seed=cell.seed,
        epochs=result.recipe["epochs"],
        baseline=measured.baseline,
        before=measured.decomposed,
        accuracy=measured.final,
        parameters=result.parameters_after,
        array=str(array),
        mapping=key.mapping,
        steering=steering_of(key),
        cycles=cycles,
        conversions=conversions,
        energy=energy,
        distil=cell.distil,
        others=cell.others,
    )


def _stored(path: Path, run: str, hardware: Mapping[str, Any]) -> dict[str, Costs]:
    """Costs by array, as an earlier call stored them for this very run and hardware; empty where it did not.

    Raises:
        InputError: the file is damaged.
    """
    if not path.exists():
        return {}
    content = read_json(path)
    # Of an older version, or of the run that was here before: costs are counted again in seconds.
    if not is_typed(content, TYPE, VERSION) or content.get("run") != run:
        return {}
    if content.get("hardware") != hardware:
        return {}
    validator = schema_validator("rankfold.reproduce", "costs.schema.json")
    in_schema(content, validator, f"{path} holds no costs; delete it, and they are counted again")
    costs: dict[str, Costs] = content["costs"]
    return costs


def _count(
    known: dict[str, Costs], run: RunFolder, result: Result, arrays: Sequence[ArraySpec], hardware: Hardware
) -> None:
    """Add the costs on some arrays to those that are known."""
    # The plan of the run and not of the grid: it has the supports and signs that the run found.
    plan = Plan.load(run.plan)
    network = _network(plan, result)
    masks = masks_for(plan, run.weights)
    for array in arrays:
        known[str(array)] = costs_on(array, network, plan, masks, hardware)


def costs_on(array: ArraySpec, network: Network, plan: Plan, masks: Masks, hardware: Hardware) -> Costs:
    """Costs of a network on arrays of one size, by the text of their key.

    Args:
        array: the size.
        network: the network.
        plan: of a cell, with its supports.
        masks: of its pruned layers.
        hardware: what energy is counted for, at that size.
    """
    machine = sized(hardware, array)
    return _costs(network, plan.on(machine), masks, hardware_table(machine))


def sized(hardware: Hardware, array: ArraySpec) -> Hardware:
    """The hardware with arrays of another size; no more rows are driven than there are."""
    driven = hardware.array.rows_driven
    if driven is not None:
        driven = min(driven, array.rows)
    return hardware.altered(rows=array.rows, columns=array.columns, rows_driven=driven)


def _costs(network: Network, plan: Plan, masks: Masks, table: ComponentTable) -> Costs:
    """Costs of the network as it was compressed; of a dense one, under every mapping of it."""
    # Cycles are those of whole vectors, whatever the cells.
    size = ArraySpec(plan.array.rows, plan.array.columns)
    counted = network_cycles(network, replace(plan, array=size), MAPPINGS, masks)
    cycles, conversions = counted.total, counted.conversions
    costs: Costs = {}
    for key in _one_a_mapping(cycles):
        energy = _energy(network, plan, masks, table, key)
        costs[str(key)] = [cycles[key], conversions[key], energy]
    # Asked beforehand, so that nothing else that is wrong costs the row.
    if not has_published_cycles(network, plan):
        return costs
    published = published_cycles(network, plan, masks)
    # Only some layers count, so that no energy goes with it.
    costs[PUBLISHED] = [published.cycles, published.conversions, None]
    return costs


def _one_a_mapping(keys: Collection[CostKey]) -> list[CostKey]:
    """The keys of a network's rows: one for each mapping and steering.

    Every key costs the whole network, so that of a network with layers of several kinds the same is there
    once for each family; twice in the table, it would look like two seeds.
    """
    # Of a compressed network the dense mappings are those of another cell's network.
    own = [key for key in keys if key.family != DENSE_FAMILY]
    chosen: dict[tuple[str, str], CostKey] = {}
    for key in own or keys:
        chosen.setdefault((key.mapping, steering_of(key)), key)
    return list(chosen.values())


def _energy(network: Network, plan: Plan, masks: Masks, table: ComponentTable, key: CostKey) -> float | None:
    """pJ with all layers mapped and steered as the key says."""
    # `shared` is no mapping of a plan, so that no plan can be priced under it.
    if key.mapping not in MAPPINGS:
        return None
    layers = tuple(_laid_out(layer, key) for layer in plan.layers)
    laid_out = replace(plan, layers=layers)
    try:
        priced = network_energy(network, laid_out, table, masks)
    except (NarrowArrayError, UnpricedCellsError):
        return None  # an array whose rows hold no weight, or of cells that nobody prices
    return round(priced.energy, 1)  # the figures of components have two or three digits


def _laid_out(layer: LayerPlan, key: CostKey) -> LayerPlan:
    """The layer under the mapping of a key, and with its steering if the layer has any."""
    kind = layer.kind.with_steering(steering_of(key))
    mapping = layer.mapping
    # As cycles are counted: a layer that lacks the mapping has the planned one.
    if key.mapping in kind.mappings:
        mapping = key.mapping
    return replace(layer, kind=kind, mapping=mapping)


def steering_of(key: CostKey) -> str:
    """How the columns of a row with this key get their inputs, as tables have it."""
    if key.family == IDEAL:
        return IDEAL
    return PLAIN


def _network(plan: Plan, result: Result) -> Network:
    # No torch module is built for these.
    if plan.model in ZOO:
        return zoo_network(plan.model, plan.input)
    # The name in the result is the grid's, which the user chose; that in the plan may be anybody's.
    if plan.model != result.model:
        raise InputError(f"the plan is of {plan.model}, and the result of {result.model}; move the run away")
    model = load_model(plan.model, len(result.data.classes), plan.input[0], image=plan.input)
    return trace(model, plan.input, plan.model)


def write_table(path: Path, rows: Sequence[Measurement]) -> None:
    """Write all rows as CSV, atomically."""
    own = [field.name for field in fields(Measurement) if field.name != OTHERS]
    others: dict[str, None] = {}
    for row in rows:
        others.update(dict.fromkeys(name for name, _ in row.others))
    lines = []
    for row in rows:
        given = dict(row.others)
        lines.append([*(getattr(row, name) for name in own), *(given.get(name) for name in others)])
    write_csv(path, [*own, *others], lines)


def read_table(path: Path) -> tuple[Measurement, ...]:
    """Read a table.

    Raises:
        InputError: the file is missing or not such a table.
    """
    rows = []
    try:
        with path.open(encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file):
                rows.append(_measurement(row))
            return tuple(rows)
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from error
    # A TypeError is of columns that a row lacks, or that this version does not know.
    except (TypeError, ValueError, csv.Error) as error:
        raise InputError(f"{path} is not a table of cells: {error}") from error


def _measurement(row: Mapping[str, str | None]) -> Measurement:
    others = []
    # In the order in which cells have them, whatever that of the columns.
    known = {name: setting for name, setting in settings().items() if name not in COLUMNS}
    for name, setting in known.items():
        text = row.get(name)
        if text:
            others.append((name, setting.in_grids(text)))
    # One that no registered method has is refused as an unknown column is.
    own = {name: _value(name, text) for name, text in row.items() if name not in known}
    return Measurement(**own, others=tuple(others))


def _value(name: str, text: str | None) -> Any:
    if text is None:
        raise ValueError(f"a row is cut off before column {name}")
    # Elsewhere an empty cell is an error, which the conversion raises.
    if text == "" and name in MAY_BE_EMPTY:
        return None
    return NUMBERS.get(name, str)(text)
