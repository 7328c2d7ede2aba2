"""Array images: from the files alone, the reader in examples/ gets the simulator's integers and outputs."""

import json
from dataclasses import replace
from importlib import resources

import jsonschema
import numpy as np
import pytest
import torch
from torch import nn

from common.array_reader import run_arrays
from common.covers import in_parts
from common.window_network import IMAGE, network
from rankfold.calibration.quantisers import calibrate_
from rankfold.cost import network_cycles
from rankfold.errors import InputError
from rankfold.export.array_images.images import write_arrays
from rankfold.mapping import ArraySpec
from rankfold.models.zoo import build
from rankfold.nn.quantised import QuantLayer
from rankfold.plan import LowRank, SharedSupport, TrimmedLayer, WindowMarginsLayer, uniform_plan
from rankfold.plan.methods import WindowLowRank, Windows
from rankfold.simulator import simulate, simulated_layers
from rankfold.surgery.compress import compress_
from rankfold.surgery.quantise import insert_quantisers_
from rankfold.surgery.supports import with_supports
from rankfold.workload import trace

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning")  # of torch.export


class Awkward(nn.Module):
    """Dilated, strided, grouped and depthwise layers, a shared one on two sizes, residuals, pools,
    concatenation, a plane padded by copies of its margin, and fully connected layers on vectors."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(3, 6, (3, 2), stride=(2, 1), padding=(1, 0)), nn.BatchNorm2d(6), nn.ReLU6()
        )
        self.shared = nn.Conv2d(6, 6, 3, padding=2, dilation=2, bias=False)
        self.edge = nn.Conv2d(6, 6, 3, padding=1, padding_mode="replicate")
        self.depth = nn.Conv2d(6, 6, 3, padding=1, groups=6)
        self.grouped = nn.Conv2d(12, 8, 1, groups=2)
        self.hidden, self.fc = nn.Linear(8 * 2, 10), nn.Linear(10, 4)

    def forward(self, x):
        x = self.stem(x)
        x = x + self.shared(x)
        x = torch.relu(nn.functional.max_pool2d(x, 2) + 0.1)
        x = torch.cat((self.shared(x) * 0.5, self.depth(self.edge(x))), 1)
        x = nn.functional.avg_pool2d(self.grouped(x), 2)
        return self.fc(torch.sigmoid(self.hidden(x.flatten(1))))


def quantised(model, image, array, method=None, mapping="sdk", *, parts=False, kinds=None):
    """The model, quantised by a plan and calibrated on random images, in double precision; and the plan.

    With `parts`, planes are computed in parts where the plan has windows; layers in `kinds` become these.
    """
    traced = trace(model, image)
    plan = uniform_plan(traced, array, method, bits=4, mapping=mapping)
    if parts:
        plan = in_parts(plan, traced)
    changed = [(kinds or {}).get(layer.name, layer.kind) for layer in plan.layers]
    layers = [replace(layer, kind=kind) for layer, kind in zip(plan.layers, changed, strict=True)]
    plan = replace(plan, layers=tuple(layers))
    compress_(model, plan)
    plan = plan.with_signs({layer.name: index % 2 == 0 for index, layer in enumerate(plan.layers)})
    insert_quantisers_(model, plan)
    calibrate_(model, [torch.randn(8, *image, generator=torch.Generator().manual_seed(0))])
    return model.double().eval(), plan


def check(model, plan, folder, images=3):
    """Every accumulator and the outputs, from the files and from the simulator; returns the reader."""
    write_arrays(model, plan, folder)
    x = torch.randn(images, *plan.input, generator=torch.Generator().manual_seed(1)).double()
    reader = run_arrays.Network(folder)
    found = reader(x.numpy())
    simulated = simulate(model, plan)
    seen = {}
    for layer in simulated_layers(simulated):
        layer.all_tiles = True
        layer.register_forward_pre_hook(
            lambda module, inputs: seen.update(
                {(module.name, inputs[0].shape[2:]): module.accumulators(inputs[0])}
            )
        )
    with torch.no_grad():
        wanted = simulated(x)
    assert len(seen) == len(reader.sums)
    for (name, size), sums in seen.items():
        label = f"{name}@{size[0]}x{size[1]}" if len(size) == 2 else name
        np.testing.assert_array_equal(reader.sums[label], sums.numpy().reshape(reader.sums[label].shape))
    np.testing.assert_allclose(found, wanted.numpy(), rtol=1e-9, atol=1e-12)
    return reader


@pytest.mark.parametrize(
    "mapping, array",
    [
        ("best", ArraySpec(40, 24)),
        ("vw-sdk", ArraySpec(40, 24, cell_bits=2, dac_bits=1)),
        ("vw-sdk", ArraySpec(40, 24, cell_bits=2, coding="offset", dac_bits=1, converts="columns")),
        ("best", ArraySpec(64, 48, cell_bits=1, coding="offset", dac_bits=3, converts="columns")),
        ("tetris-sdk", ArraySpec(48, 32)),
        ("best", ArraySpec(40, 24, cell_bits=2, dac_bits=1, input_coding="sign-magnitude")),
        ("best", ArraySpec(40, 24, cell_bits=2, dac_bits=2, input_coding="differential")),
    ],
)
def test_the_reader_gets_the_simulator_s_integers(mapping, array, tmp_path):
    torch.manual_seed(0)
    model, plan = quantised(Awkward(), (3, 12, 9), array, mapping=mapping)
    check(model, plan, tmp_path / "arrays")


def test_low_rank_pairs_and_differential_cells(tmp_path):
    torch.manual_seed(1)
    array = ArraySpec(32, 32, cell_bits=3, coding="differential", dac_bits=2)
    model, plan = quantised(
        build("resnet8", 10), (3, 16, 16), array, LowRank(groups=2, rank="1/4", force=True)
    )
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, QuantLayer):
                # The lowest level has no magnitude of three bits.
                held = 2 ** (module.weight_quantiser.bits - 1) - 1
                module.weight.clamp_(min=-held * float(module.weight_quantiser.scale))
    plan = replace(plan, array=replace(array, cell_bits=4))
    reader = check(model, plan, tmp_path / "arrays", images=1)
    content = reader.content
    for array_ in content["arrays"]:
        cells = np.load(tmp_path / "arrays" / array_["file"])["cells"]
        assert cells.shape[0] == len(array_["rows"]) <= 32
        assert cells.shape[1] <= 32
        assert cells.min() >= 0 and cells.max() <= 15
    named = {layer["name"]: layer for layer in content["layers"]}
    cycles = sum(
        len(region["activations"]) * len(region["arrays"])
        for layer in named.values()
        for region in layer["regions"]
    )
    assert cycles > 0 and "layer1.0.conv1.reduce@16x16" in named


@pytest.mark.parametrize("method", [LowRank(groups=2, rank="1/4", entries=3, force=True), SharedSupport(3)])
def test_images_hold_only_the_positions_that_all_outputs_share(method, tmp_path):
    torch.manual_seed(2)
    model = build("resnet8", 10)
    network = trace(model, (3, 12, 12))
    model, plan = quantised(model, (3, 12, 12), ArraySpec(32, 32), method)
    reader = check(model, plan, tmp_path / "arrays", images=1)
    costs = network_cycles(network, with_supports(plan, model))
    activations = 0
    for layer in reader.content["layers"]:
        if layer["kind"] == "conv":
            activations += sum(
                len(region["activations"]) * len(region["arrays"]) for region in layer["regions"]
            )
    assert activations == costs.chosen_cycles


class Twice(nn.Module):
    """One layer under two names, which runs under both, and a ReLU6 of torch's functions."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(3, 3, 3, padding=1)
        self.second = self.first
        self.fc = nn.Linear(3, 2)

    def forward(self, x):
        x = nn.functional.relu6(self.second(nn.functional.hardtanh(self.first(x))))
        return self.fc(x.mean((2, 3)))


