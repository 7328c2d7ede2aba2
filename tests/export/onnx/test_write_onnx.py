"""Written ONNX files: onnxruntime computes what torch does, and they are read back as the network runs."""

from dataclasses import replace

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from common.covers import in_parts
from rankfold.calibration.onnx import Runner
from rankfold.calibration.quantisers import calibrate_
from rankfold.errors import InputError
from rankfold.export.onnx.check import compare_onnx
from rankfold.export.onnx.write import write_onnx
from rankfold.mapping import ArraySpec
from rankfold.nn.masked import masks_of
from rankfold.plan import LowRank, SharedSupport, WindowLowRankLayer, uniform_plan
from rankfold.plan.methods import Windows
from rankfold.surgery.compress import compress_
from rankfold.surgery.quantise import insert_quantisers_
from rankfold.workload import trace
from rankfold.workload.onnx.layers import read_onnx

pytest.importorskip("onnxruntime")
pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")
ARRAY = ArraySpec(32, 32)
IMAGE = (3, 16, 16)


def compressed(bits=None, signed=("0", "3")):
    """A small network, compressed, and quantised where there are bits."""
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Conv2d(8, 12, 3, stride=2),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(12 * 49, 16),
        nn.ReLU(),
        nn.Linear(16, 5),
    )
    model(torch.randn(16, *IMAGE))  # gives batch norm statistics
    plan = uniform_plan(
        trace(model, IMAGE), ARRAY, LowRank(groups=2, rank=3, linear=True, force=True), bits=bits
    )
    compress_(model, plan)
    if bits is not None:
        insert_quantisers_(
            model, plan.with_signs({layer.name: layer.name in signed for layer in plan.layers})
        )
        calibrate_(model, [torch.randn(32, *IMAGE, generator=torch.Generator().manual_seed(2))])
    return model.eval()


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """The quantised network, with its ONNX files in float and with quantisers."""
    folder = tmp_path_factory.mktemp("written")
    model = compressed(4)
    write_onnx(model, IMAGE, folder / "float.onnx", False)
    write_onnx(model, IMAGE, folder / "qdq.onnx")
    return model, folder


def batches(count=3, size=20):
    draw = torch.Generator().manual_seed(3)
    made = []
    for number in range(count):
        images = torch.randn(size + number, *IMAGE, generator=draw)
        made.append((images, torch.randint(5, (size + number,), generator=draw)))
    return made


def stored(path):
    """The stored tensors of a file by name."""
    return {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in onnx.load(path).graph.initializer}


def test_onnxruntime_computes_what_torch_does(written):
    model, folder = written
    check = compare_onnx(model, folder / "float.onnx", batches(), quantised=False)
    assert check.images == check.same == 63
    assert check.correct == check.correct_in_torch
    assert check.largest < 1e-5 * check.size
    check = compare_onnx(model, folder / "qdq.onnx", batches())
    # A value on the edge between two levels may round to either; no more than that.
    assert check.same >= 62 and check.images == 63


def test_the_network_is_left_as_it_was(written):
    model, folder = written
    x, _ = batches(1)[0]
    with torch.no_grad():
        before = model(x)
        compare_onnx(model, folder / "float.onnx", batches(1), quantised=False)
        torch.testing.assert_close(model(x), before, rtol=0, atol=0)


def test_unlabelled_images_have_no_accuracy_and_none_are_refused(written):
    model, folder = written
    check = compare_onnx(model, folder / "qdq.onnx", [(x, None) for x, _ in batches(1)])
    assert check.correct is None and check.correct_in_torch is None and check.images == 20
    with pytest.raises(InputError, match="there are no images to compare the file and the network on"):
        compare_onnx(model, folder / "qdq.onnx", [])


def test_weights_are_stored_as_levels(written):
    model, folder = written
    tensors = stored(folder / "qdq.onnx")
    layer = model.get_submodule("3.reduce")
    levels = tensors["3.reduce.weight_quantized"]
    assert levels.dtype == np.int8 and np.abs(levels).max() <= 8
    assert np.array_equal(levels, layer.weight_quantiser.integers(layer.weight).numpy())
    assert "3.reduce.weight" not in tensors


