"""`Measurement`: one trained network under one mapping on one array."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from rankfold.cost import Masks, network_cycles
from rankfold.cost.energy import DEFAULT_TABLE, ComponentTable, load_table, network_energy
from rankfold.errors import InputError
from rankfold.files import read_json, write_json, write_text
from rankfold.mapping import METHODS, ArraySpec
from rankfold.models.load import load_model
from rankfold.plan import IDEAL, PLAIN, PRUNED, Plan, load_masks
from rankfold.reproduce.grid import Cell
from rankfold.runs.folder import RunFolder
from rankfold.runs.result import Result
from rankfold.workload import ZOO, Network, trace, zoo_network

PREFIXES = ("low-rank-", "pruned-", "channel-")
TYPE, VERSION = "rankfold.cell-costs", 3


@dataclass(frozen=True)
class Measurement:
    """One row of the table of all cells: accuracy on the test split, cycles, ADC conversions and energy per image.

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
        mapping: how all layers are mapped; those that are not compressed too.
        steering: `ideal` where each column gets inputs of its own for nothing, else `plain`.
        cycles: array activations per image of all convolutions.
        conversions: columns converted by ADCs per image; one for a column and a whole vector, as cycles count.
        energy: pJ, dynamic, by the default table; None where its cells do not hold a weight in a row of the array, and for the
            window that both stages of a pair share, which is no mapping of a plan.
        distil: weight of distillation, where the grid gives one.
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
    distil: float | None = field(default=None, kw_only=True)


def measure(cell: Cell, folder: Path, arrays: Sequence[ArraySpec]) -> tuple[Measurement, ...]:
    """Map the finished run of a cell for each array; what an earlier call counted is read from `costs.json` in its folder.

    Raises:
        InputError: a file is missing or damaged.
    """
    run = RunFolder(folder, "")
    result, plan = Result.load(run.result), Plan.load(run.plan)
    stored = folder / "costs.json"
    known: dict[str, dict[str, list[Any]]] = {}  # (cycles, conversions, energy) by array and key of `network_cycles`
    if stored.exists():
        content = read_json(stored)
        if isinstance(content, dict) and content.get("_version") == VERSION and content.get("run") == result.run:
            known = content["costs"]
    missing = [array for array in arrays if str(array) not in known]
    if missing:
        network, table = _network(plan, result), load_table(DEFAULT_TABLE)
        masks = load_masks(run.weights) if any(layer.kind == PRUNED for layer in plan.layers) else {}
        for array in missing:
            known[str(array)] = _costs(network, replace(plan, array=array), masks, table)
        write_json(stored, {"_type": TYPE, "_version": VERSION, "run": result.run, "costs": known})
    return tuple(
        Measurement(
            cell.name, cell.method, cell.groups, cell.rank, cell.entries, cell.block, cell.ratio, cell.bits, cell.seed,
            result.recipe["epochs"], result.accuracy.baseline or 0.0, result.accuracy.decomposed or 0.0, result.accuracy.final,
            result.parameters_after, str(array), *_reading(key), *costs, distil=cell.distil,
        )
        for array in arrays
        for key, costs in known[str(array)].items()
    )  # fmt: skip


def _costs(network: Network, plan: Plan, masks: Masks, table: ComponentTable) -> dict[str, list[Any]]:
    """Cycles, conversions and energy of the network as it was compressed; of a dense one, under every mapping of it."""
    found = network_cycles(network, plan, METHODS, masks)
    prefix = next((prefix for prefix in PREFIXES if f"{prefix}sdk" in found.total), "")
    keys = [key for key in found.total if key.startswith((prefix, "ideal-"))]
    return {key: [found.total[key], found.conversions[key], _energy(network, plan, masks, table, key)] for key in keys}


def _energy(network: Network, plan: Plan, masks: Masks, table: ComponentTable, key: str) -> float | None:
    mapping, steering = _reading(key)
    if mapping not in METHODS:
        return None
    layers = (replace(layer, mapping=mapping, steering=layer.steering and steering) for layer in plan.layers)
    try:
        return round(network_energy(network, replace(plan, layers=tuple(layers)), table, masks).energy, 1)
    except InputError:
        return None  # an array whose rows hold no weight


def _reading(key: str) -> tuple[str, str]:
    """The mapping and the steering of a key of `network_cycles`."""
    if key.startswith("ideal-"):
        return key.removeprefix("ideal-"), IDEAL
    return next((key.removeprefix(prefix) for prefix in PREFIXES if key.startswith(prefix)), key), PLAIN


def _network(plan: Plan, result: Result) -> Network:
    if plan.model in ZOO:
        return zoo_network(plan.model, plan.input)
    return trace(load_model(plan.model, len(result.data.classes), plan.input[0]), plan.input, plan.model)


def write_table(path: Path, rows: Sequence[Measurement]) -> None:
    """Write all rows as CSV, atomically."""
    text = io.StringIO()
    writer = csv.DictWriter(text, [field.name for field in fields(Measurement)], lineterminator="\n")
    writer.writeheader()
    writer.writerows(asdict(row) for row in rows)
    write_text(path, text.getvalue())


def read_table(path: Path) -> tuple[Measurement, ...]:
    """Read a table.

    Raises:
        InputError: the file is missing or not such a table.
    """
    try:
        with path.open(encoding="utf-8", newline="") as file:
            return tuple(Measurement(**{name: _value(name, text) for name, text in row.items()}) for row in csv.DictReader(file))
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from error
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path} is not a table of cells: {error}") from error


_KINDS: dict[str, Any] = {
    "groups": int, "entries": int, "block": int, "bits": int, "seed": int, "epochs": int, "parameters": int, "cycles": int,
    "conversions": int, "energy": float, "ratio": float, "distil": float, "baseline": float, "before": float, "accuracy": float,
}  # fmt: skip


def _value(name: str, text: str) -> Any:
    if text == "" and name in ("groups", "rank", "entries", "block", "ratio", "bits", "energy", "distil"):
        return None
    return _KINDS.get(name, str)(text)
