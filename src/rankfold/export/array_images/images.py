"""A quantised network as array images: the cells to program, and where they belong.

docs/arrays.md defines the files.
"""

from __future__ import annotations

import io
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor, nn

from rankfold.arguments import PATH, takes
from rankfold.errors import InputError
from rankfold.export.array_images.activations import activations
from rankfold.export.array_images.program import write_program
from rankfold.export.array_images.steps import Program
from rankfold.files import check_vacant, replacing_folder
from rankfold.mapping import ArraySpec, Mapping, StoredMatrix, Tile
from rankfold.mapping.array import TWOS_COMPLEMENT
from rankfold.models.device import MODEL
from rankfold.models.finite import check_numbers
from rankfold.nn.quantised import QuantConv2d, QuantLayer
from rankfold.nn.quantisers import Quantiser
from rankfold.plan.plan import PLAN, Plan
from rankfold.progress import Progress, Silent, counted
from rankfold.records.schema import schema_validator
from rankfold.simulator import CellCoding, InputCoding, planned_mappings
from rankfold.simulator.cells import array_columns, tile_cells
from rankfold.simulator.network import check_not_simulated
from rankfold.simulator.planned import check_slices
from rankfold.workload.shape import Pair

TYPE, VERSION, WITH_INPUT_CODING = "rankfold.placement", 1, 2
PLACEMENT, DIGITAL, FOLDER = "placement.json", "digital.npz", "arrays"
SCHEMA = "placement.schema.json"


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


@takes(model=MODEL, plan=PLAN, folder=PATH)
def write_arrays(
    model: nn.Module, plan: Plan, folder: str | Path, progress: Progress | None = None
) -> ArrayExport:
    """Write `placement.json`, `digital.npz` and one `.npz` for each array into a new or empty folder.

    All of them appear together at the end; what an earlier, killed export left half-made is removed.

    Args:
        model: the network after `compress_` and `quantise_`, with its weights; it is left as it is.
        plan: its plan, every layer of which has bits.
        folder: where to write.
        progress: hears how far it is.

    Returns:
        How much was written.

    Raises:
        InputError: the folder is not empty, a weight is NaN, a layer has no bits or cannot be stored in the
            cells, or the network computes something between its layers that no step stands for.
    """
    target = Path(folder)
    # Before any work: a large network takes minutes.
    check_vacant(target)
    check_not_simulated(model)
    check_numbers(model.state_dict(), "the network")
    _check_quantised(plan)
    mappings = planned_mappings(model, plan)
    modules: dict[str, Any] = dict(model.named_modules())
    layers: dict[str, QuantLayer] = {name: modules[name] for name in mappings}
    # The digital steps first: what they cannot say is refused before any array is laid out.
    program = write_program(model, layers, plan.input, plan.inputs)
    progress = progress or Silent()
    images = _Images(plan.array)
    for name, runs in counted(mappings.items(), progress, "laying out", len(mappings)):
        for size, mapping in runs.items():
            images.add_layer(name, layers[name], size, mapping)
    content = _content(plan, program, images)
    # Whatever does not follow the schema is a fault of this program, not of the network.
    schema_validator("rankfold.export.array_images", SCHEMA).validate(content)
    with replacing_folder(target, last=PLACEMENT) as made:
        (made / FOLDER).mkdir()
        cells_of = counted(images.cells, progress, "writing", len(images.cells), "arrays")
        for number, cells in enumerate(cells_of):
            (made / _file(number)).write_bytes(_npz({"cells": cells}))
        (made / DIGITAL).write_bytes(_npz(program.constants | images.biases))
        text = json.dumps(content, separators=(",", ":"))
        (made / PLACEMENT).write_text(text + "\n", encoding="utf-8")
    return images.counts()


