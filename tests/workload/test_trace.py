"""Tracing: every convolution with its real input size, and nothing of the model changed."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from rankfold.errors import InputError
from rankfold.workload import ConvShape, trace


class Branches(nn.Module):
    """Two branches that read the same input, joined and then run through one shared convolution twice."""

    def __init__(self) -> None:
        super().__init__()
        # Registered in another order than they run.
        self.head = nn.Linear(6, 2)
        self.shared = nn.Conv2d(6, 6, 3, padding=1)
        self.wide = nn.Conv2d(3, 4, 5, stride=2, padding=2)
        self.narrow = nn.ModuleList([nn.Conv2d(3, 2, 1, stride=2)])
        self.dropout = nn.Dropout(0.5)

    def forward(self, x: Tensor) -> Tensor:
        joined = torch.cat([self.wide(x), self.narrow[0](x)], 1)
        once = self.shared(joined)
        twice = self.shared(F.max_pool2d(once, 2))
        return self.head(self.dropout(twice).mean(dim=(2, 3)))


class Functional(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.kernel = nn.Parameter(torch.ones(5, 4, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(self.conv(x), weight=self.kernel)


def test_branches_and_shared_modules_are_recorded_in_execution_order() -> None:
    network = trace(Branches(), (3, 16, 12), "branches")
    assert network.layers == (
        ConvShape("wide", 3, 4, (5, 5), (16, 12), (2, 2), padding=(2, 2, 2, 2)),
        ConvShape("narrow.0", 3, 2, (1, 1), (16, 12), (2, 2)),
        ConvShape("shared", 6, 6, (3, 3), (8, 6), padding=(1, 1, 1, 1)),
        ConvShape("shared#2", 6, 6, (3, 3), (4, 3), padding=(1, 1, 1, 1), weight="shared"),
        ConvShape("head", 6, 2, (1, 1), (1, 1), kind="linear"),
    )
    assert [layer.name for layer in network.convolutions] == ["wide", "narrow.0", "shared", "shared#2"]


def test_one_module_under_two_names_is_one_weight() -> None:
    conv = nn.Conv2d(3, 3, 1)
    network = trace(nn.Sequential(conv, nn.ReLU(), conv), (3, 4, 4))
    assert [(layer.name, layer.weight) for layer in network.layers] == [("0", "0"), ("0#2", "0")]


def test_names_inside_sequential_and_module_list() -> None:
    model = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.Sequential(nn.ReLU(), nn.Conv2d(4, 2, (1, 3))), nn.Flatten(), nn.Linear(8, 5)
    )
    network = trace(model, (3, 6, 5))
    assert [(layer.name, layer.input) for layer in network.layers] == [
        ("0", (6, 5)),
        ("1.1", (4, 3)),
        ("3", (1, 1)),
    ]
    assert network.layers[1].kernel == (1, 3)


@pytest.mark.parametrize(
    "options, padding",
    [
        ({"kernel_size": 3, "padding": (2, 0)}, (2, 2, 0, 0)),
        ({"kernel_size": 3, "padding": "same"}, (1, 1, 1, 1)),
        pytest.param(
            {"kernel_size": (4, 3), "padding": "same", "dilation": (1, 2)},
            (1, 2, 2, 2),
            marks=pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel:UserWarning"),
        ),
        ({"kernel_size": 3, "padding": "valid"}, (0, 0, 0, 0)),
        ({"kernel_size": 2, "padding": "same", "groups": 2}, (0, 1, 0, 1)),
    ],
)
def test_padding_is_resolved_to_top_bottom_left_right(options: dict, padding: tuple[int, ...]) -> None:
    conv = nn.Conv2d(2, 4, **options)
    (layer,) = trace(nn.Sequential(conv), (2, 9, 8)).layers
    assert layer.padding == padding
    assert layer.groups == conv.groups
    assert layer.output == tuple(conv(torch.zeros(1, 2, 9, 8)).shape[-2:])


@given(data=st.data())
@settings(max_examples=40, deadline=None)
def test_traced_output_size_is_torch_s(data: st.DataObject) -> None:
    pair = lambda low, high: data.draw(st.tuples(st.integers(low, high), st.integers(low, high)))  # noqa: E731
    conv = nn.Conv2d(
        2,
        2,
        pair(1, 4),
        pair(1, 3),
        pair(0, 2),
        pair(1, 2),
        groups=data.draw(st.sampled_from([1, 2])),
        bias=False,
    )
    height, width = pair(7, 12)
    (layer,) = trace(nn.Sequential(conv), (2, height, width)).layers
    out = conv(torch.zeros(1, 2, height, width))
    assert layer.output == tuple(out.shape[-2:])
    assert layer.parameters == conv.weight.numel()
    # One image of ones through a kernel of ones, zeros padded as ones, adds every product once.
    assert layer.macs == conv.weight.numel() * out[0, 0].numel()


def test_functional_convolution_is_mapped_under_its_parameter_s_name_and_fixed() -> None:
    network = trace(Functional(), (3, 6, 6))
    assert [layer.name for layer in network.layers] == ["conv", "kernel"]
    assert network.layers[1].fixed == "called as a function, and only modules can be replaced"
    assert network.untouched == ()


def test_transposed_and_one_dimensional_convolutions_are_mapped_and_fixed() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ConvTranspose2d(4, 2, 2), nn.Flatten(2), nn.Conv1d(2, 1, 3))
    network = trace(model, (3, 6, 6))
    assert [layer.name for layer in network.layers] == ["0", "1", "3"]
    assert network.untouched == ()
    up, line = network.layers[1:]
    # Of stride 1 it is an ordinary convolution of the padded 4x4 inputs, which gives 5x5 outputs.
    assert (up.kernel, up.input, up.padding, up.output) == ((2, 2), (4, 4), (1, 1, 1, 1), (5, 5))
    assert (up.parameters, up.macs) == (32, 25 * 32)
    assert up.fixed.startswith("is a transposed convolution, mapped as the sub-pixel convolution it equals")
    # A kernel of 3 leaves 23 of the 25 in a row, 2*3 weights each.
    assert (line.kernel, line.input, line.macs) == ((1, 3), (1, 25), 23 * 6)
    assert line.fixed == "is a 1-d convolution, mapped as one of height 1"


def test_mode_parameters_buffers_and_hooks_are_left_as_they_were() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout(0.5), nn.Conv2d(4, 2, 1))
    model.train()
    model[1].eval()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    trace(model, (3, 6, 6))
    assert [module.training for module in model] == [True, False, True, True]
    assert model.training
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())
    assert not any(module._forward_pre_hooks for module in model)
    # A double model is run in double precision.
    assert len(trace(model.double(), (3, 6, 6)).layers) == 2


def test_a_failing_forward_is_one_sentence_and_changes_nothing() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(7, 2)).train()
    with pytest.raises(
        InputError, match=r"^mynet fails on an image of 3x6x6 \(C x H x W\): .*pass its real input size$"
    ):
        trace(model, (3, 6, 6), "mynet")
    assert model.training and not any(module._forward_pre_hooks for module in model)


def test_an_image_smaller_than_the_kernel_names_the_layer() -> None:
    with pytest.raises(InputError, match=r"layer 0: a kernel of 5x5 .* does not fit the padded input of 3x3"):
        trace(nn.Sequential(nn.Conv2d(3, 4, 5)), (3, 3, 3))


def test_a_silent_exception_is_named_by_its_type() -> None:
    class Broken(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            raise KeyError

    with pytest.raises(InputError, match="KeyError"):
        trace(Broken(), (3, 4, 4))


@pytest.mark.parametrize("model", [nn.Sequential(nn.BatchNorm2d(3)), nn.Identity()])
def test_a_network_without_layers_is_refused(model: nn.Module) -> None:
    with pytest.raises(InputError, match=r"runs no two-dimensional convolution and no fully connected layer"):
        trace(model, (3, 4, 4))
