"""Workload files: read back, with the multiply-accumulates of what runs, and what they cannot say."""

import json
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import pytest
import yaml

from rankfold.cli.main import main
from rankfold.cost import network_cycles
from rankfold.cost.kinds import KindCost
from rankfold.errors import InputError
from rankfold.export.workloads import executed_layers, write_csv, write_zigzag
from rankfold.mapping import ArraySpec
from rankfold.mapping.window_matrix import window_shape
from rankfold.plan import (
    LowRank,
    Pairs,
    PatDNN,
    SharedSupport,
    WindowLowRank,
    WindowMarginsLayer,
    WindowPart,
    Windows,
    coverage,
    uniform_plan,
)
from rankfold.plan.kinds import ChannelLayer, LayerKind, registered
from rankfold.plan.support import support_to_text
from rankfold.workload import ConvShape, Network, zoo_network
from rankfold.workload.table import read_table

ARRAY = ArraySpec(32, 32)


def loops(entry):
    """The loop sizes of a layer of ZigZag, by dimension."""
    return dict(zip(entry["loop_dims"], entry["loop_sizes"], strict=True))


def macs(entry):
    return np.prod(list(loops(entry).values()))


def test_tables_are_read_back(tmp_path):
    network = zoo_network("resnet20")
    plan = uniform_plan(network, ARRAY, LowRank(groups=4, rank="1/8", force=True), bits=4)
    write_csv(tmp_path / "net.csv", network, plan)
    again = read_table(tmp_path / "net.csv")
    executed = executed_layers(network, plan)
    assert [layer.anonymous for layer in again.layers] == [layer.shape.anonymous for layer in executed]
    assert again.layers[1].name == "layer1.0.conv1.reduce"
    assert {(layer.weight_bits, layer.input_bits) for layer in executed} == {(8, 8), (4, 4)}


def test_fully_connected_layers_are_written_where_costs_count_them():
    """All of them where one is low-rank, and covered as such; else where they are asked for."""
    network = zoo_network("vgg16")
    linear = {layer.name for layer in network.layers if layer.is_linear}
    plan = uniform_plan(network, ARRAY, LowRank(rank="1/8", linear=True, force=True))
    changed = {layer.name for layer in plan.changed}
    assert linear & changed and linear - changed
    names = {layer.shape.name for layer in executed_layers(network, plan)}
    for name in linear:
        assert (f"{name}.reduce" in names) == (name in changed)
        assert (name in names) == (name not in changed)
    counted = [layer.shape.name for layer in network_cycles(network, plan).layers]
    assert linear <= set(counted)
    assert [layer.name for layer in coverage(network, plan).layers if layer.fate != "not mapped"] == counted
    dense = uniform_plan(network, ARRAY)
    assert not linear & {layer.shape.name for layer in executed_layers(network, dense)}
    assert linear <= {layer.shape.name for layer in executed_layers(network, dense, linear=True)}


def test_fully_connected_layers_are_written_where_there_are_no_others(tmp_path):
    layers = tuple(ConvShape(name, 48, 8, (1, 1), (1, 1), kind="linear") for name in "ab")
    network = Network("only", (3, 4, 4), layers)
    plan = uniform_plan(network, ARRAY)
    assert [layer.shape.name for layer in executed_layers(network, plan)] == ["a", "b"]
    assert {layer.fate for layer in coverage(network, plan).layers} == {"dense"}


def test_channel_pruned_layers_are_written_with_the_channels_they_keep(tmp_path):
    network = zoo_network("resnet8", (1, 8, 8))
    plan = uniform_plan(network, ARRAY, bits=4)
    name = "layer1.0.conv1"
    layers = []
    for layer in plan.layers:
        if layer.name == name:
            layer = replace(layer, kind=ChannelLayer(16, 10))
        layers.append(layer)
    plan = replace(plan, layers=tuple(layers))
    write_csv(tmp_path / "net.csv", network, plan)
    kept = {
        layer.name: (layer.in_channels, layer.out_channels)
        for layer in read_table(tmp_path / "net.csv").layers
    }
    assert kept[name] == (16, 10)
    assert kept["layer1.0.conv2"] == (16, 16)
    assert write_zigzag(tmp_path / "net.yaml", network, plan) == ()


