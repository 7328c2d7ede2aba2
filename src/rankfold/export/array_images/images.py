"""A quantised network as array images: the cells to program, and where they belong. docs/arrays.md defines the files."""

from __future__ import annotations

import io
import json
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from rankfold.errors import InputError
from rankfold.export.array_images.program import Program, write_program
from rankfold.files import check_vacant, replacing_folder
from rankfold.mapping import Mapping, Region, StoredMatrix, Tile
from rankfold.nn.quantised import QuantConv2d, QuantLayer
from rankfold.plan import Plan
from rankfold.simulator import CellCoding, InputCoding, planned_mappings
from rankfold.workload.shape import Pair

TYPE, VERSION = "rankfold.placement", 1
PLACEMENT, DIGITAL, FOLDER = "placement.json", "digital.npz", "arrays"


@dataclass(frozen=True)
class ArrayExport:
    """What was written.

    Attributes:
        arrays: array images.
        cells: cells in them that hold a weight's slice or a reference.
        activations: of all arrays for one image, with whole inputs.
    """

    arrays: int
    cells: int
    activations: int


def write_arrays(model: nn.Module, plan: Plan, folder: str | Path) -> ArrayExport:
    """Write `placement.json`, `digital.npz` and one `.npz` for each array into a new or empty folder.

    All of them appear together at the end; what an earlier, killed export left half-made is removed.

    Args:
        model: the network after `compress_` and `quantise_by_plan_`, with its weights; it is left as it is.
        plan: its plan, every layer of which has bits.
        folder: where to write.

    Raises:
        InputError: the folder is not empty, a layer has no bits or cannot be stored in the cells, or the network computes
            something between its layers that no step stands for.
    """
    target = Path(folder)
    check_vacant(target)
    without = next((layer.name for layer in plan.layers if layer.weight_bits is None), None)
    if without is not None:
        raise InputError(f"layer {without} of the plan has no bits, and arrays hold integers; compress the network with --bits")
    mappings = planned_mappings(model, plan)
    modules: dict[str, Any] = dict(model.named_modules())
    layers: dict[str, QuantLayer] = {name: modules[name] for name in mappings}
    program = write_program(model, layers, plan.input)
    writer = _Images(plan)
    entries = [
        writer.layer(name, layers[name], size, mapping) for name, runs in mappings.items() for size, mapping in runs.items()
    ]
    content = _content(plan, program, entries, writer)
    _validator().validate(content)
    with replacing_folder(target, last=PLACEMENT) as made:
        (made / FOLDER).mkdir()
        for number, cells in enumerate(writer.cells):
            (made / FOLDER / f"{number:05d}.npz").write_bytes(_npz({"cells": cells}))
        (made / DIGITAL).write_bytes(_npz(program.constants | writer.biases))
        (made / PLACEMENT).write_text(json.dumps(content, separators=(",", ":")) + "\n", encoding="utf-8")
    activations = sum(len(region["activations"]) * len(region["arrays"]) for entry in entries for region in entry["regions"])
    return ArrayExport(len(writer.cells), sum(cells.size for cells in writer.cells), activations)


