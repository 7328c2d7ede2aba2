"""Operators of ONNX against the cases that ONNX itself gives for them: inputs, and the right outputs."""

import importlib
import os
import warnings
from functools import cache
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from onnx import helper
from onnx.backend.test.case import node as cases

from common import graphs
from rankfold.errors import InputError
from rankfold.models.onnx.load import graph_of
from rankfold.models.onnx.operators import OPERATORS
from rankfold.workload.onnx.file import FIRST_OPSET, OnnxFile
from rankfold.workload.onnx.shapes import infer_sizes

# Modules of ONNX's cases; making those of all operators takes long.
FEW = [
    "batch_normalization",
    "clip",
    "concat",
    "conv",
    "convtranspose",
    "depthtospace",
    "div",
    "flatten",
    "gather",
    "gelu",
    "gemm",
    "globalaveragepool",
    "hardsigmoid",
    "layernormalization",
    "matmul",
    "pad",
    "reducemean",
    "reshape",
    "resize",
    "shape",
    "slice",
    "softmax",
    "split",
    "squeeze",
    "topk",
    "transpose",
    "unsqueeze",
    "upsample",
    "where",
]
ALL = [path.stem for path in sorted(Path(cases.__path__[0]).glob("[!_]*.py"))]
MODULES = ALL if os.environ.get("RANKFOLD_THOROUGH") else FEW
# Of types that torch does not compute with, or that cases of casts alone are of.
OTHERS = ("cast", "castlike")
REFUSED = [
    "an AveragePool has dilations",
    "a quantiser has a scale for each block",
    "a Dropout drops values",
    "a BatchNormalization is in training mode",
    "a MaxPool gives the places",
    "a Resize has antialias",
    "a Resize has exclude_outside",
    "a Resize cuts out a region",
    "a Resize keeps the ratio",
    "it has the attribute mode",
]


@cache
def cases_of(module):
    """ONNX's cases of the operators in one of its modules that are computed here."""
    known = len(cases._NodeTestCases)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # some divide by zero on purpose
        importlib.import_module(f"{cases.__name__}.{module}")
    return [case for case in cases._NodeTestCases[known:] if is_of_one_operator(case.model)]


def is_of_one_operator(model):
    (node, *others) = model.graph.node
    own = node.op_type in OPERATORS and node.domain in ("", "ai.onnx")
    return own and not others and not model.functions and model.opset_import[0].version >= FIRST_OPSET


def is_known(values):
    """Whether torch computes with arrays of these types."""
    types = [getattr(value, "dtype", None) for value in values]
    return all(kind is not None and (kind.kind in "fib" or kind == np.uint8) for kind in types)


def with_stored(model, values):
    """The model with all inputs but the first stored in it."""
    own = onnx.ModelProto()
    own.CopyFrom(model)
    others = own.graph.input[1:]
    stored = [onnx.numpy_helper.from_array(v, o.name) for o, v in zip(others, values[1:], strict=True)]
    own.graph.initializer.extend(stored)
    del own.graph.input[1:]
    return own


def computed(model, values):
    """What a network made of the model gives."""
    file = OnnxFile(Path("case.onnx"), model, model.opset_import[0].version)
    try:
        known = infer_sizes(file, None).known
    except InputError:  # sizes of the values are unknown, or there is no input
        known = {}
    with torch.no_grad():
        found = graph_of(file, known, {})(*map(torch.tensor, values))
    return found if isinstance(found, tuple) else (found,)


@pytest.mark.parametrize("module", [name for name in MODULES if name not in OTHERS])
def test_what_is_computed_is_what_onnx_says(module):
    told = 0
    for case in cases_of(module):
        for values, wanted in case.data_sets:
            values = [value if isinstance(value, list) else np.asarray(value) for value in values]
            if not is_known(values):
                continue
            ways = [(case.model, values)]
            # Stored numbers of 16 bits become float32.
            if len(values) > 1 and not any(value.dtype == np.float16 for value in values):
                ways.append((with_stored(case.model, values), values[:1]))
            for model, inputs in ways:
                try:
                    found = computed(model, inputs)
                except InputError as error:
                    assert any(words in str(error) for words in REFUSED), (case.name, error)
                    continue
                told += 1
                for own, right in zip(found, map(np.asarray, wanted), strict=True):
                    assert own.numpy().dtype == right.dtype, case.name
                    loose = 2e-3 if right.dtype == np.float16 else 1e-4
                    np.testing.assert_allclose(own.numpy(), right, loose, 1e-4, err_msg=case.name)
    assert told or module not in FEW


@given(st.data())
def test_windows_are_pooled_as_onnxruntime_does(data):
    kernel = data.draw(st.tuples(*[st.integers(1, 4)] * 2))
    # With steps beyond the window onnxruntime pads by negative numbers.
    stride = [data.draw(st.integers(1, size)) for size in kernel]
    options = {"kernel_shape": kernel, "strides": stride, "ceil_mode": data.draw(st.integers(0, 1))}
    automatic = data.draw(st.sampled_from(["NOTSET", "SAME_UPPER", "SAME_LOWER", "VALID"]))
    if automatic == "NOTSET":
        options["pads"] = [data.draw(st.integers(0, size - 1)) for size in kernel * 2]
    else:
        options |= {"auto_pad": automatic, "ceil_mode": 0}
    name = data.draw(st.sampled_from(["AveragePool", "MaxPool"]))
    if name == "AveragePool":
        options["count_include_pad"] = data.draw(st.integers(0, 1))
    x = np.random.default_rng(0).normal(size=(1, 2, 7, 9)).astype(np.float32)
    node = helper.make_node(name, ["x"], ["y"], **options)
    model = graphs.model([node], [], [("x", x.shape)], opset=19)
    (wanted,) = onnxruntime.InferenceSession(model.SerializeToString()).run(None, {"x": x})
    (found,) = computed(model, [x])
    np.testing.assert_allclose(found.numpy(), wanted, 1e-5, 1e-6)
