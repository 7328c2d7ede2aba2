"""Small ONNX models, written node by node."""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


def weight(name, *dims, seed=0, kind=np.float32):
    """A stored tensor of normal numbers."""
    return numpy_helper.from_array(np.random.default_rng(seed).normal(size=dims).astype(kind), name)


def ints(name, *values):
    """A stored tensor of sizes."""
    return numpy_helper.from_array(np.array(values, np.int64), name)


def model(nodes, stored, inputs=(("x", (1, 3, 8, 8)),), outputs=("y",), opset=17, **options):
    """A model of float inputs and outputs of open sizes."""
    graph = helper.make_graph(
        list(nodes),
        "graph",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, sizes) for name, sizes in inputs],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
        list(stored),
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8, **options)


def conv(out="y", name="conv", x="x", w="w", **options):
    """A convolution."""
    return helper.make_node("Conv", [x, w], [out], name=name, **options)


def save(folder, made, name="net.onnx", **options):
    """Write a model; returns its path as text."""
    path = folder / name
    onnx.save(made, path, **options)
    return str(path)


def run(path, **inputs):
    """The first output of a file, as onnxruntime computes it."""
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return session.run(None, inputs)[0]