def test_files_are_read_back_as_they_run(written):
    model, folder = written
    for name in ("float.onnx", "qdq.onnx"):
        network = read_onnx(folder / name)
        runs = [layer.anonymous for layer in trace(model, IMAGE).layers]
        assert [layer.anonymous for layer in network.layers] == runs
        assert [layer.name for layer in network.layers][:3] == ["0", "3.reduce", "3.expand"]


def test_a_float_network_is_written_in_float(tmp_path):
    model = compressed()
    write_onnx(model, IMAGE, tmp_path / "net.onnx")
    assert "3.reduce.weight" in stored(tmp_path / "net.onnx")
    with pytest.raises(InputError, match="the network has no quantised layer; write it in float"):
        write_onnx(model, IMAGE, tmp_path / "qdq.onnx", True)
    assert not (tmp_path / "qdq.onnx").exists()


def test_inputs_of_one_bit_with_a_sign_are_refused(tmp_path):
    model = compressed(1, signed=("0", "3", "6", "8"))
    with pytest.raises(InputError, match=r"has inputs of one bit with a sign \(-1 and \+1\), which Quant"):
        write_onnx(model, IMAGE, tmp_path / "net.onnx")
    assert not (tmp_path / "net.onnx").exists()


@pytest.mark.parametrize("dtype", [torch.float16, torch.float64])
def test_other_precisions_are_written_without_quantisers(dtype, tmp_path):
    """QuantizeLinear takes float32 alone; runtimes refuse what mixes it with others."""
    model = compressed(4).to(dtype)
    words = f"layer 0 computes in {str(dtype)[6:]}, and ONNX's quantisers take float32"
    with pytest.raises(InputError, match=words):
        write_onnx(model, IMAGE, tmp_path / "net.onnx")
    assert not list(tmp_path.iterdir())
    write_onnx(model, IMAGE, tmp_path / "float.onnx", quantised=False)
    write_onnx(model.float(), IMAGE, tmp_path / "net.onnx")
    Runner(tmp_path / "net.onnx")({"input": np.zeros((2, *IMAGE), np.float32)})


@pytest.mark.parametrize("bits", [None, 4])
def test_dropped_positions_are_zeros_in_the_file(bits, tmp_path):
    """Of a row-sparse pair, and of a layer with a support."""
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(8, 12, 3, stride=2),
        nn.ReLU(),
        nn.Conv2d(12, 12, 3, padding=1),
        nn.Flatten(),
        nn.Linear(12 * 49, 5),
    )
    traced = trace(model, IMAGE)
    paired = uniform_plan(traced, ARRAY, LowRank(groups=2, rank="1/4", entries=3, force=True), bits=bits)
    supported = uniform_plan(traced, ARRAY, SharedSupport(3), bits=bits)
    first, pair, _, last = paired.layers
    plan = replace(paired, layers=(first, pair, supported.layer("4"), last))
    compress_(model, plan)
    if bits is not None:
        insert_quantisers_(model, plan.with_signs({layer.name: True for layer in plan.layers}))
        calibrate_(model, [torch.randn(32, *IMAGE, generator=torch.Generator().manual_seed(2))])
    write_onnx(model.eval(), IMAGE, tmp_path / "net.onnx")
    check = compare_onnx(model, tmp_path / "net.onnx", batches())
    assert check.same >= (63 if bits is None else 60)
    few = 0
    for weight in stored(tmp_path / "net.onnx").values():
        if weight.ndim == 4 and weight.shape[2:] == (3, 3):
            few += np.count_nonzero(weight, axis=(2, 3)).max() <= 3
    assert few == len(masks_of(model)) == 2


class Several(nn.Module):
    """Several inputs, one of them optional, and two outputs."""

    def __init__(self):
        super().__init__()
        self.conv, self.fc = nn.Conv2d(3, 4, 3), nn.Linear(5, 4)

    def forward(self, image, vector=None, scale=2.0):
        y = self.conv(image).mean((2, 3))
        if vector is not None:
            y = y + self.fc(vector)
        return y * scale, y


