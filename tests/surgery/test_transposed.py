"""Transposed convolutions as sub-pixel ones: exact, then layers like any other, from planning to files."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from torch import nn
from torch.nn.utils import prune
from torch.nn.utils.parametrizations import weight_norm

from common.array_reader import run_arrays
from common.cells import CELLS
from common.transposed import transposed_cases
from rankfold.cost import network_cycles
from rankfold.errors import InputError
from rankfold.export.array_images.images import write_arrays
from rankfold.export.workloads import write_zigzag
from rankfold.mapping import ArraySpec
from rankfold.models.load import apply_weights, load_model
from rankfold.nn.sub_pixel import SubPixelConv2d
from rankfold.plan import LowRank, LowRankLayer, Quantise, WindowLayer, Windows, uniform_plan
from rankfold.plan.rules import LayerRule
from rankfold.planning import best_plan
from rankfold.planning.exact import Budget
from rankfold.simulator import simulate, simulated_layers
from rankfold.surgery import replace_transposed_
from rankfold.surgery.compress import compress_
from rankfold.surgery.onnx.decompose import decompose_onnx
from rankfold.surgery.quantise import quantise_
from rankfold.surgery.saving import load_, save
from rankfold.workload import trace
from rankfold.workload.onnx.layers import analyse_onnx, read_onnx

IMAGE, ARRAY = (3, 8, 8), ArraySpec(32, 32)


class Decoder(nn.Module):
    """Down, and up again twice, to a map of classes and the mean of it."""

    def __init__(self, num_classes=4):
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, stride=2, padding=1)
        self.up = nn.ConvTranspose2d(8, 12, 3, stride=2, padding=1, output_padding=1)
        self.norm = nn.BatchNorm2d(12)
        self.wide = nn.ConvTranspose2d(12, 8, (2, 4), stride=(2, 1), padding=(0, 1), bias=False, groups=2)
        self.head = nn.Conv2d(8, num_classes, 1)

    def forward(self, x):
        x = torch.relu(self.norm(self.up(torch.relu(self.stem(x)))))
        return self.head(torch.relu(self.wide(x))).mean((2, 3))


def decoder():
    torch.manual_seed(0)
    return Decoder().eval()


def images(count=16):
    return torch.randn(count, *IMAGE, generator=torch.Generator().manual_seed(1))


def weight_normed():
    return weight_norm(nn.Conv2d(8, 8, 3, padding=1))


def pruned():
    layer = nn.Conv2d(8, 8, 3, padding=1)
    prune.l1_unstructured(layer, "weight", 0.5)
    return layer


LEFT_ALONE = {
    "transposed": lambda: nn.ConvTranspose2d(8, 8, 3, padding=1),
    "parametrised": weight_normed,
    "pruned by torch": pruned,
}


@pytest.mark.parametrize("middle", LEFT_ALONE.values(), ids=LEFT_ALONE)
def test_layers_that_no_plan_changes_go_through_all_steps(middle, tmp_path):
    """They keep their weights in float, under whatever names these have."""

    def made():
        torch.manual_seed(0)
        layers = [nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 8, 3, padding=1), nn.ReLU()]
        return nn.Sequential(*layers, middle(), nn.Flatten(), nn.Linear(512, 4)).eval()

    model, batches = made(), [images()]
    plan = uniform_plan(trace(model, IMAGE), ARRAY, LowRank(rank=2), bits=4)
    compress_(model, plan, batches)
    settled = quantise_(model, plan, batches)
    assert settled.layer("4").weight_bits is None and settled.layer("2").weight_bits == 4
    save(model, settled, tmp_path)
    fresh = made()
    load_(fresh, tmp_path)
    assert torch.equal(fresh(images()), model(images()))
    with pytest.raises(InputError, match=r"layer 4 of the plan has no bits.*and this one (is|has)"):
        write_arrays(model, settled, tmp_path / "arrays")


@settings(max_examples=60)
@given(transposed_cases())
def test_a_sub_pixel_convolution_is_the_transposed_one(case):
    module = case.module()
    model = nn.Sequential(module)
    x = torch.randn(2, case.in_channels, *case.size).double()
    expected = module(x)
    assert replace_transposed_(model) == ("0.conv",)
    torch.testing.assert_close(model(x), expected, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(model(x[0]), expected[0], rtol=1e-12, atol=1e-12)
    # Tracing now finds a plain convolution of the sizes that it was counted with before.
    (counted,) = trace(nn.Sequential(module), (case.in_channels, *case.size)).layers
    (layer,) = trace(model, (case.in_channels, *case.size)).layers
    assert layer.macs >= counted.macs
    assert (layer.kernel, layer.output, layer.out_channels, layer.fixed) == (
        counted.kernel,
        counted.output,
        counted.out_channels,
        "",
    )


def test_the_size_of_the_output_may_be_asked_for():
    module = nn.ConvTranspose2d(3, 2, 3, stride=2, padding=1)
    x = torch.randn(1, *IMAGE)
    made = SubPixelConv2d.of(module)
    for size in ((15, 15), (1, 2, 16, 15)):
        torch.testing.assert_close(made(x, output_size=size), module(x, output_size=list(size)))
    with pytest.raises(ValueError, match="cannot give an output of 17"):
        made(x, output_size=(17, 17))


def test_what_would_lose_behaviour_stays():
    class Own(nn.ConvTranspose2d):
        pass

    model = nn.ModuleDict({name: nn.ConvTranspose2d(2, 2, 2) for name in ("plain", "hooked", "a", "b")})
    model["own"] = Own(2, 2, 2)
    model["hooked"].register_forward_hook(lambda *_: None)
    model["a"].weight = model["b"].weight
    assert replace_transposed_(model) == ("plain.conv",)
    assert type(model["own"]) is Own
    assert replace_transposed_(nn.ConvTranspose2d(2, 2, 2)) == ()


@pytest.mark.parametrize(
    ("method", "kind"),
    [(LowRank(rank=4, force=True), LowRankLayer), (Windows(row_tiles=1, window=(2, 2)), WindowLayer)],
    ids=["low-rank", "windows"],
)
def test_it_is_compressed_quantised_simulated_and_saved(method, kind, tmp_path):
    model = decoder().double()
    x = images().double()
    assert replace_transposed_(model) == ("up.conv", "wide.conv")
    network = trace(model, IMAGE)
    plan = uniform_plan(network, CELLS, method, bits=4)
    assert isinstance(plan.layer("up.conv").kind, kind)
    compress_(model, plan, [x])
    plan = quantise_(model, plan, [x])
    on_arrays = simulate(model, plan)
    on_arrays_too = {layer.name.rpartition(".conv.")[0] for layer in simulated_layers(on_arrays)}
    assert {"up", "wide"} <= on_arrays_too
    with torch.no_grad():
        expected = model(x)
        torch.testing.assert_close(on_arrays(x), expected)
    save(model, plan, tmp_path / "saved")
    fresh = decoder().double()
    replace_transposed_(fresh)
    load_(fresh, tmp_path / "saved")
    torch.testing.assert_close(fresh(x), expected)
    write_arrays(model, plan, tmp_path / "arrays")
    read = run_arrays.Network(tmp_path / "arrays")(x.numpy())
    np.testing.assert_allclose(read, expected.detach().numpy(), rtol=1e-6, atol=1e-8)


def test_it_is_planned_on_data():
    model = decoder()
    replace_transposed_(model)
    with torch.no_grad():
        pairs = [(images(), model(images()).argmax(1))]
    best = best_plan(model, pairs, CELLS, Budget.parse("cycles", "90%"))
    whole = network_cycles(trace(model, IMAGE), best.plan)
    assert {layer.shape.name for layer in whole.layers} == {"stem", "up.conv", "wide.conv", "head"}


def test_networks_by_name_have_them_and_take_weights_of_transposed_ones():
    given, x = decoder(), images()
    model = load_model(f"{__name__}:Decoder", 4)
    assert isinstance(model.up, SubPixelConv2d)
    apply_weights(model, given.state_dict(), "weights")
    torch.testing.assert_close(model.eval()(x), given(x))


def test_as_it_is_it_counts_on_real_cells_and_files_say_that_it_has_zeros(tmp_path):
    network = trace(decoder(), IMAGE)
    plan = uniform_plan(network, CELLS, Quantise(), bits=4)
    up = next(layer for layer in network_cycles(network, plan).layers if layer.shape.name == "up")
    # No plan gives it bits; it counts with 4, of two columns a weight and four slices of an input.
    assert up.entry.weight_bits is None
    assert up.shape.zeros == 8 * 12 * 7
    assert up.array_cycles > up.chosen_cycles
    assert up.parameters == 8 * 12 * 9
    assert write_zigzag(tmp_path / "net.yaml", network, plan) == ("up",)


@pytest.mark.filterwarnings("ignore::FutureWarning")  # of torch.export
def test_an_onnx_file_its_network_and_its_plans_have_one_name_for_it(tmp_path):
    path, x = str(tmp_path / "net.onnx"), images(1)
    given = decoder()
    torch.onnx.export(given, (x,), path, dynamo=True, verbose=False)
    network = read_onnx(path)
    model = load_model(path, None)
    assert [layer.name for layer in network.layers] == ["stem", "up.conv", "wide.conv", "head"]
    assert [layer.name for layer in trace(model, IMAGE).layers] == ["stem", "up.conv", "wide.conv", "head"]
    torch.testing.assert_close(model(x), given(x))
    # A plan for the file, made without torch, is one for the network.
    plan = uniform_plan(network, CELLS, LowRank(rank=4, force=True), bits=4)
    compress_(model, plan, [x])
    plan = quantise_(model, plan, [x])
    assert {"up.conv", "wide.conv"} <= {layer.name for layer in plan.changed}
    network_cycles(network, plan)
    # Without training the file keeps its own nodes, under the same names.
    source = analyse_onnx(path)
    low_rank = LowRank(rank=2, force=True, include_exclude=(LayerRule("stem", True),))
    made, reports = decompose_onnx(source, uniform_plan(source.network, CELLS, low_rank))
    assert [report.name for report in reports] == ["stem"]
    assert [node.op_type for node in made.graph.node].count("ConvTranspose") == 2
