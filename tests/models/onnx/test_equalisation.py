"""Convolutions whose channels are of very different sizes, as files have them whose norms were folded."""

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import helper, numpy_helper
from torch import nn

import rankfold as rf
from rankfold.models.onnx import load_onnx
from rankfold.nn.channel_scale import ChannelScale
from rankfold.nn.quantised import QuantConv2d

IMAGE, CHANNELS = (3, 10, 10), 8
SIZES = 10.0 ** -torch.arange(0, 4, 0.5)  # of the channels of the depthwise convolution


@pytest.fixture
def path(tmp_path):
    """A depthwise convolution of folded norms between convolutions of like channels."""
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, CHANNELS, 1), nn.ReLU(), nn.Conv2d(CHANNELS, CHANNELS, 3, groups=CHANNELS), nn.ReLU()
    )
    with torch.no_grad():
        model[0].weight.sign_()
        model[2].weight.mul_(SIZES[:, None, None, None])
        model[2].bias.mul_(SIZES)
    rf.export.write_onnx(model.eval(), IMAGE, tmp_path / "net.onnx")
    return tmp_path / "net.onnx"


def given_by(path, images):
    session = onnxruntime.InferenceSession(path)
    return session.run(None, {session.get_inputs()[0].name: images.numpy()})[0]


def test_the_network_is_the_same_with_channels_of_one_size(path, tmp_path):
    model = load_onnx(path)
    scaled = [name for name, module in model.named_modules() if isinstance(module, ChannelScale)]
    assert scaled == ["2_scale"]
    largest = model.get_submodule("2").weight.abs().amax((1, 2, 3))
    torch.testing.assert_close(largest, torch.ones(CHANNELS))
    images = torch.randn(4, *IMAGE)
    np.testing.assert_allclose(model(images).detach(), given_by(path, images), rtol=1e-4, atol=1e-6)
    rf.export.write_onnx(model, IMAGE, tmp_path / "again.onnx")
    np.testing.assert_allclose(
        given_by(tmp_path / "again.onnx", images), given_by(path, images), rtol=1e-4, atol=1e-6
    )


def test_rounding_leaves_small_channels_what_they_are(path):
    model, dense = load_onnx(path), load_onnx(path)
    network = rf.trace(model, IMAGE, "net")
    plan = rf.uniform_plan(network, rf.ArraySpec(32, 32), bits=8)
    images = torch.randn(32, *IMAGE)
    rf.compress_(model, plan, [images])
    rf.quantise_(model, plan, [images])
    assert isinstance(model.get_submodule("2"), QuantConv2d)
    with torch.no_grad():
        wanted = dense(images)
        error = (model(images) - wanted).square().mean((0, 2, 3)) / wanted.square().mean((0, 2, 3))
    assert error.sqrt().max() < 0.03  # one step size for all would round half of the channels to nothing


def test_a_norm_behind_has_the_factors_already(path, tmp_path):
    known = onnx.load(path)
    conv = [node for node in known.graph.node if node.op_type == "Conv"][1]
    for name, value in {"scale": 1.0, "bias": 0.0, "mean": 0.0, "variance": 1.0}.items():
        known.graph.initializer.append(numpy_helper.from_array(np.full(CHANNELS, value, np.float32), name))
    place, whole = list(known.graph.node).index(conv) + 1, conv.output[0]
    conv.output[0] = "between"
    given = ["between", "scale", "bias", "mean", "variance"]
    known.graph.node.insert(place, helper.make_node("BatchNormalization", given, [whole]))
    onnx.save(known, tmp_path / "normed.onnx")
    model = load_onnx(tmp_path / "normed.onnx")
    assert not any(isinstance(module, ChannelScale) for module in model.modules())
