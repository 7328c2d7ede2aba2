"""What nothing reads is taken away from an ONNX graph, and nothing else is."""

import numpy as np
import pytest
from onnx import TensorProto, helper

from common.graphs import model, weight
from rankfold.calibration.onnx import Runner
from rankfold.surgery.onnx.unused import drop_unused_

pytest.importorskip("onnxruntime")
node = helper.make_node


def names(made):
    return [entry.output[0] for entry in made.graph.node], [entry.name for entry in made.graph.initializer]


def test_chains_of_what_is_unread_go():
    nodes = [
        node("Identity", ["old"], ["first"]),
        node("Identity", ["first"], ["second"]),
        node("Conv", ["x", "new"], ["y"]),
    ]
    made = model(nodes, [weight("old", 4, 3, 1, 1), weight("new", 4, 3, 1, 1)])
    made.graph.input.append(helper.make_tensor_value_info("old", TensorProto.FLOAT, (4, 3, 1, 1)))
    x = np.ones((1, 3, 8, 8), np.float32)
    (before,) = Runner(made, 1)({"x": x})
    drop_unused_(made)
    assert names(made) == (["y"], ["new"])
    assert [value.name for value in made.graph.input] == ["x"]
    (after,) = Runner(made, 1)({"x": x})
    np.testing.assert_array_equal(before, after)


def test_what_inner_graphs_read_stays():
    def branch(name, value):
        inner = node("Identity", [value], [name])
        return helper.make_graph(
            [inner], name, [], [helper.make_tensor_value_info(name, TensorProto.FLOAT, None)]
        )

    nodes = [
        node("Identity", ["one"], ["made"]),
        node("Identity", ["one"], ["unread"]),
        node("If", ["flag"], ["y"], then_branch=branch("then", "made"), else_branch=branch("else", "two")),
    ]
    made = model(nodes, [weight("one", 2), weight("two", 2), weight("three", 2)], inputs=())
    made.graph.input.append(helper.make_tensor_value_info("flag", TensorProto.BOOL, ()))
    drop_unused_(made)
    assert names(made) == (["made", "y"], ["one", "two"])
    (taken,) = Runner(made, 1)({"flag": np.array(False)})
    assert taken.shape == (2,)