def _check_quantised(plan: Plan) -> None:
    """Refuse a plan of which a layer has no bits.

    Raises:
        InputError: it is refused; the message says why that layer has none, where the plan does.
    """
    for layer in plan.layers:
        if layer.quantised:
            continue
        what = f"layer {layer.name} of the plan has no bits, and arrays hold integers"
        if any(other.quantised for other in plan.layers):
            raise InputError(f"{what}; others have, and this one {layer.reason or 'was left out'}")
        raise InputError(f"{what}; compress the network with bits, such as bits=4")


class _Images:
    """Collects array images and numbers them.

    Attributes:
        array: R x C.
        cells: for each image (rows used, physical columns used) whole numbers.
        arrays: the entry of each image.
        layers: the entry of each layer and size of its input.
        biases: those of the layers, by name.
    """

    def __init__(self, array: ArraySpec) -> None:
        if array.subtracts and array.has_reference:
            # The files have one level and one factor for a reference column, and this one counts by its rows.
            raise InputError(
                "array images have no place for the inputs that offset coding with converts (=differences) "
                "counts; use differential coding, or convert columns"
            )
        check_slices(array)
        self.array = array
        # Numbers of images are places in both of these lists.
        self.cells: list[np.ndarray] = []
        self.arrays: list[dict[str, Any]] = []
        self.layers: list[dict[str, Any]] = []
        self.biases: dict[str, np.ndarray] = {}

    def add_layer(self, name: str, module: QuantLayer, size: Pair, mapping: Mapping) -> None:
        """Add a layer for inputs of one size (H, W)."""
        shape = mapping.shape
        label = name
        kind = "linear"
        padding_mode = "zeros"
        if isinstance(module, QuantConv2d):
            # The mapping of a convolution depends on the size of its input; vectors have one size alone.
            label = f"{name}@{size[0]}x{size[1]}"
            kind = "conv"
            padding_mode = module.padding_mode
        coding = CellCoding.of(self.array, module.weight_quantiser.bits)
        bias = None
        if module.bias is not None:
            bias = f"{label}.bias"
            self.biases[bias] = module.bias.detach().cpu().double().numpy()
        self.layers.append(
            {
                "name": label,
                "kind": kind,
                "input": [shape.in_channels, *shape.input],
                "output": [shape.m, *shape.output],
                "stride": list(shape.stride),
                "padding": list(shape.padding),
                "padding_mode": padding_mode,
                "input_levels": self._input_levels(module.input_quantiser),
                "weight_levels": _weight_levels(module.weight_quantiser),
                "cells": _cell_coding(coding),
                "bias": bias,
                "regions": self._regions(label, module, mapping, coding),
            }
        )

    def counts(self) -> ArrayExport:
        """How much was collected."""
        cells = sum(image.size for image in self.cells)
        activated = 0
        for layer in self.layers:
            for region in layer["regions"]:
                # Every activation drives all arrays of its region.
                activated += len(region["activations"]) * len(region["arrays"])
        return ArrayExport(len(self.cells), cells, activated)

    def _regions(
        self, label: str, module: QuantLayer, mapping: Mapping, coding: CellCoding
    ) -> list[dict[str, Any]]:
        """The activations of each region, and the arrays that they drive."""
        weight = module.integer_weights().cpu()
        # Regions that store the same matrix drive the same arrays.
        numbers: dict[StoredMatrix, list[int]] = {}
        regions = []
        for region in mapping.regions:
            if region.stored not in numbers:
                added = []
                for tile in region.tiles():
                    added.append(self._add_image(label, tile, weight, coding))
                numbers[region.stored] = added
            entry = {
                "arrays": numbers[region.stored],
                "activations": activations(region),
            }
            regions.append(entry)
        return regions

    def _add_image(self, label: str, tile: Tile, weight: Tensor, coding: CellCoding) -> int:
        """Add the cells of a tile; its number."""
        number = len(self.arrays)
        levels = tile_cells(weight, tile, coding, label)  # (r, c, columns of a weight)
        cells = array_columns(levels, coding)  # (r, physical columns)
        self.cells.append(_smallest(cells.numpy()))
        rows = [tile.row_channel, tile.row_y, tile.row_x, tile.row_slot]
        columns = [tile.col_channel, tile.col_y, tile.col_x, tile.col_slot]
        entry = {
            "file": _file(number),
            "rows": np.stack(rows, axis=1).tolist(),  # (r, 4)
            "columns": np.stack(columns, axis=1).tolist(),  # (c, 4)
        }
        self.arrays.append(entry)
        return number

    def _input_levels(self, quantiser: Quantiser) -> dict[str, Any]:
        """How inputs become levels, and how these are driven."""
        coding = InputCoding.of(self.array, quantiser.bits, quantiser.signed)
        return {
            "bits": quantiser.bits,
            "signed": quantiser.signed,
            "low": max(quantiser.low, coding.lowest),
            "high": quantiser.high,
            # What the quantiser multiplies by: dividing by the scale may round to another level.
            "reciprocal": float(quantiser.scale.reciprocal()),
            "scale": float(quantiser.scale),
            "zero_point": 0,
            "slice_factors": list(coding.factors),
        }


