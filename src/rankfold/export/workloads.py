"""Workload files for other estimators: a CSV table of shapes, and ZigZag's layers in YAML.

Both formats know convolutions. Kernel positions that all outputs of one share have a column in the table;
patterns that differ from output to output have none, and `write_csv` refuses them.

ZigZag estimates circuits that skip no weights, and `write_zigzag` gives it the
layer's whole size, and says so.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rankfold.arguments import PATH, takes
from rankfold.cost.planned import counted_layers
from rankfold.errors import InputError
from rankfold.export.kinds import executed, side_by_side, supports, unsaid
from rankfold.files import write_text
from rankfold.plan.layer import LayerPlan
from rankfold.plan.plan import PLAN, Plan
from rankfold.records import csv_table
from rankfold.workload import ConvShape, Network
from rankfold.workload.network import NETWORK
from rankfold.workload.table import OPTIONAL, REQUIRED

ACCUMULATOR_BITS = 32
FLOAT_BITS = 32  # of layers without bits in the plan


@dataclass(frozen=True)
class ExecutedLayer:
    """A convolution that runs under a plan.

    Attributes:
        shape: its shape and name; of a pair there are two, `name.reduce` and `name.expand`.
        weight_bits: of its weights; 32 for float.
        input_bits: of its inputs; 32 for float.
    """

    shape: ConvShape
    weight_bits: int
    input_bits: int


def executed_layers(network: Network, plan: Plan, linear: bool = False) -> tuple[ExecutedLayer, ...]:
    """Every convolution that runs under a plan, the stages of a pair or the parts of a plane one by one.

    Channel-pruned layers have the channels that the plan leaves them; layers that keep only some kernel
    positions have their whole size.

    Args:
        network: the network as it was.
        plan: a plan for it.
        linear: whether fully connected layers count; they do in any case where costs count them, see
            `plan.counted.counts_linear`.
    """
    layers = []
    for shape, entry in _written(network, plan, linear):
        layers += _executed_by(shape, entry)
    return tuple(layers)


def _executed_by(shape: ConvShape, entry: LayerPlan) -> list[ExecutedLayer]:
    # The value between two stages has as many bits as the layer's input.
    weight_bits, input_bits = entry.weight_bits or FLOAT_BITS, entry.input_bits or FLOAT_BITS
    return [ExecutedLayer(part, weight_bits, input_bits) for part in executed(shape, entry.kind)]


def _written(network: Network, plan: Plan, linear: bool) -> list[tuple[ConvShape, LayerPlan]]:
    """The layers that workload files have, with what the plan says of them."""
    # Not asked for is no refusal: costs may count them all the same.
    counted = counted_layers(network, plan, linear or None)
    return [(shape, plan.layer(shape.weight)) for shape in counted]


@takes(path=PATH, network=NETWORK, plan=PLAN)
def write_csv(path: str | Path, network: Network, plan: Plan, linear: bool = False) -> None:
    """Write the convolutions that run under a plan as a table that `rankfold map` reads back, one a row.

    Kernel positions that all outputs of a convolution share are in a column of their own. A transposed
    convolution is the one that it equals, whose zeros count there as weights.

    Args:
        path: the file.
        network: the network as it was.
        plan: a plan for it.
        linear: whether fully connected layers are written; see `executed_layers`.

    Raises:
        InputError: a layer is pattern-pruned by patterns of its own for each output, which the table cannot
            say, or keeps positions that are not known yet; or the file cannot be written.
    """
    rows = []
    # Layers that are not written too: the run that they belong to is not what the table would tell of.
    for shape in network.layers:
        _check_sayable(shape, plan.layer(shape.weight))
    with_supports = False
    for shape, entry in _written(network, plan, linear):
        parts = executed(shape, entry.kind)
        for part, support in zip(parts, supports(shape, entry.kind) or (), strict=True):
            rows.append([*_row(part), support])
            with_supports = with_supports or bool(support)
    header = [*REQUIRED, *OPTIONAL]
    if not with_supports:
        # Most tables need no column for them.
        header = header[:-1]
        rows = [row[:-1] for row in rows]
    csv_table.write_csv(path, header, rows)


def _check_sayable(shape: ConvShape, entry: LayerPlan) -> None:
    """Refuse a layer that a table of shapes and supports cannot describe."""
    if supports(shape, entry.kind) is not None:
        return
    words, remedy = unsaid(entry.kind)
    if entry.kind.shares_support:
        raise InputError(
            f"layer {shape.name} {words}, and which ones is chosen on data; export a finished run, or a plan "
            "that has the positions (support)"
        )
    raise InputError(
        f"layer {shape.name} {words}, which workload files have no word for; "
        f"export a dense or low-rank run{remedy}"
    )


def _row(shape: ConvShape) -> list[str | int]:
    """The cells of a layer, in the order of `REQUIRED` and `OPTIONAL`."""
    return [
        shape.name,
        shape.in_channels,
        shape.out_channels,
        _size(shape.kernel),
        _size(shape.input),
        _size(shape.stride),
        _size(shape.padding),
        _size(shape.dilation),
        shape.groups,
    ]


def _size(values: tuple[int, ...]) -> str:
    return "x".join(map(str, values))


@takes(path=PATH, network=NETWORK, plan=PLAN)
def write_zigzag(path: str | Path, network: Network, plan: Plan, linear: bool = False) -> tuple[str, ...]:
    """Write the convolutions that run under a plan as a workload of ZigZag (version 3).

    The file is one chain: each layer reads the one before it, and its outputs have the bits that the next one
    reads. Branches are not in it (a plan knows layers, not how they are joined); ZigZag uses sources for the
    reuse of buffers between layers, not for the cost of a layer. The parts of a plane all read the layer
    before; the layer behind them has one source, the last part.

    Args:
        path: the file.
        network: the network as it was.
        plan: a plan for it.
        linear: whether fully connected layers are written; see `executed_layers`.

    Returns:
        The names of layers that keep fewer weights than the file says, as ZigZag has no word for dropped
        kernel positions, nor for zeros of transposed convolutions: they are written with their whole size.

    Raises:
        InputError: the file cannot be written.
    """
    import yaml

    written = _written(network, plan, linear)
    entries: list[dict[str, Any]] = []
    for place, (shape, entry) in enumerate(written):
        before = len(entries) - 1
        _, behind = written[min(place + 1, len(written) - 1)]
        beside, layers = side_by_side(entry.kind), _executed_by(shape, entry)
        for index, layer in enumerate(layers):
            number = len(entries)
            ends = beside or index == len(layers) - 1
            bits = behind.input_bits or FLOAT_BITS if ends else layer.input_bits
            # Layers are counted from the first one, which has none before it and names itself.
            source = before if beside else number - 1
            entries.append(_zigzag_layer(number, layer, max(source, 0), bits))
    # A line for each list of numbers, and the keys in the order in which ZigZag's own files have them.
    text = yaml.safe_dump(entries, sort_keys=False, default_flow_style=None, width=130)
    write_text(path, text)
    # By the names that the network has: the stages of a pair are one layer to whoever reads this.
    whole = []
    for shape, entry in written:
        words, _ = unsaid(entry.kind)
        if words or shape.zeros:
            whole.append(shape.name)
    return tuple(whole)


def _zigzag_layer(number: int, layer: ExecutedLayer, source: int, output_bits: int) -> dict[str, Any]:
    shape = layer.shape
    height, width = shape.output
    kernel_height, kernel_width = shape.kernel
    stride_y, stride_x = shape.stride
    dilation_y, dilation_x = shape.dilation
    top, bottom, left, right = shape.padding
    outputs = shape.m // shape.groups
    inputs = shape.in_channels // shape.groups
    return {
        "id": number,
        "name": shape.name,
        "operator_type": "Conv",
        # Groups are a loop of their own, as in ZigZag's grouped convolutions.
        "equation": "O[b][g][k][oy][ox]+=W[g][k][c][fy][fx]*I[b][g][c][iy][ix]",
        "dimension_relations": [
            f"ix={stride_x}*ox+{dilation_x}*fx",
            f"iy={stride_y}*oy+{dilation_y}*fy",
        ],
        "loop_dims": ["B", "G", "K", "C", "OY", "OX", "FY", "FX"],
        "loop_sizes": [1, shape.groups, outputs, inputs, height, width, kernel_height, kernel_width],
        "pr_loop_dims": ["IX", "IY"],
        "pr_loop_sizes": [shape.input[1], shape.input[0]],
        "padding": [[left, right], [top, bottom]],
        "operand_precision": {
            "W": layer.weight_bits,
            "I": layer.input_bits,
            "O": ACCUMULATOR_BITS,
            "O_final": output_bits,
        },
        "operand_source": {"W": number, "I": source},
    }
