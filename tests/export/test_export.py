"""`rankfold export`: ONNX files against torch, workload files read back, dense weights of the original network."""

from dataclasses import replace

import numpy as np
import onnx
import pytest
import torch
import yaml
from torch import nn

from rankfold.calibration.quantisers import calibrate_
from rankfold.cli.main import main
from rankfold.errors import InputError
from rankfold.export.merge import merge
from rankfold.export.onnx.check import compare_onnx
from rankfold.export.onnx.write import bypassed, write_onnx
from rankfold.export.workloads import executed_layers, write_csv, write_zigzag
from rankfold.mapping import ArraySpec
from rankfold.models.zoo import build
from rankfold.nn.low_rank import LowRankConv2d
from rankfold.nn.masked import masks_of
from rankfold.plan import pruned_plan, uniform_plan
from rankfold.surgery.compress import compress_, quantise_by_plan_
from rankfold.workload import trace, zoo_network
from rankfold.workload.onnx.layers import read_onnx
from rankfold.workload.table import read_table

pytest.importorskip("onnxruntime")
pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")
ARRAY = ArraySpec(32, 32)
IMAGE = (3, 16, 16)


def compressed(bits=None, linear=False):
    """A small network, compressed, and quantised where there are bits; and its plan."""
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 12, 3, stride=2), nn.ReLU(),
        nn.Flatten(), nn.Linear(12 * 49, 16), nn.ReLU(), nn.Linear(16, 5),
    )  # fmt: skip
    model(torch.randn(16, *IMAGE))  # gives batch norm statistics
    plan = uniform_plan(trace(model, IMAGE), ARRAY, 2, 3, bits=bits, linear=linear)
    compress_(model, plan)
    if bits is not None:
        plan = plan.with_signs({layer.name: layer.name in ("0", "3") for layer in plan.layers})
        quantise_by_plan_(model, plan)
        calibrate_(model, [torch.randn(32, *IMAGE, generator=torch.Generator().manual_seed(2))])
    return model.eval(), plan


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """The quantised network, with its ONNX files in float and with quantisers."""
    folder = tmp_path_factory.mktemp("written")
    model, plan = compressed(4, linear=True)
    write_onnx(model, IMAGE, folder / "float.onnx", False)
    write_onnx(model, IMAGE, folder / "qdq.onnx", True)
    return model, plan, folder


def batches(count=3, size=20):
    draw = torch.Generator().manual_seed(3)
    return [(torch.randn(size + i, *IMAGE, generator=draw), torch.randint(5, (size + i,), generator=draw)) for i in range(count)]


def test_onnxruntime_computes_what_torch_does(written):
    model, _, folder = written
    with bypassed(model):
        found = compare_onnx(model, folder / "float.onnx", batches())
    assert found.images == found.same == 63
    assert found.correct == found.correct_in_torch
    assert found.largest < 1e-5 * found.size
    found = compare_onnx(model, folder / "qdq.onnx", batches())
    # A value on the edge between two levels may round to either; no more than that.
    assert found.same >= 62 and found.images == 63


def test_weights_are_stored_as_levels(written):
    model, _, folder = written
    stored = {t.name: onnx.numpy_helper.to_array(t) for t in onnx.load(folder / "qdq.onnx").graph.initializer}
    layer = model.get_submodule("3.reduce")
    levels = stored["3.reduce.weight_quantized"]
    assert levels.dtype == np.int8 and np.abs(levels).max() <= 8
    assert np.array_equal(levels, layer.weight_quantiser.integers(layer.weight).numpy())
    assert "3.reduce.weight" not in stored


def test_the_written_files_are_read_back_as_they_run(written):
    model, _, folder = written
    for name in ("float.onnx", "qdq.onnx"):
        network = read_onnx(folder / name)
        assert [layer.anonymous for layer in network.layers] == [layer.anonymous for layer in trace(model, IMAGE).layers]
        assert [layer.name for layer in network.layers][:3] == ["0", "3.reduce", "3.expand"]