def _weight_levels(quantiser: Quantiser) -> dict[str, Any]:
    return {
        "bits": quantiser.bits,
        "scale": float(quantiser.scale),
        "zero_point": 0,
    }


def _cell_coding(coding: CellCoding) -> dict[str, Any]:
    """What the sums of a weight's columns count for."""
    reference_factor = None
    if coding.reference is not None:
        _, reference_factor = coding.reference
    return {
        "columns_per_weight": len(coding.factors),
        "factors": list(coding.factors),
        "reference_factor": reference_factor,
    }


def _smallest(cells: np.ndarray) -> np.ndarray:
    """The same whole numbers in one byte each, where they fit."""
    if cells.min() < 0 or cells.max() > np.iinfo(np.uint8).max:
        return cells.astype(np.int16)
    return cells.astype(np.uint8)


def _content(plan: Plan, program: Program, images: _Images) -> dict[str, Any]:
    """The content of `placement.json`."""
    array = plan.array
    described: dict[str, Any] = {
        "rows": array.rows,
        "columns": array.columns,
        "cell_bits": array.cell_bits,
        "coding": array.coding,
        "dac_bits": array.dac_bits,
    }
    # Only where it is named: readers of older files know no such key.
    if array.rows_driven is not None:
        described["rows_driven"] = array.rows_driven
    if array.subtracts:
        described["converts"] = array.converts
    version = VERSION
    if array.input_coding != TWOS_COMPLEMENT:
        # Readers of the first version would drive other slices, and refuse the second.
        version = WITH_INPUT_CODING
        described["input_coding"] = array.input_coding
    return {
        "_type": TYPE,
        "_version": version,
        "model": plan.model,
        "array": described,
        **_inputs(plan, program),
        "output": program.output,
        "steps": list(program.steps),
        "layers": images.layers,
        "arrays": images.arrays,
    }


def _inputs(plan: Plan, program: Program) -> dict[str, Any]:
    """The entry of what the network is called with: `input` for one image, else `inputs`.

    Raises:
        InputError: an input has no axis of samples.
    """
    if not plan.inputs:
        (image,) = program.inputs
        return {"input": {"name": image, "sizes": list(plan.input)}}
    tensors = [spec for spec in plan.inputs if spec.shape is not None]
    entries = []
    for name, spec in zip(program.inputs, tensors, strict=True):
        sizes = spec.shape or ()
        if not sizes or sizes[0] != 1:
            raise InputError(
                f"input {spec.name or name} of the network is a tensor of {list(sizes)}, without an axis of "
                "samples; array images take one sample after another"
            )
        entries.append({"name": name, "sizes": list(sizes[1:])})
    return {"inputs": entries}


def _file(number: int) -> str:
    """The file of an image, as a path within the folder."""
    return f"{FOLDER}/{number:05d}.npz"


def _npz(arrays: dict[str, np.ndarray]) -> bytes:
    content = io.BytesIO()
    np.savez_compressed(content, **arrays)  # type: ignore[arg-type]
    return content.getvalue()