@pytest.mark.parametrize(
    "example, names, scale",
    [
        ([3, 8, 8], ["input"], 2.0),
        (torch.zeros(1, 3, 8, 8), ["input"], 2.0),
        ((torch.zeros(1, 3, 8, 8), torch.zeros(1, 5)), ["image", "vector"], 2.0),
        ((torch.zeros(2, 3, 8, 8), None, 3.0), ["image"], 3.0),
        ({"vector": torch.zeros(1, 5), "image": torch.zeros(1, 3, 8, 8)}, ["vector", "image"], 2.0),
    ],
)
def test_inputs_are_given_as_an_example(example, names, scale, tmp_path):
    torch.manual_seed(0)
    model = Several().eval()
    write_onnx(model, example, tmp_path / "net.onnx")
    runner = Runner(tmp_path / "net.onnx", 1)
    inputs = {"image": torch.randn(7, 3, 8, 8), "vector": torch.randn(7, 5)}
    inputs["input"] = inputs["image"]
    # Numbers among the inputs are part of the file, and the exporter may list them all the same.
    assert list(runner.inputs)[: len(names)] == names
    outputs = runner({name: inputs[name].numpy() for name in names})
    with torch.no_grad():
        vector = inputs["vector"] if "vector" in names else None
        wanted = model(inputs["image"], vector, scale)
    for value, other in zip(outputs, wanted, strict=True):
        np.testing.assert_allclose(value, other.numpy(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("example", [3, (3, 8), ("a", "b", "c"), None])
def test_an_example_that_is_none_is_refused(example, tmp_path):
    with pytest.raises(InputError, match=r"the example is a \w+; give the \(C, H, W\) of images, a batch"):
        write_onnx(Several(), example, tmp_path / "net.onnx")


def test_what_torch_cannot_export_is_refused_in_one_sentence(tmp_path):
    class Odd(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(3, 2)

        def forward(self, x):
            return self.fc(torch.from_numpy(np.sort(x.mean((2, 3)).numpy())))

    with pytest.raises(InputError, match="torch cannot export the network to ONNX: ") as caught:
        write_onnx(Odd(), IMAGE, tmp_path / "net.onnx")
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_windows_are_convolutions_whose_outputs_are_put_in_place(tmp_path):
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(8, 6, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(6, 8, 3, stride=2, padding=1, groups=2),
        nn.ReLU(),
        nn.Conv2d(8, 8, 3, padding=1, groups=2),
        nn.Flatten(),
        nn.Linear(8 * 64, 5),
    )
    plan = uniform_plan(trace(model, IMAGE), ARRAY, Windows(row_tiles=1, window=(2, 3)), bits=4)
    # One in parts, and the last one by two matrices, of which the first drives some of its inputs.
    parts = in_parts(plan, trace(model, IMAGE)).layer("2")
    pair = WindowLowRankLayer((2, 3), 6, 30)
    layers = [replace(layer, kind=pair) if layer.name == "6" else layer for layer in plan.layers]
    plan = replace(plan, layers=tuple(parts if layer.name == "2" else layer for layer in layers))
    compress_(model, plan)
    insert_quantisers_(model, plan.with_signs({layer.name: layer.name == "0" for layer in plan.layers}))
    calibrate_(model, [torch.randn(32, *IMAGE, generator=torch.Generator().manual_seed(2))])
    model.eval()
    for name, quantised in (("float.onnx", False), ("qdq.onnx", True)):
        write_onnx(model, IMAGE, tmp_path / name, quantised)
        check = compare_onnx(model, tmp_path / name, batches(), quantised=quantised)
        assert check.images == 63 and check.same >= 62
        assert quantised or check.largest < 1e-5 * check.size


def test_torch_says_why_it_cannot_export_and_nothing_else(tmp_path, capfd):
    """Not how many steps torch takes, in colours, and what to read about them."""
    with pytest.raises(InputError, match=r"ONNX: .*to have 3 channels, but got 5 channels instead") as caught:
        write_onnx(nn.Sequential(nn.Conv2d(3, 4, 3)), (5, 8, 8), tmp_path / "net.onnx")
    assert "\x1b" not in str(caught.value) and "Next steps" not in str(caught.value)
    assert capfd.readouterr() == ("", "")
