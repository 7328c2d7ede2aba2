"""The OCR networks that rapidocr-onnxruntime ships, as they are.

pip install --no-deps rapidocr-onnxruntime
"""

import importlib.util
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest

from rankfold.calibration.onnx import Runner
from rankfold.cost import network_cycles
from rankfold.lowrank import full_rank
from rankfold.mapping import ArraySpec
from rankfold.plan import LowRank, Plan, uniform_plan
from rankfold.plan.kinds import LowRankLayer
from rankfold.surgery.onnx.decompose import decompose_onnx
from rankfold.workload.onnx.layers import analyse_onnx

spec = importlib.util.find_spec("rapidocr_onnxruntime")
if spec is None or spec.origin is None:
    pytest.skip("rapidocr-onnxruntime is not installed", allow_module_level=True)
MODELS = Path(spec.origin).parent / "models"
ARRAY = ArraySpec(128, 128)


@pytest.mark.parametrize(
    "file, image, layers, others",
    [
        ("ch_PP-OCRv4_det_infer.onnx", (3, 96, 96), 62, 2),
        ("ch_PP-OCRv4_rec_infer.onnx", (3, 48, 96), 47, 0),
        ("ch_ppocr_mobile_v2.0_cls_infer.onnx", (3, 48, 192), 54, 0),
    ],
)
def test_mapped_planned_and_decomposed(file, image, layers, others):
    source = analyse_onnx(MODELS / file, image)
    network = source.network
    assert (len(network.layers), len(network.untouched)) == (layers, others)
    plan = uniform_plan(network, ARRAY, LowRank(groups=2, rank="1/2", pointwise=True, linear=True, fit=True))
    costs = network_cycles(network, plan, ("im2col",), linear=True)
    assert len(costs.layers) == layers and costs.chosen_cycles >= costs.lower_bound
    # At full rank the decomposed network computes what the original does.
    shapes = {layer.weight: layer for layer in network.layers}
    full = []
    for layer in plan.layers:
        if layer.kind.changes_weight:
            groups = layer.kind.groups
            kind = LowRankLayer(groups, full_rank(shapes[layer.name], groups))
            layer = replace(layer, kind=kind)
        full.append(layer)
    model, reports = decompose_onnx(source, Plan(plan.model, plan.input, ARRAY, tuple(full)))
    assert len(reports) == len(plan.changed) > 10
    x = np.random.default_rng(0).uniform(-1, 1, (1, *image)).astype(np.float32)
    # Layer by layer, since the detector's own output is next to zero where there is no text.
    names = [layer.node.output[0] for layer in source.layers]
    before, after = (
        Runner(with_outputs(made, names), 1)({"x": x}, names) for made in (source.file.model, model)
    )
    for name, wanted, found in zip(names, before, after, strict=True):
        assert np.linalg.norm(found - wanted) < 1e-3 * np.linalg.norm(wanted), name


def with_outputs(model, names):
    """The model with more of its values as outputs."""
    made = onnx.ModelProto.FromString(model.SerializeToString())
    made.graph.output.extend(onnx.helper.make_empty_tensor_value_info(name) for name in names)
    return made
