"""A little detector in ONNX, of one fixed batch and size: planned, trained, written and run again."""

import copy

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import helper, numpy_helper

import rankfold as rf
from common import graphs
from rankfold.export.onnx.check import compare_onnx

IMAGE = (3, 16, 24)
node = helper.make_node


def detector():
    """Two scales that are joined, a gate, and two heads: a map of scores, and four numbers at each place."""
    nodes = [
        graphs.conv("a", "stem", w="stem.weight", strides=[2, 2], pads=[1, 1, 1, 1]),
        node("HardSigmoid", ["a"], ["gate"], alpha=1 / 6, beta=0.5),
        node("Mul", ["a", "gate"], ["b"]),
        graphs.conv("c", "down", "b", "down.weight", strides=[2, 2], pads=[1, 1, 1, 1]),
        node("Relu", ["c"], ["d"]),
        node("GlobalAveragePool", ["d"], ["pooled"]),
        graphs.conv("e", "squeeze", "pooled", "squeeze.weight"),
        node("Sigmoid", ["e"], ["f"]),
        node("Mul", ["d", "f"], ["g"]),
        node("Resize", ["g", "", "twice"], ["h"], mode="nearest"),
        node("Concat", ["b", "h"], ["joined"], axis=1),
        graphs.conv("i", "neck", "joined", "neck.weight", pads=[1, 1, 1, 1]),
        node("Relu", ["i"], ["j"]),
        graphs.conv("k", "scored", "j", "scored.weight"),
        node("Sigmoid", ["k"], ["scores"]),
        graphs.conv("l", "placed", "j", "placed.weight"),
        node("Reshape", ["l", "places"], ["m"]),
        node("Transpose", ["m"], ["boxes"], perm=[0, 2, 1]),
    ]
    sizes = {
        "stem": (8, 3, 3, 3),
        "down": (16, 8, 3, 3),
        "squeeze": (16, 16, 1, 1),
        "neck": (16, 24, 3, 3),
        "scored": (1, 16, 1, 1),
        "placed": (4, 16, 1, 1),
    }
    stored = [graphs.ints("places", 1, 4, -1), numpy_helper.from_array(np.float32([1, 1, 2, 2]), "twice")]
    for seed, (name, dims) in enumerate(sizes.items()):
        values = np.random.default_rng(seed).normal(size=dims) / np.sqrt(np.prod(dims[1:]))
        stored.append(numpy_helper.from_array(values.astype(np.float32), f"{name}.weight"))
    return graphs.model(nodes, stored, [("x", (1, 3, 16, 16))], ["scores", "boxes"])


def error(found, wanted):
    """The mean over the outputs of how far they are off."""
    parts = zip(found, wanted, strict=True)
    return float(np.mean([np.linalg.norm(one - other) / np.linalg.norm(other) for one, other in parts]))


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The original, its plan of 60 % of the cycles, what came of it before and after training, images."""
    path = graphs.save(tmp_path_factory.mktemp("detector"), detector())
    dense = rf.load_model(path, image=IMAGE)
    images = torch.rand(64, *IMAGE, generator=torch.Generator().manual_seed(0))
    batches = list(images.split(16))
    planning = rf.best_plan(dense, batches, rf.ArraySpec(32, 32), *rf.Budget.parse_all("cycles=60%"), bits=4)
    model = copy.deepcopy(dense)
    rf.compress_(model, planning.plan, batches)
    plan = rf.quantise_(model, planning.plan, batches, reference=dense)
    before = copy.deepcopy(model)
    rf.reconstruct_(model, dense, batches, images=64, steps=40)
    return dense, planning, plan, before, model, images


def outputs(model, images):
    with torch.no_grad():
        return [part.numpy() for part in model(images)]


def test_a_plan_of_a_detector_keeps_its_budget(made):
    dense, planning, plan, *_ = made
    network = rf.trace(dense, IMAGE, "net")
    best = rf.cycles(network, rf.uniform_plan(network, rf.ArraySpec(32, 32), bits=4, mapping="best"))
    assert 0 < rf.cycles(network, plan).chosen_cycles <= 0.6 * best.chosen_cycles
    assert planning.outputs == "values" and plan.changed


def test_training_without_labels_brings_both_outputs_nearer(made):
    dense, _, _, before, model, images = made
    wanted = outputs(dense, images)
    first, last = (error(outputs(one, images), wanted) for one in (before, model))
    assert last < 0.95 * first


def test_it_is_written_for_any_batch_and_runs_in_onnxruntime(made, tmp_path):
    _, _, _, _, model, images = made
    path = tmp_path / "small.onnx"
    rf.export.write_onnx(model, {"x": images[:2]}, path)
    assert "CastLike" not in {one.op_type for one in onnx.load(path).graph.node}
    session = onnxruntime.InferenceSession(path)
    assert [value.name for value in session.get_outputs()] == ["scores", "boxes"]
    found = session.run(None, {"x": images[:5].numpy()})
    assert [part.shape for part in found] == [(5, 1, 8, 12), (5, 96, 4)]
    # Values on the edge of two levels may fall to either side.
    assert error(found, outputs(model, images[:5])) < 0.01
    check = compare_onnx(model, path, [(images[:5], None), (images[5:9], None)])
    assert (check.images, check.same, check.correct) == (9, None, None)
    assert set(check.errors) == {"scores", "boxes"} and max(check.errors.values()) < 0.01


def test_its_arrays_compute_it(made):
    _, _, plan, _, model, images = made
    arrays = rf.simulate(model, plan, rf.NonIdealities(adc_bits=8), calibration=[images[:16]])
    assert error(outputs(arrays, images[:2]), outputs(model, images[:2])) < 0.3