def test_zigzag_layers_have_the_macs_and_planes_of_the_network(tmp_path):
    network = zoo_network("mobilenetv2", image=(3, 64, 64))
    plan = uniform_plan(network, ARRAY)
    assert write_zigzag(tmp_path / "net.yaml", network, plan, linear=True) == ()
    layers = yaml.safe_load((tmp_path / "net.yaml").read_text())
    assert [layer["name"] for layer in layers] == [layer.name for layer in network.layers]
    for entry, shape in zip(layers, network.layers, strict=True):
        sizes = loops(entry)
        assert macs(entry) == shape.macs
        planes = dict(zip(entry["pr_loop_dims"], entry["pr_loop_sizes"], strict=True))
        # The input that the relations span is the plane with its padding, less what no window reaches.
        for axis, out, kernel, plane in ((0, "OY", "FY", "IY"), (1, "OX", "FX", "IX")):
            relation = entry["dimension_relations"][1 - axis]
            stride, dilation = (int(part.split("*")[0]) for part in relation.split("=")[1].split("+"))
            reached = stride * (sizes[out] - 1) + dilation * (sizes[kernel] - 1) + 1
            padded = planes[plane] + sum(entry["padding"][1 - axis])
            assert padded - stride < reached <= padded
            assert planes[plane] == shape.input[axis]
        assert entry["operand_precision"]["W"] == 32


def test_parts_of_a_plane_read_the_layer_before_in_zigzag(tmp_path):
    """And outputs have the bits that the next layer reads, those between two stages the layer's own."""
    network = zoo_network("resnet8")
    plan = uniform_plan(network, ARRAY, LowRank(rank="1/4", force=True), bits=4)
    first, second, third, *rest = plan.layers
    height, width = network.layers[1].output
    parts = (
        WindowPart((0, 0), (height - 1, width), (1, 2), 64),
        WindowPart((height - 1, 0), (1, width), (1, 3)),
    )
    second = replace(second, kind=WindowMarginsLayer(parts), mapping="im2col")
    plan = replace(plan, layers=(first, second, replace(third, input_bits=3), *rest))
    assert write_zigzag(tmp_path / "net.yaml", network, plan) == (second.name,)
    layers = yaml.safe_load((tmp_path / "net.yaml").read_text())
    names = [layer["name"] for layer in layers[:5]]
    assert names[1:] == [
        f"{second.name}.parts.0.matrix",
        f"{second.name}.parts.1.matrix",
        f"{third.name}.reduce",
        f"{third.name}.expand",
    ]
    assert [layer["operand_source"]["I"] for layer in layers[:5]] == [0, 0, 0, 2, 3]
    assert [layer["operand_precision"]["O_final"] for layer in layers[:5]] == [4, 3, 3, 3, 4]
    with pytest.raises(InputError, match="drives 64 and all inputs of its parts' windows, and which"):
        write_csv(tmp_path / "net.csv", network, plan)


@pytest.mark.parametrize(
    "method, words",
    [
        (SharedSupport(3), "keeps 3 positions of its kernels, and which ones is chosen on data"),
        (PatDNN(4), "is pattern-pruned, which workload files have no word for; export a dense"),
        (Pairs(4), "is pattern-pruned, which workload files have no word for; export a dense"),
        (
            LowRank(rank="1/4", entries=3, force=True),
            "keeps 3 positions of its kernels, and which ones is chosen on data; export a finished run",
        ),
    ],
)
def test_layers_that_drop_positions_are_whole_in_zigzag_and_refused_as_csv(method, words, tmp_path):
    network = zoo_network("resnet8")
    plan = uniform_plan(network, ARRAY, method, bits=4)
    dropping = [layer.name for layer in plan.changed if getattr(layer.kind, "entries", None) is not None]
    assert dropping and write_zigzag(tmp_path / "net.yaml", network, plan) == tuple(dropping)
    entries = yaml.safe_load((tmp_path / "net.yaml").read_text())
    written = sum(macs(entry) for entry in entries)
    assert written == sum(layer.shape.macs for layer in executed_layers(network, plan))
    if not isinstance(method, LowRank):
        assert written == sum(shape.macs for shape in network.convolutions)
    with pytest.raises(InputError, match=rf"layer layer1\.0\.conv1 {words}"):
        write_csv(tmp_path / "net.csv", network, plan)
    assert not (tmp_path / "net.csv").exists()


