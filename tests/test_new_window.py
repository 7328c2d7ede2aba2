"""A kind from outside whose layers are no dense layer with another weight: one matrix gives several outputs.

`WindowLayer` computes the outputs of a window from all inputs that any of them sees, as a convolution of the
window's kernel and stride whose outputs are then put in place. It reads larger patches than the layer did,
has a list among its fields, no `sdk` mapping, and no dense weight. Its classes below are all that says so.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, cast

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from rankfold.calibration.moments import PatchMoments
from rankfold.calibration.patches import Layer
from rankfold.calibration.sensitivity import LayerSensitivity
from rankfold.cost import CostKey, network_cycles
from rankfold.cost.energy import load_table, network_energy
from rankfold.cost.kinds import AnyMapping, KindCost
from rankfold.errors import InputError
from rankfold.mapping import ArraySpec, map_layer
from rankfold.nn.plain import StandIn
from rankfold.plan import LayerKind, LayerPlan, Plan, uniform_plan
from rankfold.plan.kinds import registered
from rankfold.plan.methods import Method
from rankfold.planning import PlanningOptions, layer_work, planning_problem
from rankfold.planning.exact.slots import LayerSlot
from rankfold.planning.kinds import ChosenSupport, KindCandidates, LayerStudy
from rankfold.report.arrays.panel import Panel
from rankfold.report.arrays.picture import dense_panels, planned_panels
from rankfold.report.kinds.kind import KindPicture
from rankfold.report.methods import RunMethod
from rankfold.simulator import simulate, simulated_layers
from rankfold.surgery.compress import compress_
from rankfold.surgery.kinds.kind import Part, Replacement, ReplacingSurgery
from rankfold.surgery.quantise import quantise_
from rankfold.workload import ConvShape, Network, trace
from rankfold.workload.shape import Pair

ARRAY = ArraySpec(32, 32, cell_bits=2, coding="differential", dac_bits=1)
SEEN: list[tuple[int, ...]] = []  # sizes of the moments that weights were made for


@dataclass(frozen=True)
class WindowLayer(LayerKind):
    """A layer that gives the outputs of a whole window at once."""

    name: ClassVar[str] = "dense-window"
    mappings: ClassVar[tuple[str, ...]] = ("im2col", "best")
    made_for_data: ClassVar[bool] = True
    schema: ClassVar[Mapping[str, Any]] = {
        "window": {
            "type": "array",
            "minItems": 2,
            "maxItems": 2,
            "items": {"type": "integer", "minimum": 1},
        }
    }

    window: tuple[int, int]

    def short(self) -> str:
        return f"{self.window[0]}x{self.window[1]}"

    def shape(self, shape: ConvShape) -> ConvShape:
        """The convolution that the window is."""
        kernel = [
            (count - 1) * stride + size
            for count, stride, size in zip(self.window, shape.stride, shape.kernel, strict=True)
        ]
        stride = [count * step for count, step in zip(self.window, shape.stride, strict=True)]
        return replace(
            shape,
            kernel=(kernel[0], kernel[1]),
            stride=(stride[0], stride[1]),
            out_channels=shape.m * self.window[0] * self.window[1],
        )


class WindowConv2d(nn.Module, StandIn):
    """One strided convolution with the outputs put in place; it starts as copies of the layer's kernel."""

    def __init__(self, conv: nn.Conv2d, window: Pair) -> None:
        super().__init__()
        self.window, self.kernel, self.stride = window, conv.kernel_size, conv.stride
        (a, b), (kh, kw), (down, right) = window, conv.kernel_size, conv.stride
        m, channels = conv.weight.shape[:2]
        size = (a - 1) * down + kh, (b - 1) * right + kw
        weight = torch.zeros(a, b, m, channels, *size)
        for y in range(a):
            for x in range(b):
                top, left = y * down, x * right
                weight[y, x, :, :, top : top + kh, left : left + kw] = conv.weight.detach()
        self.conv = nn.Conv2d(channels, a * b * m, size, (a * down, b * right), conv.padding)
        self.conv.weight = nn.Parameter(weight.flatten(0, 2))
        bias = torch.zeros(m)
        if conv.bias is not None:
            bias = conv.bias.detach()
        self.conv.bias = nn.Parameter(bias.repeat(a * b))

    def forward(self, x: Tensor) -> Tensor:
        """(B, C_in, H, W) -> (B, m, OH, OW)."""
        (a, b), y = self.window, self.conv(x)
        batch, _, height, width = y.shape
        y = y.reshape(batch, a, b, -1, height, width).permute(0, 3, 4, 1, 5, 2)
        return y.reshape(batch, -1, height * a, width * b)


