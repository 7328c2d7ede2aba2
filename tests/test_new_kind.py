"""A kind of layer from outside the package goes through everything that those of the package do.

Registered, that of `common/first_channels.py` is checked, saved and loaded in plans; counted in cycles and
energy; put into networks, quantised, trained and saved; simulated on arrays; planned; drawn in its own words;
and known to the command line, to results and fronts.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest
import torch
from onnx import helper
from torch import Tensor, nn
from torch.nn import functional as F

import rankfold
from common.first_channels import (
    FirstChannels,
    FirstChannelsConv2d,
    FirstChannelsSurgery,
    ReadFewer,
    known,
)
from common.graphs import model as graph
from common.graphs import save as graph_file
from common.graphs import weight
from common.two_convolutions import net
from rankfold.cli.main import main
from rankfold.cost import CostKey, network_cycles
from rankfold.cost.energy import load_table, network_energy
from rankfold.errors import InputError
from rankfold.export.dense import merge
from rankfold.mapping import MAPPINGS, ArraySpec, map_layer
from rankfold.models.zoo import build
from rankfold.plan import LayerPlan, LowRank, Plan, check_plan, coverage, uniform_plan
from rankfold.plan.kinds import registered, unregister_kind
from rankfold.planning import PlanningOptions, planning_problem
from rankfold.report.arrays.picture import planned_panels
from rankfold.report.pareto.write import front_table, write_front
from rankfold.runs.result import Result
from rankfold.simulator import simulate, simulated_layers
from rankfold.surgery.compress import compress_
from rankfold.surgery.onnx.decompose import decompose_onnx
from rankfold.surgery.quantise import quantise_
from rankfold.surgery.saving import load_, save
from rankfold.workload import Network, trace, zoo_network
from rankfold.workload.onnx.layers import analyse_onnx

RESULT = "data/version-0.1/runs/low-rank/result.json"
ARRAY = ArraySpec(32, 32, cell_bits=2, coding="differential", dac_bits=1)
IMAGE = (3, 16, 16)


@pytest.fixture(autouse=True)
def registered_here() -> Iterator[None]:
    """The kind and the method are registered, for these tests only."""
    with known():
        yield


def half_plan(bits: int | None = 4) -> tuple[Network, Plan]:
    network = trace(build("resnet8", 10), IMAGE, "resnet8")
    return network, uniform_plan(network, ARRAY, ReadFewer(0.5), bits=bits)


def batches() -> list[Tensor]:
    return [torch.randn(16, *IMAGE, generator=torch.Generator().manual_seed(seed)) for seed in range(3)]


def test_a_method_of_ones_own_plans_it() -> None:
    network, plan = half_plan()
    check_plan(plan, network)
    layer = plan.layer("layer2.0.conv1")
    assert (layer.kind, layer.mapping, layer.weight_bits) == (FirstChannels(8), "sdk", 4)
    assert layer.reason == "reads 8 of 16 channels"
    assert [layer.name for layer in plan.changed] == [
        layer.name for layer in uniform_plan(network, ARRAY, LowRank(rank=1, force=True)).changed
    ]


def test_a_plan_is_saved_loaded_and_checked(tmp_path: Path) -> None:
    network, plan = half_plan()
    plan.save(tmp_path / "plan.json")
    assert Plan.load(tmp_path / "plan.json") == plan
    entry = plan.layer("layer1.0.conv1").to_json()
    assert (entry["kind"], entry["channels"]) == ("first-channels", 8)
    for change, message in (
        (
            {"mapping": "best"},
            r"mapping \(=best\) of a first-channels layer must be one of im2col, sdk, vw-sdk",
        ),
        ({"channels": 0}, "channels: 0 is less than the minimum of 1"),
        ({"rank": 4}, "only low-rank and window-low-rank layers have rank, this one is first-channels"),
    ):
        content = plan.to_json()
        content["layers"][1] |= change
        with pytest.raises(InputError, match=message):
            Plan.from_json(content)
    layers = (plan.layers[0], replace(plan.layers[1], kind=FirstChannels(17)), *plan.layers[2:])
    with pytest.raises(InputError, match=r"layer layer1\.0\.conv1: channels \(=17\) must be of"):
        check_plan(replace(plan, layers=layers), network)


def test_cycles_and_energy_are_those_of_the_channels_that_are_read() -> None:
    network, plan = half_plan()
    costs = network_cycles(network, plan, MAPPINGS)
    table = load_table("rram-22nm")
    energy, dense = (
        network_energy(network, plan, table),
        network_energy(network, uniform_plan(network, ARRAY, bits=4), table),
    )
    for layer in costs.layers:
        shape = layer.shape
        if isinstance(layer.entry.kind, FirstChannels):
            shape = replace(shape, in_channels=shape.in_channels // 2)
        assert layer.chosen == map_layer(shape, ARRAY, "sdk")
        assert layer.parameters == shape.parameters
    assert (
        costs.chosen_cycles
        == costs.total[CostKey("first-channels", "sdk")]
        < costs.total[CostKey.dense("sdk")]
    )
    assert 0 < energy.energy < dense.energy and energy.arrays < dense.arrays
    content = json.loads(json.dumps(costs.to_json()))
    assert (
        content["total"]["cycles"]["first-channels-vw-sdk"]
        == costs.total[CostKey("first-channels", "vw-sdk")]
    )
    assert CostKey.parse("first-channels-vw-sdk") == CostKey("first-channels", "vw-sdk")


def test_it_may_stand_beside_other_kinds() -> None:
    network, plan = half_plan()
    pairs = uniform_plan(network, ARRAY, LowRank(groups=2, rank="1/4", force=True), bits=4)
    mixed = replace(plan, layers=(*plan.layers[:4], *pairs.layers[4:]))
    check_plan(mixed, network)
    costs = network_cycles(network, mixed)
    assert (
        costs.chosen_cycles
        == costs.total[CostKey("low-rank", "sdk")]
        == costs.total[CostKey("first-channels", "sdk")]
    )
    # A layer that cannot be laid out by a mapping of another family counts as it was planned.
    best = [layer.cycles[CostKey("low-rank", "best")] for layer in costs.layers]
    assert best[1:4] == [layer.chosen_cycles for layer in costs.layers[1:4]]
    model = build("resnet8", 10)
    reports = {report.name: report for report in compress_(model, mixed, batches())}
    assert reports[plan.layers[1].name].output_error is None
    assert reports[pairs.layers[-2].name].output_error is not None
    fates = {layer.name: layer.fate for layer in coverage(network, mixed).layers}
    assert fates["layer1.0.conv1"] == "first-channels" and fates["layer3.0.conv2"] == "low-rank"


def test_surgery_puts_its_modules_into_a_network() -> None:
    model, dense = build("resnet8", 10).eval(), build("resnet8", 10).eval()
    _, plan = half_plan()
    reports = {report.name: report for report in compress_(model, plan)}
    conv, made = dense.layer1[0].conv1, model.layer1[0].conv1
    assert isinstance(made, FirstChannelsConv2d)
    weight = conv.weight.detach().clone()
    weight[:, 8:] = 0
    x = torch.randn(2, 16, 8, 8)
    torch.testing.assert_close(made(x), F.conv2d(x, weight, conv.bias, conv.stride, conv.padding))
    report = reports["layer1.0.conv1"]
    whole = conv.weight.detach()
    lost = (whole - weight).norm() / whole.norm()
    assert report.error == pytest.approx(float(lost))
    assert report.parameters_after * 2 == report.parameters_before


def test_it_is_quantised_trained_saved_and_loaded(tmp_path: Path) -> None:
    model = build("resnet8", 10)
    _, plan = half_plan()
    compress_(model, plan)
    plan = quantise_(model, plan, batches())
    assert all(layer.input_signed is not None for layer in plan.layers)
    optimiser = torch.optim.SGD(model.parameters(), 0.01)
    model(batches()[0]).square().mean().backward()
    optimiser.step()
    save(model, plan, tmp_path)
    again = build("resnet8", 10, seed=1)
    assert load_(again, tmp_path) == plan
    x = batches()[0]
    assert torch.equal(again.eval()(x), model.eval()(x))


def test_its_integers_go_through_the_arrays_of_its_plan() -> None:
    model = build("resnet8", 10)
    _, plan = half_plan()
    compress_(model, plan)
    plan = quantise_(model, plan, batches())
    on_arrays = simulate(model.eval(), plan)
    x = batches()[0][:4]
    seen: dict[str, Tensor] = {}
    for layer in simulated_layers(on_arrays):
        layer.all_tiles = True
        layer.register_forward_pre_hook(lambda layer, inputs: seen.__setitem__(layer.name, inputs[0]))
    with torch.no_grad():
        torch.testing.assert_close(on_arrays(x), model(x), rtol=1e-4, atol=1e-4)
    layers = {layer.name: layer for layer in simulated_layers(on_arrays)}
    assert len(layers) == len(plan.layers) and "layer1.0.conv1.conv" in layers
    for name, layer in layers.items():
        assert torch.equal(layer.accumulators(seen[name]), layer.ideal_accumulators(seen[name])), name


def test_it_is_drawn_in_its_own_words() -> None:
    network, plan = half_plan()
    shape = next(shape for shape in network.layers if shape.name == "layer1.0.conv1")
    (panel,) = planned_panels(shape, ARRAY, plan.layer(shape.name))
    assert panel.title == "First channels, SDK" and panel.meaning == "8 of 16"


@pytest.mark.parametrize("command", ["map", "energy", "draw"])
def test_the_command_line_knows_it(command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    network = zoo_network("resnet8")
    plan = uniform_plan(network, ARRAY, ReadFewer(0.5), bits=4)
    plan.save(tmp_path / "plan.json")
    words = {
        "map": ["--json"],
        "energy": ["--json"],
        "draw": ["--layer", "layer1.0.conv1", "--out", str(tmp_path / "layer.svg")],
    }
    assert main([command, "resnet8", "--plan", str(tmp_path / "plan.json"), *words[command]]) == 0
    printed = capsys.readouterr().out
    if command == "map":
        content = json.loads(printed)
        assert content["total"]["planned_cycles"] == network_cycles(network, plan).chosen_cycles
        assert content["coverage"][1]["fate"] == "first-channels"
    if command == "draw":
        assert "First channels, SDK" in (tmp_path / "layer.svg").read_text(encoding="utf-8")


def test_results_keep_to_its_own_schema(tmp_path: Path) -> None:
    content = json.loads((Path(__file__).parent / RESULT).read_text())
    for becomes, message in (
        ({"channels": 0}, "became no first-channels layer: at channels: 0 is less than the minimum of 1"),
        ({"channels": 4, "rank": 2}, "became no first-channels layer: at top level"),
        ({}, "a first-channels layer needs channels"),
    ):
        content["layers"][1] |= {
            "kind": "first-channels",
            "becomes": {"kind": "first-channels", **becomes},
        }
        (tmp_path / "result.json").write_text(json.dumps(content))
        with pytest.raises(InputError, match=message):
            Result.load(tmp_path / "result.json")


def test_the_planner_chooses_it_and_fronts_have_its_column(tmp_path: Path) -> None:
    model = net()
    with torch.no_grad():
        cast(Tensor, model[2].weight)[:, 4:] = 0  # so that nothing is lost by reading the first four alone
    problem = planning_problem(model, [torch.randn(16, 3, 8, 8)], ARRAY, options=PlanningOptions(images=16))
    losses = {}
    for candidate in problem.choices[1].candidates:
        losses[candidate.entry.kind] = candidate.loss
    assert losses[FirstChannels(4)] == 0 < max(losses.values())
    front = problem.front()
    table = front_table(front, problem.dense)
    assert table.splitlines()[0].split("  ")[-2:] == ["first few", "both"]
    write_front(tmp_path, front, "little", ARRAY, problem.dense)
    assert "first few" in (tmp_path / "front.html").read_text(encoding="utf-8")


def test_onnx_files_and_merged_networks_refuse_it_in_one_sentence(tmp_path: Path) -> None:
    nodes = [helper.make_node("Conv", ["x", "a.weight"], ["a"], pads=[1, 1, 1, 1])]
    nodes.append(helper.make_node("Conv", ["a", "b.weight"], ["b"], pads=[1, 1, 1, 1]))
    nodes.append(helper.make_node("Conv", ["b", "c.weight"], ["y"]))
    stored = [weight("a.weight", 8, 4, 3, 3), weight("b.weight", 8, 8, 3, 3), weight("c.weight", 4, 8, 1, 1)]
    source = analyse_onnx(graph_file(tmp_path, graph(nodes, stored, [("x", (1, 4, 8, 8))])))
    plan = uniform_plan(source.network, ARRAY, ReadFewer(0.5))
    with pytest.raises(InputError) as refused:
        decompose_onnx(source, plan)
    assert str(refused.value) == (
        "plan, layer b: an ONNX file can have low-rank layers only, this one is first-channels"
    )
    model = build("resnet8", 10)
    _, plan = half_plan()
    compress_(model, plan)
    with pytest.raises(InputError) as refused:
        merge(model)
    assert str(refused.value).endswith(
        "a FirstChannelsConv2d computes what no plain layer can; the network cannot be merged"
    )
    with pytest.raises(InputError, match=r"layer layer1\.0\.conv1 is a FirstChannelsConv2d already"):
        compress_(model, plan)


def test_a_module_must_say_which_dense_layer_it_equals() -> None:
    class Odd(FirstChannelsSurgery):
        def build(self, layer: LayerPlan, module: nn.Module) -> nn.Module:
            return nn.Identity()

    unregister_kind(FirstChannels)
    _, plan = half_plan()
    model = build("resnet8", 10)
    with (
        registered(FirstChannels, surgery=Odd()),
        pytest.raises(InputError, match="a first-channels layer became Identity, which must be a"),
    ):
        compress_(model, plan)
    assert isinstance(model.layer1[0].conv1, nn.Conv2d)


def test_the_package_knows_nothing_of_it() -> None:
    package = Path(rankfold.__file__).parent
    words = ("first-channels", "FirstChannels", "read-fewer", "first few")
    for path in package.rglob("*"):
        if path.suffix in (".py", ".json", ".html"):
            text = path.read_text(encoding="utf-8")
            assert not any(word in text for word in words), path