def test_a_layer_under_two_names_runs_on_its_arrays_under_both(tmp_path):
    torch.manual_seed(3)
    model, plan = quantised(Twice(), (3, 6, 6), ArraySpec(32, 32))
    reader = check(model, plan, tmp_path / "arrays")
    steps = [step["layer"] for step in reader.content["steps"] if step["op"] == "layer"]
    assert steps == ["first@6x6", "first@6x6", "fc"]


def test_a_wrong_cell_is_noticed(tmp_path):
    torch.manual_seed(0)
    model, plan = quantised(Awkward(), (3, 12, 9), ArraySpec(40, 24))
    right = check(model, plan, tmp_path / "arrays", images=1)
    file = tmp_path / "arrays" / "arrays" / "00000.npz"
    cells = np.load(file)["cells"]
    np.savez_compressed(file, cells=cells + 1)
    wrong = run_arrays.Network(tmp_path / "arrays")
    wrong(torch.randn(1, *plan.input, generator=torch.Generator().manual_seed(1)).double().numpy())
    assert not np.array_equal(wrong.sums["stem.0@12x9"], right.sums["stem.0@12x9"])


def test_files_follow_the_schema(tmp_path):
    torch.manual_seed(0)
    model, plan = quantised(Awkward(), (3, 12, 9), ArraySpec(40, 24))
    write_arrays(model, plan, tmp_path / "arrays")
    content = json.loads((tmp_path / "arrays" / "placement.json").read_text())
    assert (content["_type"], content["_version"]) == ("rankfold.placement", 1)
    schema = json.loads(
        (resources.files("rankfold.export.array_images") / "placement.schema.json").read_text()
    )
    jsonschema.validate(content, schema)
    for wrong in ({"_version": 2}, {"arrays": [{"file": "x"}]}, {"more": 1}):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate({**content, **wrong}, schema)
    with pytest.raises(InputError, match="is not an empty folder"):
        write_arrays(model, plan, tmp_path / "arrays")


