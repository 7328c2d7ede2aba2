"""ONNX files as torch networks: they compute the same, under the names that the file's layers have."""

import copy

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import helper, numpy_helper
from torch import nn
from torch.nn import functional as F

import rankfold as rf
from common import graphs
from common.small_network import net
from rankfold.errors import InputError
from rankfold.models.onnx import load_onnx
from rankfold.nn.sub_pixel import replace_transposed_
from rankfold.runs.baseline import weights_digest
from rankfold.workload.onnx.layers import read_onnx

IMAGE = (3, 16, 16)


class Branches(nn.Module):
    """What detectors and mobile networks are made of."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, stride=2, padding=1)
        self.norm = nn.BatchNorm2d(8)
        self.depthwise = nn.Conv2d(8, 8, 3, padding=1, groups=8, bias=False)
        self.squeeze, self.excite = nn.Conv2d(8, 4, 1), nn.Conv2d(4, 8, 1)
        self.up = nn.ConvTranspose2d(8, 6, 3, stride=2, padding=1, output_padding=1)
        self.head = nn.Linear(6, 5)

    def forward(self, x):
        y = F.hardswish(self.norm(self.stem(x)))
        y = self.depthwise(F.pad(y, (0, 1, 0, 1)))[:, :, :8, :8]
        y = y * F.hardsigmoid(self.excite(F.relu(self.squeeze(y.mean((2, 3), keepdim=True)))))
        y = torch.cat([F.interpolate(F.max_pool2d(y, 2), scale_factor=2, mode="nearest"), y[:, :0]], 1)
        y = self.up(y)
        return self.head(y.permute(0, 2, 3, 1)), y.amax((1, 2, 3))


def written(model, path, image=IMAGE):
    """The file of a network in eval mode with statistics of its own."""
    torch.manual_seed(0)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
    rf.export.write_onnx(model.eval(), image, path)
    return path


def test_the_network_of_a_file_computes_what_the_file_does(tmp_path):
    model = Branches()
    path = written(model, tmp_path / "net.onnx")
    found = load_onnx(path)
    x = torch.randn(3, *IMAGE)
    with torch.no_grad():
        wanted, got = model(x), found(x)
        by_name = found(input=x)
    torch.testing.assert_close(got, wanted, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(by_name, got, rtol=0, atol=0)
    # Layers have the names that the file's own have, and those of the network that was written.
    replace_transposed_(model)
    layers = {layer.weight: layer for layer in read_onnx(path).layers}
    assert [layer.weight for layer in rf.trace(found, IMAGE, "net").layers] == list(layers)
    for name in layers:
        torch.testing.assert_close(found.get_submodule(name).weight, model.get_submodule(name).weight)
    assert not found.training


def test_it_is_compressed_quantised_and_written_again(tmp_path):
    path = written(net(), tmp_path / "net.onnx", (1, 16, 16))
    network, array = read_onnx(path), rf.ArraySpec(32, 32)
    plan = rf.uniform_plan(network, array, rf.plan.Windows(row_tiles=1), bits=8)
    model = load_onnx(path)
    dense, batches = copy.deepcopy(model), [torch.randn(32, 1, 16, 16)]
    rf.compress_(model, plan, batches)
    plan = rf.quantise_(model, plan, batches)
    records = rf.reconstruct_(model, dense, batches, images=32, steps=5)
    assert any(record.after < record.before for record in records)
    out = tmp_path / "out.onnx"
    rf.export.write_onnx(model, (1, 16, 16), out)
    session = onnxruntime.InferenceSession(out)
    assert [value.name for value in session.get_inputs()] == ["input"]
    assert [value.name for value in session.get_outputs()] == ["logits"]
    with torch.no_grad():
        wanted = model(batches[0][:4])
    (found,) = session.run(None, {"input": batches[0][:4].numpy()})
    # A value on the edge of two levels may fall to either side.
    assert np.abs(found - wanted.numpy()).mean() < 1e-3 * np.abs(found).max()


def test_inputs_that_are_missing_or_too_many_are_refused(tmp_path):
    made = graphs.model([graphs.conv()], [graphs.weight("w", 2, 3, 1, 1)])
    model = load_onnx(graphs.save(tmp_path, made))
    x = torch.zeros(1, 3, 8, 8)
    for given, named in (((), {}), ((x, x), {}), ((x,), {"other": x}), ((), {"other": x})):
        with pytest.raises(InputError, match="the network takes inputs called x, and is given "):
            model(*given, **named)


def test_operators_that_are_not_computed_are_named_before_any_work(tmp_path):
    nodes = [
        helper.make_node("Conv", ["x", "conv.weight"], ["a"]),
        helper.make_node("LRN", ["a"], ["b"], size=3),
        helper.make_node("LRN", ["b"], ["c"], size=3),
        helper.make_node("NonZero", ["c"], ["y"]),
    ]
    path = graphs.save(tmp_path, graphs.model(nodes, [graphs.weight("conv.weight", 2, 3, 1, 1)]))
    with pytest.raises(
        InputError, match=r"cannot be computed by torch here: LRN \(2\), NonZero \(1\); export"
    ):
        load_onnx(path)


def test_what_no_module_can_be_stays_a_function(tmp_path):
    """A scaled product, a convolution of two weights of one name, padding on one side."""
    stored = [graphs.weight("w", 4, 3, 2, 2), graphs.weight("v", 16, 4), graphs.weight("bias", 16)]
    stored.append(graphs.ints("sizes", 0, -1))
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["a"], pads=[0, 1, 1, 0], strides=[2, 2]),
        helper.make_node("Conv", ["x", "w"], ["b"], auto_pad="SAME_UPPER", strides=[2, 2]),
        helper.make_node("Add", ["a", "b"], ["c"]),
        helper.make_node("GlobalMaxPool", ["c"], ["d"]),
        helper.make_node("Reshape", ["d", "sizes"], ["e"]),
        helper.make_node("Gemm", ["e", "v", "bias"], ["f"], transB=1, alpha=0.5, beta=2.0),
        helper.make_node("Shape", ["x"], ["g"], end=3, start=1),
        helper.make_node("Cast", ["g"], ["h"], to=1),
        helper.make_node("ReduceMax", ["h"], ["i"], keepdims=0),
        helper.make_node("Add", ["f", "i"], ["y"]),
    ]
    path = graphs.save(tmp_path, graphs.model(nodes, stored, [("x", (2, 3, 6, 6))]))
    model = load_onnx(path)
    x = torch.randn(2, 3, 6, 6)
    with torch.no_grad():
        np.testing.assert_allclose(model(x).numpy(), graphs.run(path, x=x.numpy()), rtol=1e-4, atol=1e-5)
    # It can be moved and copied as a whole.
    with torch.no_grad():
        assert copy.deepcopy(model).double()(x.double()).dtype == torch.float64


def test_one_weight_in_several_uses_is_one_parameter_of_several_modules(tmp_path):
    stored = [graphs.weight("w", 3, 3, 3, 3), graphs.weight("b", 3, seed=1), graphs.weight("c", 3, seed=2)]
    nodes = [
        graphs.conv("p", x="x", pads=[1] * 4),
        helper.make_node("Conv", ["p", "w", "b"], ["q"], pads=[1] * 4),
        helper.make_node("Conv", ["q", "w", "c"], ["r"], pads=[2] * 4, dilations=[2, 2]),
        graphs.conv("y", "again", x="r", pads=[1] * 4),
    ]
    path = graphs.save(tmp_path, graphs.model(nodes, stored))
    model, x = load_onnx(path), torch.randn(2, 3, 8, 8)
    wanted = graphs.run(path, x=x[:1].numpy())
    with torch.no_grad():
        assert np.abs(model(x[:1]).numpy() - wanted).max() < 1e-5 * np.abs(wanted).max()
    modules = [module for module in model.modules() if isinstance(module, nn.Conv2d)]
    assert len(modules) == 3 and len(list(model.parameters())) == 3  # one weight, two biases


@pytest.mark.parametrize(
    "names", [("a_b", "a", "a.b"), ("a", "a.c", "a_c"), ("type", "half.a", "children"), ("x.y.z", "x.y", "x")]
)
def test_no_module_takes_the_place_of_another(names, tmp_path):
    stored = [graphs.weight(f"{name}.weight", 3, 3, 1, 1, seed=seed) for seed, name in enumerate(names)]
    values = ["x", "p", "q", "y"]
    nodes = [
        helper.make_node("Conv", [values[place], f"{name}.weight"], [values[place + 1]])
        for place, name in enumerate(names)
    ]
    path = graphs.save(tmp_path, graphs.model(nodes, stored))
    x = torch.randn(1, 3, 8, 8)
    with torch.no_grad():
        found = load_onnx(path)(x).numpy()
    np.testing.assert_allclose(found, graphs.run(path, x=x.numpy()), rtol=1e-4, atol=1e-5)


def test_stored_numbers_are_part_of_what_a_network_is_known_by(tmp_path):
    digests = set()
    for seed in (1, 2):
        stored = [graphs.weight("w", 3, 3, 1, 1), graphs.weight("shift", 3, 1, 1, seed=seed)]
        nodes = [graphs.conv("a"), helper.make_node("Add", ["a", "shift"], ["y"])]
        digests.add(weights_digest(load_onnx(graphs.save(tmp_path, graphs.model(nodes, stored)))))
    assert len(digests) == 2


def test_numbers_that_operators_make_are_where_the_inputs_are(tmp_path):
    """On `meta`, tensors of any other device are refused, as a GPU refuses those of the processor."""
    one = helper.make_tensor("one", onnx.TensorProto.FLOAT, [1], [1.0])
    nodes = [
        graphs.conv("a"),
        helper.make_node("Shape", ["a"], ["sizes"]),
        helper.make_node("ConstantOfShape", ["sizes"], ["ones"], value=one),
        helper.make_node("Add", ["a", "ones"], ["b"]),
        helper.make_node("Gather", ["sizes", "last"], ["width"]),
        helper.make_node("Range", ["zero", "width", "step"], ["places"]),
        helper.make_node("Cast", ["places"], ["floats"], to=1),
        helper.make_node("Mul", ["b", "floats"], ["y"]),
    ]
    numbers = [("last", -1), ("zero", 0), ("step", 1)]
    stored = [onnx.numpy_helper.from_array(np.array(value), name) for name, value in numbers]
    path = graphs.save(tmp_path, graphs.model(nodes, [graphs.weight("w", 2, 3, 1, 1), *stored]))
    model = load_onnx(path)
    x = torch.randn(1, 3, 8, 8)
    with torch.no_grad():
        np.testing.assert_allclose(model(x).numpy(), graphs.run(path, x=x.numpy()), rtol=1e-4, atol=1e-5)
    assert model.to("meta")(x.to("meta")).device.type == "meta"


def test_networks_of_16_bits_are_computed_in_float32(tmp_path):
    nodes = [
        helper.make_node("Cast", ["x"], ["h"], to=onnx.TensorProto.FLOAT16),
        graphs.conv("a", x="h"),
        helper.make_node("Clip", ["a", "low"], ["c"]),
        helper.make_node("Cast", ["c"], ["y"], to=onnx.TensorProto.FLOAT),
    ]
    low = onnx.numpy_helper.from_array(np.array([-0.5], np.float16), "low")
    made = graphs.model(nodes, [graphs.weight("w", 2, 3, 1, 1, kind=np.float16), low])
    path, x = graphs.save(tmp_path, made), torch.randn(1, 3, 8, 8)
    with torch.no_grad():
        np.testing.assert_allclose(load_onnx(path)(x).numpy(), graphs.run(path, x=x.numpy()), atol=1e-2)


@pytest.mark.parametrize(
    ("node", "words"),
    [
        (
            helper.make_node("Transpose", ["a"], ["y"], perm=[0, 1, 2, 9]),
            r"node y \(Transpose\) cannot be computed",
        ),
        (helper.make_node("Softmax", ["a"], ["y"], axis=7), r"node y \(Softmax\) cannot be computed"),
        (helper.make_node("ReduceMean", ["a"], ["y"], axes=[5]), r"node y \(ReduceMean\): it has the axis 5"),
        (helper.make_node("Slice", ["a"], ["y"]), r"node y \(Slice\) cannot be computed"),
    ],
)
def test_nodes_that_are_damaged_are_named(node, words, tmp_path):
    path = graphs.save(tmp_path, graphs.model([graphs.conv("a"), node], [graphs.weight("w", 2, 3, 1, 1)]))
    with pytest.raises(InputError, match=words):
        load_onnx(path)(torch.zeros(1, 3, 8, 8))


def test_another_batch_than_a_file_takes_is_told(tmp_path):
    nodes = [
        graphs.conv("a"),
        helper.make_node("Reshape", ["a", "sizes"], ["b"], allowzero=1),
        helper.make_node("Gemm", ["b", "v"], ["y"], transB=1),
    ]
    stored = [graphs.weight("w", 2, 3, 1, 1), graphs.weight("v", 5, 128), graphs.ints("sizes", 1, -1)]
    model = load_onnx(graphs.save(tmp_path, graphs.model(nodes, stored)))
    assert model(torch.zeros(1, 3, 8, 8)).shape == (1, 5)
    with pytest.raises(InputError, match="the file takes batches of 1 as x: export it with an open batch"):
        model(torch.zeros(2, 3, 8, 8))


def heads(sizes):
    """Two outputs of a convolution, one of them a list of places, as detectors have."""
    nodes = [
        graphs.conv("a", strides=[2, 2]),
        helper.make_node("Resize", ["a", "", "double"], ["scores"]),
        helper.make_node("Reshape", ["a", "places"], ["flat"]),
        helper.make_node("Transpose", ["flat"], ["boxes"], perm=[0, 2, 1]),
    ]
    stored = [
        graphs.weight("w", 4, 3, 2, 2),
        graphs.ints("places", 1, 4, -1),
        numpy_helper.from_array(np.float32([1, 1, 2, 2]), "double"),
    ]
    return graphs.model(nodes, stored, [("x", sizes)], ["scores", "boxes"])


def test_a_file_of_one_image_of_one_size_takes_batches_of_others(tmp_path):
    """onnxruntime computes the same graph, whose sizes are open there, image by image."""
    path = graphs.save(tmp_path, heads((1, 3, 8, 8)))
    session = onnxruntime.InferenceSession(graphs.save(tmp_path, heads(("b", 3, "h", "w")), "open.onnx"))
    model = rf.load_model(path, 10, image=(3, 12, 10))
    x = torch.randn(3, 3, 12, 10)
    found = model(x)
    for place in range(3):
        alone = session.run(None, {"x": x[place : place + 1].numpy()})
        for ours, theirs in zip(found, alone, strict=True):
            torch.testing.assert_close(ours[place], torch.from_numpy(theirs[0]))
