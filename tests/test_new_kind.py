"""A kind of layer from outside the package: its five small classes, and all that follows from them.

`FirstChannels`, a layer that reads only the first of its input channels, is what a researcher would add. It
takes about fifty lines of code below and none in the package. Registered, it is checked, saved and loaded in
plans; counted in cycles and energy; put into networks, quantised, trained and saved; simulated on arrays;
drawn; and known to the command line.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, cast

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rankfold.calibration.moments import PatchMoments
from rankfold.cli.main import main
from rankfold.cost import CostKey, network_cycles
from rankfold.cost.energy import load_table, network_energy
from rankfold.cost.kinds import KindCost
from rankfold.errors import InputError
from rankfold.mapping import MAPPINGS, ArraySpec, map_layer
from rankfold.models.zoo import build
from rankfold.nn.plain import StandIn
from rankfold.plan import LayerKind, LayerPlan, LowRank, Plan, check_plan, coverage, uniform_plan
from rankfold.plan.kinds import registered
from rankfold.plan.methods import Method
from rankfold.report.arrays.picture import planned_panels
from rankfold.report.kinds.kind import KindPicture, PanelWords
from rankfold.report.methods import RunMethod
from rankfold.simulator import simulate, simulated_layers
from rankfold.surgery.compress import compress_
from rankfold.surgery.convertible import check_convertible
from rankfold.surgery.kinds import KindSurgery, Part, Replacement
from rankfold.surgery.quantise import quantise_
from rankfold.surgery.save import load_, save, save_weights
from rankfold.workload import ConvShape, Network, trace, zoo_network

# ---- the kind


@dataclass(frozen=True)
class FirstChannels(LayerKind):
    """A layer that reads only the first of its input channels."""

    name: ClassVar[str] = "first-channels"
    mappings: ClassVar[tuple[str, ...]] = ("im2col", "sdk", "vw-sdk")
    schema: ClassVar[Mapping[str, Any]] = {"channels": {"type": "integer", "minimum": 1}}

    channels: int

    def short(self) -> str:
        return f"first {self.channels}"

    def check(self, shape: ConvShape) -> None:
        if shape.groups > 1 or shape.is_linear or not 1 <= self.channels <= shape.in_channels:
            raise InputError(
                f"layer {shape.name}: channels (={self.channels}) must be of an ungrouped convolution's"
            )

    def holds(self, other: LayerKind) -> bool:
        return isinstance(other, FirstChannels) and other.channels <= self.channels


class FirstChannelsConv2d(nn.Module, StandIn):
    """Its module: a convolution of the channels that are read."""

    def __init__(self, conv: nn.Conv2d, channels: int) -> None:
        super().__init__()
        # (m, channels, kh, kw); all else is that of the convolution.
        window = (conv.kernel_size, conv.stride, conv.padding, conv.dilation, 1, conv.bias is not None)
        self.conv = nn.Conv2d(channels, conv.out_channels, *window, conv.padding_mode)
        self.conv.weight = nn.Parameter(conv.weight.detach()[:, :channels].clone())
        self.conv.bias = conv.bias

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x[:, : self.conv.in_channels])


class FirstChannelsSurgery(KindSurgery):
    """How a layer is replaced, and what it then consists of."""

    def check(self, layer: LayerPlan, module: nn.Module) -> None:
        check_convertible(layer.name, module)

    def build(self, layer: LayerPlan, module: nn.Module) -> nn.Module:
        return FirstChannelsConv2d(cast(nn.Conv2d, module), cast(FirstChannels, layer.kind).channels)

    def replace(
        self, layer: LayerPlan, module: nn.Module, moments: PatchMoments | None, mask: np.ndarray | None
    ) -> Replacement:
        weight = cast(Tensor, module.weight).detach()
        lost = weight[:, cast(FirstChannels, layer.kind).channels :]
        return Replacement(self.build(layer, module), float(lost.norm() / weight.norm()))

    def parts(self, layer: LayerPlan) -> tuple[Part, ...]:
        return (Part(f"{layer.name}.conv"),)


class FirstChannelsCost(KindCost):
    """How it is laid on arrays: as a layer of fewer channels; `family` names its costs."""

    family = "first-channels"

    def shape(self, shape: ConvShape, kind: LayerKind) -> ConvShape:
        return replace(shape, in_channels=cast(FirstChannels, kind).channels)


class FirstChannelsPicture(KindPicture):
    """What pictures and tables say of it."""

    families = ("first channels",)

    def method(self, kind: LayerKind) -> RunMethod:
        return RunMethod(("#123456", "#654321"), "first channels")

    def panel_words(self, kind: LayerKind, shape: ConvShape) -> PanelWords:
        return PanelWords("First channels", f"{cast(FirstChannels, kind).channels} of {shape.in_channels}")


@dataclass(frozen=True)
class ReadFewer(Method):
    """One setting for a whole network: every layer reads a share of its channels."""

    name: ClassVar[str] = "read-fewer"

    share: float

    def layer(self, shape: ConvShape) -> tuple[LayerKind, str]:
        kept = max(1, round(self.share * shape.in_channels))
        return FirstChannels(kept), f"reads {kept} of {shape.in_channels} channels"


@pytest.fixture(autouse=True)
def known() -> Iterator[None]:
    """The kind is registered, for these tests only."""
    parts = {
        "cost": FirstChannelsCost(),
        "surgery": FirstChannelsSurgery(),
        "picture": FirstChannelsPicture(),
    }
    with registered(FirstChannels, **parts):
        yield


# ---- what follows

ARRAY = ArraySpec(32, 32, cell_bits=2, coding="differential", dac_bits=1)
IMAGE = (3, 16, 16)


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
        ({"rank": 4}, "only a low-rank layer has rank, this one is first-channels"),
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


def test_a_whole_run_goes_through_with_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = build("resnet8", 10, 1)
    network = trace(model, (1, 8, 8), "resnet8")
    plan = uniform_plan(network, ArraySpec(32, 32), ReadFewer(0.5), bits=4)
    plan.save(tmp_path / "plan.json")
    save_weights(tmp_path / "dense.safetensors", model)
    run, digits = str(tmp_path / "run"), ["--data", "digits"]
    given = ["--plan", str(tmp_path / "plan.json"), "--checkpoint", str(tmp_path / "dense.safetensors")]
    assert (
        main(["compress", "resnet8", *digits, *given, "--batch", "256", "--epochs", "1", "--out", run]) == 0
    )
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert result["layers"][1]["kind"] == "first-channels"
    assert result["planned_cycles"] == network_cycles(network, plan).chosen_cycles
    capsys.readouterr()
    assert main(["evaluate", run, *digits, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["accuracy"] == result["accuracy"]["final"]
    assert main(["report", run, "--out", str(tmp_path / "report.html")]) == 0
    assert main(["simulate", run, *digits, "--images", "50", "--json"]) == 0