def test_a_coding_of_inputs_makes_a_second_version_of_the_file(tmp_path):
    """Readers of the first would drive other slices."""
    torch.manual_seed(0)
    array = ArraySpec(40, 24, dac_bits=1, input_coding="sign-magnitude")
    model, plan = quantised(Awkward(), (3, 12, 9), array)
    write_arrays(model, plan, tmp_path / "arrays")
    content = json.loads((tmp_path / "arrays" / "placement.json").read_text())
    assert (content["_version"], content["array"]["input_coding"]) == (2, "sign-magnitude")
    signed = [layer["input_levels"] for layer in content["layers"] if layer["input_levels"]["signed"]]
    assert {(levels["low"], *levels["slice_factors"]) for levels in signed} >= {(-7, 1, 2, 4)}
    schema = json.loads(
        (resources.files("rankfold.export.array_images") / "placement.schema.json").read_text()
    )
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**content, "_version": 1}, schema)
    whole = replace(plan, array=replace(array, dac_bits=None))
    with pytest.raises(InputError, match="is of slices, and inputs are driven whole"):
        write_arrays(model, whole, tmp_path / "more")


def test_what_arrays_cannot_hold_is_refused(tmp_path):
    model = build("resnet8", 10)
    with pytest.raises(InputError, match="layer conv1 of the plan has no bits, and arrays hold integers"):
        write_arrays(model, uniform_plan(trace(model, (3, 16, 16)), ArraySpec(32, 32)), tmp_path / "a")

    class Odd(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.fc = nn.Conv2d(3, 4, 3), nn.Linear(4, 2)

        def forward(self, x):
            return self.fc(torch.erf(self.conv(x)).mean((2, 3)))

    model, plan = quantised(Odd(), (3, 6, 6), ArraySpec(32, 32))
    with pytest.raises(
        InputError, match="the network computes erf between its layers, which no step of an array image"
    ):
        write_arrays(model, plan, tmp_path / "b")
    assert not (tmp_path / "b").exists()


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel:UserWarning")
@pytest.mark.parametrize(
    "method",
    [
        Windows(row_tiles=1, window=(2, 3)),
        Windows(row_tiles=99, window=(2, 3)),
        WindowLowRank(rank="1/2", row_tiles=1, window=(2, 3)),
    ],
    ids=str,
)
def test_windows_of_awkward_layers(method, tmp_path):
    torch.manual_seed(3)
    array = ArraySpec(40, 48, cell_bits=2, dac_bits=1)
    network = Awkward()
    network.edge = nn.Conv2d(6, 6, (2, 3), padding="same")  # one row of zeros more below than above
    # Planes of 6x8 and 3x4, which the window does not divide.
    model, plan = quantised(network, (3, 12, 9), array, method)
    check(model, plan, tmp_path / "arrays")


@pytest.mark.parametrize("mode", ["reflect", "replicate"])
def test_windows_of_planes_that_are_padded_by_their_own_pixels(mode, tmp_path):
    torch.manual_seed(4)
    network = Awkward()
    network.edge = nn.Conv2d(6, 6, 3, padding=1, padding_mode=mode)
    array = ArraySpec(40, 48, cell_bits=2, dac_bits=1)
    model, plan = quantised(network, (3, 12, 9), array, Windows(row_tiles=1, window=(2, 3)))
    assert plan.layer("edge").kind.window == (2, 3)
    check(model, plan, tmp_path / "arrays")


def test_planes_in_parts(tmp_path):
    """One with stride and groups among them; some windows reach over the edge of their part."""
    array = ArraySpec(40, 48, cell_bits=2, dac_bits=1)
    model, plan = quantised(network(), IMAGE, array, Windows(row_tiles=1, window=(2, 3)), parts=True)
    assert [layer.name for layer in plan.layers if isinstance(layer.kind, WindowMarginsLayer)] == ["3", "6"]
    check(model, plan, tmp_path / "arrays")


def test_trimmed_channels(tmp_path):
    """Channels picked from a plane, and constants put between those that are computed."""
    array = ArraySpec(40, 48, cell_bits=2, dac_bits=1)
    kinds = {"0": TrimmedLayer(gives="1d"), "3": TrimmedLayer("1d", "e7", (2, 3), 24)}
    model, plan = quantised(network(bias=True), IMAGE, array, kinds=kinds)
    check(model, plan, tmp_path / "arrays")