class WindowSurgery(ReplacingSurgery):
    """Made for the moments of the window's inputs; its outputs are corrected copy by copy."""

    def reads(self, layer: LayerPlan, module: Layer) -> Layer:
        return WindowConv2d(cast(nn.Conv2d, module), cast(WindowLayer, layer.kind).window).conv

    def build(self, layer: LayerPlan, module: nn.Module) -> nn.Module:
        return WindowConv2d(cast(nn.Conv2d, module), cast(WindowLayer, layer.kind).window)

    def replace(
        self, layer: LayerPlan, module: nn.Module, moments: PatchMoments | None, mask: np.ndarray | None
    ) -> Replacement:
        assert moments is not None
        SEEN.append(moments.second.shape)
        return Replacement(self.build(layer, module), output_error=0.0)

    def correct_(
        self, module: nn.Module, norm: nn.Module | None, before: Tensor, moments: PatchMoments
    ) -> None:
        """Nothing was lost."""

    def parts(self, layer: LayerPlan) -> tuple[Part, ...]:
        return (Part(f"{layer.name}.conv"),)

    def dense_shape(self, layer: LayerPlan, module: nn.Module, parts: Sequence[ConvShape]) -> ConvShape:
        (shape,) = parts
        made = cast(WindowConv2d, module)
        a, b = made.window
        (kh, kw), (down, right) = made.kernel, made.stride
        return replace(
            shape,
            name=layer.name,
            weight="",
            kernel=(kh, kw),
            stride=(down, right),
            out_channels=shape.m // (a * b),
        )


class WindowCost(KindCost):
    """A convolution of the window's shape."""

    family = "windows"
    compared = ("im2col", "best")

    def mapping(
        self, shape: ConvShape, array: ArraySpec, entry: LayerPlan, mask: np.ndarray | None
    ) -> AnyMapping:
        return map_layer(cast(WindowLayer, entry.kind).shape(shape), array, entry.mapping)


class WindowCandidates(KindCandidates):
    """One window; what it loses is told from the inputs of the window."""

    def entries(self, slot: LayerSlot, support: ChosenSupport | None) -> Iterator[LayerPlan]:
        if support is None:
            yield replace(slot.entry, kind=WindowLayer((2, 2)), mapping="im2col")

    def reads(self, slot: LayerSlot) -> tuple[ConvShape, ...]:
        return (WindowLayer((2, 2)).shape(slot.shape),)

    def loss(self, kind: LayerKind, study: LayerStudy, sensitivity: LayerSensitivity) -> float:
        SEEN.append(study.second_of(cast(WindowLayer, kind).shape(study.slot.shape)).shape)
        return 0.0


class WindowPicture(KindPicture):
    """Two pictures explain it: the copies that it starts from, and its own cells."""

    families = ("window",)

    def method(self, kind: LayerKind) -> RunMethod:
        return RunMethod(("#aa3377",), "windows")

    def panels(
        self, shape: ConvShape, array: ArraySpec, entry: LayerPlan, mask: np.ndarray | None
    ) -> tuple[Panel, ...]:
        whole = map_layer(cast(WindowLayer, entry.kind).shape(shape), array, entry.mapping)
        return *dense_panels(shape, array, ["sdk"]), Panel("Windows", "every cell is a weight", whole)


@dataclass(frozen=True)
class Windows(Method):
    """Every layer whose outputs the window divides."""

    name: ClassVar[str] = "windows"
    title: ClassVar[str] = "windows"

    window: tuple[int, int]

    def layer(self, shape: ConvShape) -> tuple[LayerKind, str]:
        return WindowLayer(self.window), f"{self.window[0]}x{self.window[1]} outputs at once"


@pytest.fixture(autouse=True)
def known() -> Iterator[None]:
    SEEN.clear()
    parts = {
        "cost": WindowCost(),
        "surgery": WindowSurgery(),
        "picture": WindowPicture(),
        "candidates": WindowCandidates(),
    }
    with registered(WindowLayer, **parts):
        yield


def net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(4, 6, 3, stride=2, padding=1),
        nn.BatchNorm2d(6),
        nn.ReLU(),
        nn.Conv2d(6, 5, 3, padding=1),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(5, 4),
    ).eval()