@pytest.mark.parametrize(
    ("method", "parts"),
    [
        (Windows(row_tiles=2), ("matrix",)),  # windows of 1x2 pixels and of one
        (WindowLowRank(rank="1/4", row_tiles=2), ("reduce", "expand")),
    ],
    ids=str,
)
def test_windows_go_through_a_table_with_the_inputs_that_they_drive(method, parts, tmp_path):
    network = zoo_network("resnet8")
    plan = uniform_plan(network, ARRAY, method, bits=4)
    with pytest.raises(InputError, match="drives 64 inputs of a window, and which ones is chosen on data"):
        write_csv(tmp_path / "net.csv", network, plan)
    layers = []
    shapes = {shape.name: shape for shape in network.layers}
    for layer in plan.layers:
        if layer.kind.shares_support:
            whole = window_shape(shapes[layer.name], layer.kind.window)
            support = np.zeros(whole.n, bool)
            support[: layer.kind.rows] = True  # some channels keep all of their inputs, others none
            text = support_to_text(support.reshape(whole.in_channels, -1))
            layer = replace(layer, kind=layer.kind.with_support(text))
        layers.append(layer)
    plan = replace(plan, layers=tuple(layers))
    write_csv(tmp_path / "net.csv", network, plan)
    read = read_table(tmp_path / "net.csv")
    counted = network_cycles(read, uniform_plan(read, ARRAY, bits=4, mapping="im2col"))
    wanted = network_cycles(network, plan)
    by_name = {layer.shape.name: layer.chosen.cycles for layer in counted.layers}
    for layer in wanted.layers:
        if layer.entry.kind.shares_support:
            own = sum(by_name[f"{layer.shape.name}.{part}"] for part in parts)
            assert own == layer.chosen.cycles


@pytest.mark.parametrize("method", [SharedSupport(3), LowRank(rank="1/4", groups=2, entries=3, force=True)])
def test_known_positions_go_through_a_table_and_are_counted_there(method, tmp_path, capsys):
    network = zoo_network("resnet8")
    plan = uniform_plan(network, ARRAY, method, bits=4)
    draw = np.random.default_rng(0)
    layers = []
    shapes = {shape.name: shape for shape in network.layers}
    for layer in plan.layers:
        if layer.kind.shares_support:
            support = np.zeros((shapes[layer.name].in_channels, 9), bool)
            for row in support:
                row[draw.choice(9, 3, replace=False)] = True
            layer = replace(layer, kind=layer.kind.with_support(support_to_text(support)))
        layers.append(layer)
    plan = replace(plan, layers=tuple(layers))
    path = tmp_path / "net.csv"
    write_csv(path, network, plan)
    read = read_table(path)
    counted = network_cycles(read, uniform_plan(read, ARRAY, bits=4))
    wanted = network_cycles(network, plan)
    if isinstance(method, SharedSupport):
        assert counted.chosen_cycles == wanted.chosen_cycles
    else:
        # A stage of a pair is laid out as a pruned layer, for which `sdk` knows fewer windows.
        assert counted.chosen_cycles >= wanted.chosen_cycles
    stored = [layer.parameters for layer in counted.layers]
    assert sum(stored) == sum(layer.parameters for layer in wanted.layers)
    # Fewer than the same shapes need without their positions.
    whole = replace(read, supports=())
    assert counted.chosen_cycles < network_cycles(whole, uniform_plan(whole, ARRAY, bits=4)).chosen_cycles
    assert main(["map", str(path), "--array", str(ARRAY), "--json"]) == 0
    content = json.loads(capsys.readouterr().out)
    assert content["total"]["planned_parameters"] == sum(stored)


def test_positions_in_a_table_must_fit_their_layer(tmp_path):
    head = "name,in_channels,out_channels,kernel,input,support"
    for support, words in (
        ("1ff 1ff", "entries"),  # one channel alone may keep all
        ("3", "support is for 1 input channels, the layer has 2"),
        ("3 x", "support must be hexadecimal numbers"),
        ("0 0", "support must keep at least one position"),
    ):
        path = tmp_path / "net.csv"
        path.write_text(f"{head}\nconv,2,4,3,8,{support}\n")
        with pytest.raises(InputError, match=words):
            uniform_plan(read_table(path), ARRAY)


@dataclass(frozen=True)
class Odd(LayerKind):
    """A kind that nothing says how to write."""

    name: ClassVar[str] = "odd"


def test_a_kind_of_one_s_own_is_written_as_the_layer_was(tmp_path):
    network = zoo_network("resnet8")
    with registered(Odd, cost=KindCost()):
        plan = uniform_plan(network, ARRAY)
        first, second, *rest = plan.layers
        plan = replace(plan, layers=(first, replace(second, kind=Odd()), *rest))
        assert write_zigzag(tmp_path / "net.yaml", network, plan) == (second.name,)
        with pytest.raises(InputError, match=f"layer {second.name} is odd, which workload files have no"):
            write_csv(tmp_path / "net.csv", network, plan)


def test_no_spreadsheet_runs_a_name(tmp_path):
    shape = ConvShape("=cmd|'/c calc'!A0", 3, 4, (3, 3), (8, 8))
    network = Network("net", (3, 8, 8), (shape,))
    write_csv(tmp_path / "net.csv", network, uniform_plan(network, ARRAY))
    row = (tmp_path / "net.csv").read_text().splitlines()[1]
    assert row.startswith("'=")