def test_a_float_network_has_no_quantisers_to_write(tmp_path):
    with pytest.raises(InputError, match="the network has no quantised layer; write it in float"):
        write_onnx(compressed()[0], IMAGE, tmp_path / "x.onnx", True)


def test_the_merged_network_computes_the_same_and_fits_the_original():
    model, _ = compressed(linear=True)
    merged = merge(model)
    assert isinstance(model[3], LowRankConv2d) and type(merged[3]) is nn.Conv2d and type(merged[6]) is nn.Linear
    x = torch.randn(4, *IMAGE)
    torch.testing.assert_close(merged(x), model(x), rtol=1e-4, atol=1e-5)
    fresh = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 12, 3, stride=2), nn.ReLU(),
        nn.Flatten(), nn.Linear(12 * 49, 16), nn.ReLU(), nn.Linear(16, 5),
    )  # fmt: skip
    fresh.load_state_dict(merged.state_dict())


def test_a_merged_quantised_network_has_the_rounded_weights():
    model, _ = compressed(4)
    merged = merge(model)
    assert not any(hasattr(module, "weight_quantiser") for module in merged.modules())
    first = model[0]
    torch.testing.assert_close(merged[0].weight, first.weight_quantiser(first.weight))
    reduce, expand = (stage.weight_quantiser(stage.weight) for stage in (model[3].reduce, model[3].expand))
    left, right = expand[:, :, 0, 0].reshape(12, 2, 3), reduce.reshape(2, 3, -1)
    product = torch.einsum("mgr,grn->mgn", left, right).reshape(12, 8, 3, 3)
    torch.testing.assert_close(merged[3].weight, product)


@pytest.mark.parametrize("method", ["row-sparse", "support"])
@pytest.mark.parametrize("bits", [None, 4])
def test_networks_of_few_positions_run_in_onnxruntime(method, bits, tmp_path):
    torch.manual_seed(0)
    model = build("resnet8", 10)
    network = trace(model, IMAGE)
    plan = uniform_plan(network, ARRAY, 2, "1/4", bits, entries=3)
    if method == "support":
        plan = pruned_plan(network, ARRAY, "support", 3, bits)
    compress_(model, plan)
    if bits is not None:
        quantise_by_plan_(model, plan.with_signs({layer.name: True for layer in plan.layers}))
        calibrate_(model, [torch.randn(32, *IMAGE, generator=torch.Generator().manual_seed(2))])
    write_onnx(model.eval(), IMAGE, tmp_path / "net.onnx", bits is not None)
    found = compare_onnx(model, tmp_path / "net.onnx", batches())
    assert found.same >= (63 if bits is None else 60)
    stored = [onnx.numpy_helper.to_array(tensor) for tensor in onnx.load(tmp_path / "net.onnx").graph.initializer]
    kernels = [weight for weight in stored if weight.ndim == 4 and weight.shape[2:] == (3, 3)]
    few = [weight for weight in kernels if (np.count_nonzero(weight.reshape(*weight.shape[:2], 9), axis=2) <= 3).all()]
    assert len(few) == len(masks_of(model)) > 0
    for write in (write_csv, write_zigzag):
        with pytest.raises(InputError, match=r"layer layer1\.0\.conv1 (keeps 3 positions|is pattern-pruned)"):
            write(tmp_path / "layers", network, plan)


def test_tables_are_read_back(tmp_path):
    network = zoo_network("resnet20")
    plan = uniform_plan(network, ARRAY, 4, "1/8", bits=4)
    write_csv(tmp_path / "net.csv", network, plan)
    again = read_table(tmp_path / "net.csv")
    executed = executed_layers(network, plan)
    assert [layer.anonymous for layer in again.layers] == [shape.anonymous for shape, _, _ in executed]
    assert again.layers[1].name == "layer1.0.conv1.reduce"
    assert {(weight, input_) for _, weight, input_ in executed} == {(8, 8), (4, 4)}