class _Images:
    """Collects array images and numbers them."""

    def __init__(self, plan: Plan) -> None:
        self.array = plan.array
        self.cells: list[np.ndarray] = []
        self.arrays: list[dict[str, Any]] = []
        self.biases: dict[str, np.ndarray] = {}

    def layer(self, name: str, module: QuantLayer, size: Pair, mapping: Mapping) -> dict[str, Any]:
        """The entry of a layer for inputs of one size."""
        shape = mapping.shape
        coding = CellCoding.of(self.array, module.weight_quantiser.bits)
        levels = module.weight_quantiser.integers(module.weight)
        mask = getattr(module, "mask", None)
        flat = (levels if mask is None else levels * mask).cpu().reshape(-1)
        conv = isinstance(module, QuantConv2d)
        label = f"{name}@{size[0]}x{size[1]}" if conv else name
        known: dict[StoredMatrix, list[int]] = {}
        regions = []
        for region in mapping.regions:
            if region.stored not in known:
                known[region.stored] = [self._image(label, tile, flat, coding) for tile in region.tiles()]
            regions.append({"arrays": known[region.stored], "activations": _activations(region)})
        if module.bias is not None:
            self.biases[f"{label}.bias"] = module.bias.detach().cpu().double().numpy()
        quantiser = module.input_quantiser
        inputs = InputCoding(quantiser.bits, quantiser.signed, self.array.dac_bits)
        top, bottom, left, right = shape.padding
        return {
            "name": label,
            "kind": "conv" if conv else "linear",
            "input": [shape.in_channels, *shape.input],
            "output": [shape.m, *shape.output],
            "stride": list(shape.stride),
            "padding": [top, bottom, left, right],
            "padding_mode": module.padding_mode if conv else "zeros",
            "input_levels": {
                "bits": quantiser.bits, "signed": quantiser.signed, "low": quantiser.low, "high": quantiser.high,
                "reciprocal": float(quantiser.scale.reciprocal()), "scale": float(quantiser.scale), "zero_point": 0,
                "slice_factors": list(inputs.factors),
            },
            "weight_levels": {"bits": coding.weight_bits, "scale": float(module.weight_quantiser.scale), "zero_point": 0},
            "cells": {
                "columns_per_weight": len(coding.factors), "factors": list(coding.factors),
                "reference_factor": None if coding.reference is None else coding.reference[1],
            },
            "bias": f"{label}.bias" if module.bias is not None else None,
            "regions": regions,
        }  # fmt: skip

    def _image(self, label: str, tile: Tile, flat: torch.Tensor, coding: CellCoding) -> int:
        index = torch.from_numpy(tile.weight_index)
        levels = torch.where(index >= 0, flat[index.clamp(min=0)], 0)
        cells = coding.encode(levels, label).reshape(tile.rows, -1).numpy()  # (r, c * columns per weight)
        if coding.reference is not None:
            cells = np.concatenate([cells, np.full((tile.rows, 1), coding.reference[0])], axis=1)
        self.cells.append(cells.astype(np.int16 if cells.min() < 0 or cells.max() > 255 else np.uint8))
        rows = np.stack([tile.row_channel, tile.row_y, tile.row_x, tile.row_slot], axis=1)
        columns = np.stack([tile.col_channel, tile.col_y, tile.col_x, tile.col_slot], axis=1)
        self.arrays.append({"file": f"{FOLDER}/{len(self.arrays):05d}.npz", "rows": rows.tolist(), "columns": columns.tolist()})
        return len(self.arrays) - 1


def _activations(region: Region) -> list[list[list[int] | None]]:
    """For each activation, for each slot: [y, x] of the window's first output pixel and [y, x] from which its pixels count."""
    (height, width), (a, b) = region.size, region.window
    spacing = (1, 1) if region.phase is None else region.footprint.spacing
    corner = region.phase or (0, 0)
    firsts = []
    for wanted_y in range(0, height, a):
        for wanted_x in range(0, width, b):
            place = []
            for wanted, step, size, origin, gap, phase in zip(
                (wanted_y, wanted_x), region.window, region.size, region.origin, spacing, corner, strict=True
            ):
                place.append(((min(wanted, size - step) + origin) * gap + phase, (wanted + origin) * gap + phase))
            firsts.append([place[0][0], place[1][0], place[0][1], place[1][1]])
    slots = region.slots
    padded: list[list[int] | None] = [*firsts, *[None] * (-len(firsts) % slots)]
    return [padded[start : start + slots] for start in range(0, len(padded), slots)]


def _content(plan: Plan, program: Program, entries: list[dict[str, Any]], writer: _Images) -> dict[str, Any]:
    array = plan.array
    return {
        "_type": TYPE,
        "_version": VERSION,
        "model": plan.model,
        "array": {
            "rows": array.rows, "columns": array.columns, "cell_bits": array.cell_bits, "coding": array.coding,
            "dac_bits": array.dac_bits,
        },
        "input": {"name": program.input, "sizes": list(plan.input)},
        "output": program.output,
        "steps": list(program.steps),
        "layers": entries,
        "arrays": writer.arrays,
    }  # fmt: skip


@cache
def _validator() -> Any:
    import jsonschema

    schema = json.loads(
        resources.files("rankfold.export.array_images").joinpath("placement.schema.json").read_text("utf-8")
    )
    return jsonschema.Draft202012Validator(schema)


def _npz(arrays: dict[str, np.ndarray]) -> bytes:
    content = io.BytesIO()
    np.savez_compressed(content, **arrays)  # type: ignore[arg-type]
    return content.getvalue()
