"""Workload files for other estimators: a CSV table of shapes, and ZigZag's layers in YAML."""

from __future__ import annotations

import csv
import io
from dataclasses import replace
from pathlib import Path
from typing import Any

from rankfold.cost import planned_shape
from rankfold.errors import InputError
from rankfold.files import write_text
from rankfold.mapping import low_rank_stages
from rankfold.plan import LOW_RANK, PRUNED, Plan
from rankfold.workload import ConvShape, Network
from rankfold.workload.table import OPTIONAL, REQUIRED

ACCUMULATOR_BITS = 32
FLOAT_BITS = 32  # of layers without bits in the plan


def executed_layers(network: Network, plan: Plan, linear: bool = False) -> tuple[tuple[ConvShape, int, int], ...]:
    """(shape, weight bits, input bits) of every convolution that runs under `plan`, the stages of a pair one after the other.

    Channel-pruned layers have the channels that the plan leaves them.

    Raises:
        InputError: a layer is pattern-pruned or row-sparse, which neither format can say.
    """
    found = []
    for shape in network.layers:
        entry = plan.layer(shape.weight)
        if entry.kind == PRUNED:
            raise InputError(
                f"layer {shape.name} is pattern-pruned, which workload files have no word for; export a dense or low-rank run"
            )
        if entry.entries is not None:
            raise InputError(
                f"layer {shape.name} keeps {entry.entries} positions of its kernels, which workload files have no word for; "
                "export a dense or low-rank run that keeps all"
            )
        if shape.kind == "linear" and not linear and entry.kind != LOW_RANK:
            continue
        bits = entry.weight_bits or FLOAT_BITS, entry.input_bits or FLOAT_BITS
        if entry.groups is None or entry.rank is None:
            found.append((planned_shape(shape, entry), *bits))
            continue
        first, second = low_rank_stages(shape, entry.groups, entry.rank)
        found.append((_named(first, f"{shape.name}.reduce"), *bits))
        found.append((_named(second, f"{shape.name}.expand"), *bits))
    return tuple(found)


def write_csv(path: str | Path, network: Network, plan: Plan, linear: bool = False) -> None:
    """Write the layers as a table that `rankfold map` reads back: one convolution a row."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*REQUIRED, *OPTIONAL])
    for shape, _, _ in executed_layers(network, plan, linear):
        sizes = [_size(values) for values in (shape.kernel, shape.input, shape.stride, shape.padding, shape.dilation)]
        kernel, plane, stride, padding, dilation = sizes
        writer.writerow(
            [shape.name, shape.in_channels, shape.out_channels, kernel, plane, stride, padding, dilation, shape.groups]
        )
    write_text(path, text.getvalue())


def write_zigzag(path: str | Path, network: Network, plan: Plan, linear: bool = False) -> None:
    """Write the layers as a workload of ZigZag (version 3), one chain: each layer reads the one before it.

    Branches are not in the file (a plan knows layers, not how they are joined); ZigZag uses sources for the reuse of buffers
    between layers, not for the cost of a layer.
    """
    import yaml

    layers = [
        _zigzag_layer(number, shape, weight_bits, input_bits)
        for number, (shape, weight_bits, input_bits) in enumerate(executed_layers(network, plan, linear))
    ]
    write_text(path, yaml.safe_dump(layers, sort_keys=False, default_flow_style=None, width=130))


def _zigzag_layer(number: int, shape: ConvShape, weight_bits: int, input_bits: int) -> dict[str, Any]:
    groups, (height, width), (kh, kw) = shape.groups, shape.output, shape.kernel
    (sy, sx), (dy, dx) = shape.stride, shape.dilation
    top, bottom, left, right = shape.padding
    return {
        "id": number,
        "name": shape.name,
        "operator_type": "Conv",
        "equation": "O[b][g][k][oy][ox]+=W[g][k][c][fy][fx]*I[b][g][c][iy][ix]",
        "dimension_relations": [f"ix={sx}*ox+{dx}*fx", f"iy={sy}*oy+{dy}*fy"],
        "loop_dims": ["B", "G", "K", "C", "OY", "OX", "FY", "FX"],
        "loop_sizes": [1, groups, shape.m // groups, shape.in_channels // groups, height, width, kh, kw],
        "pr_loop_dims": ["IX", "IY"],
        "pr_loop_sizes": [shape.input[1], shape.input[0]],
        "padding": [[left, right], [top, bottom]],
        "operand_precision": {"W": weight_bits, "I": input_bits, "O": ACCUMULATOR_BITS, "O_final": input_bits},
        "operand_source": {"W": number, "I": max(number - 1, 0)},
    }


def _named(shape: ConvShape, name: str) -> ConvShape:
    return replace(shape, name=name, weight=name)


def _size(values: tuple[int, ...]) -> str:
    return "x".join(map(str, values))