def test_channel_pruned_layers_are_written_with_the_channels_they_keep(tmp_path):
    network = zoo_network("resnet8", (1, 8, 8))
    plan = uniform_plan(network, ARRAY, bits=4)
    name = "layer1.0.conv1"
    layers = [
        replace(layer, kind="channel-pruned", in_channels=16, out_channels=10) if layer.name == name else layer
        for layer in plan.layers
    ]
    write_csv(tmp_path / "net.csv", network, replace(plan, layers=tuple(layers)))
    found = {layer.name: (layer.in_channels, layer.out_channels) for layer in read_table(tmp_path / "net.csv").layers}
    assert found[name] == (16, 10)
    assert found["layer1.0.conv2"] == (16, 16)


def test_zigzag_layers_have_the_macs_and_planes_of_the_network(tmp_path):
    network = zoo_network("mobilenetv2", image=(3, 64, 64))
    plan = uniform_plan(network, ARRAY)
    write_zigzag(tmp_path / "net.yaml", network, plan, linear=True)
    layers = yaml.safe_load((tmp_path / "net.yaml").read_text())
    assert [layer["name"] for layer in layers] == [layer.name for layer in network.layers]
    for entry, shape in zip(layers, network.layers, strict=True):
        sizes = dict(zip(entry["loop_dims"], entry["loop_sizes"], strict=True))
        assert np.prod(list(sizes.values())) == shape.macs
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


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory):
    """A finished run on digits, without training."""
    folder = tmp_path_factory.mktemp("runs")
    weights = folder / "resnet8.pt"
    torch.manual_seed(0)
    torch.save(build("resnet8", 10, 1).state_dict(), weights)
    settings = [
        "--data",
        "digits",
        "--array",
        "32x32",
        "--epochs",
        "0",
        "--decomposition",
        "svd",
        "--groups",
        "4",
        "--rank",
        "1/8",
    ]
    assert main(["compress", "resnet8", *settings, "--checkpoint", str(weights), "--out", str(folder / "run")]) == 0
    return folder / "run"


def test_on_the_command_line(run_folder, tmp_path, capsys):
    folder = str(run_folder)
    assert main(["export", folder, "--to", "onnx", "--out", str(tmp_path / "net.onnx"), "--data", "digits"]) == 0
    printed = capsys.readouterr().out
    assert "ONNX file with quantisers" in printed and "test images" in printed and "largest difference of a logit" in printed
    assert (
        main(["export", folder, "--to", "arrays", "--cell-bits", "2", "--dac-bits", "1", "--out", str(tmp_path / "arrays")]) == 0
    )
    assert "arrays of 32x32 with" in capsys.readouterr().out
    assert (tmp_path / "arrays" / "placement.json").exists()
    for target, name in (("zigzag", "net.yaml"), ("csv", "net.csv"), ("dense", "net.safetensors")):
        assert main(["export", folder, "--to", target, "--out", str(tmp_path / name)]) == 0
        assert (tmp_path / name).exists()
    assert main(["map", str(tmp_path / "net.csv"), "--array", "32x32"]) == 0
    capsys.readouterr()
    for arguments, message in (
        (["--to", "csv", "--precision", "float", "--out", "x"], "--precision goes with --to onnx, not with csv"),
        (["--to", "onnx", "--cell-bits", "2", "--out", "x"], "--cell-bits goes with --to arrays, not with onnx"),
        (["--to", "arrays", "--out", str(tmp_path / "arrays")], "is not an empty folder; use a new one"),
    ):
        assert main(["export", folder, *arguments]) == 2
        assert message in capsys.readouterr().err
    assert main(["export", str(tmp_path / "none"), "--to", "csv", "--out", "x"]) == 2
    assert "does not exist" in capsys.readouterr().err