def made() -> tuple[nn.Module, Network, Plan]:
    model = net()
    network = trace(model, (3, 8, 8), "net")
    return model, network, uniform_plan(network, ARRAY, Windows((2, 2)), bits=4)


def images(count: int = 8) -> Tensor:
    return torch.randn(count, 3, 8, 8, generator=torch.Generator().manual_seed(1))


def test_a_field_may_be_a_list_and_a_kind_need_not_know_sdk(tmp_path: Path) -> None:
    _, _, plan = made()
    plan.save(tmp_path / "plan.json")
    again = Plan.load(tmp_path / "plan.json")
    assert again == plan and again.layer("2").kind == WindowLayer((2, 2))
    assert hash(again.layer("2").kind) == hash(WindowLayer((2, 2)))
    assert json.loads((tmp_path / "plan.json").read_text())["layers"][1]["window"] == [2, 2]
    assert plan.layer("2").mapping == LayerPlan("2", WindowLayer((2, 2))).mapping == "im2col"
    with pytest.raises(InputError, match="window"):
        Plan.from_json(json.loads((tmp_path / "plan.json").read_text().replace("[2, 2]", "[2, 0]")))


def test_its_costs_are_those_of_a_convolution_of_the_window() -> None:
    _, network, plan = made()
    costs = network_cycles(network, plan)
    for cost in costs.layers:
        if isinstance(cost.entry.kind, WindowLayer):
            shape = cost.entry.kind.shape(cost.shape)
            assert cost.chosen == map_layer(shape, ARRAY, "im2col")
            assert cost.parameters == shape.parameters > cost.shape.parameters
    assert costs.chosen_cycles == costs.total[CostKey("windows", "im2col")] > 0
    assert network_energy(network, plan, load_table("rram-22nm")).energy > 0


def test_its_weights_are_made_for_the_inputs_of_the_window() -> None:
    model, _, plan = made()
    dense = net()
    reports = compress_(model, plan, [images()])
    # A window of 2x2 outputs of stride 2 sees 5x5 inputs of 4 channels, one of stride 1 4x4 of 6.
    assert SEEN == [(1, 100, 100), (1, 96, 96)]
    assert [report.kind.name for report in reports] == ["dense", "dense-window", "dense-window", "dense"]
    torch.testing.assert_close(model(images()), dense(images()))
    SEEN.clear()
    compress_(net(), plan, [images()], decomposition="sequential")
    assert SEEN == [(1, 100, 100), (1, 96, 96)]


def test_its_integers_go_through_the_arrays_of_its_plan() -> None:
    model, _, plan = made()
    compress_(model, plan, [images()])
    plan = quantise_(model, plan, [images()])
    on_arrays = simulate(model.eval(), plan)
    seen: dict[str, Tensor] = {}
    for layer in simulated_layers(on_arrays):
        layer.all_tiles = True
        layer.register_forward_pre_hook(lambda layer, inputs: seen.__setitem__(layer.name, inputs[0]))
    with torch.no_grad():
        torch.testing.assert_close(on_arrays(images()), model(images()), rtol=1e-4, atol=1e-4)
    names = {layer.name for layer in simulated_layers(on_arrays)}
    assert names == {"0", "2.conv", "5.conv", "8"}
    for layer in simulated_layers(on_arrays):
        inputs = seen[layer.name]
        assert torch.equal(layer.accumulators(inputs), layer.ideal_accumulators(inputs)), layer.name


def test_the_planner_has_the_moments_that_it_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    # Copies cost what SDK costs, so that other candidates beat them.
    for filtered in ("without_hopeless", "cheaper_than_lossless", "pareto"):
        monkeypatch.setattr(layer_work, filtered, lambda candidates, budgeted: tuple(candidates))
    problem = planning_problem(net(), [images()], ARRAY, options=PlanningOptions(images=8))
    assert sorted(SEEN) == [(1, 96, 96), (1, 100, 100)]
    found = [candidate.entry.kind for layer in problem.choices for candidate in layer.candidates]
    assert found.count(WindowLayer((2, 2))) == 2


def test_its_own_pictures_explain_it() -> None:
    _, network, plan = made()
    shape = next(shape for shape in network.layers if shape.name == "2")
    copies, own = planned_panels(shape, ARRAY, plan.layer("2"))
    assert (copies.title, own.title) == ("SDK", "Windows")
    assert own.mapping.stages[0].shape.kernel == (5, 5)
