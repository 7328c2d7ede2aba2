"""Low-rank layers in an ONNX file, without training and without torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from rankfold.errors import InputError
from rankfold.files import replacing
from rankfold.lowrank import LowRankFactors, decompose, decompose_for_data
from rankfold.plan import LOW_RANK, LayerPlan, Plan, check_plan
from rankfold.workload.onnx.file import OnnxFile, import_onnx
from rankfold.workload.onnx.layers import OnnxLayer, OnnxNetwork

LARGEST_FILE = 1 << 30  # bytes of weights inside the file; protobuf ends at two gigabytes
SPLIT_BY_INPUT = 13  # the opset in which Split takes its sizes as an input
WINDOW = ("strides", "pads", "dilations", "auto_pad", "kernel_shape")


@dataclass(frozen=True)
class DecomposedLayer:
    """What became of one layer.

    Attributes:
        name: the layer.
        groups: g.
        rank: r.
        error: relative Frobenius error of the weight.
        plain_error: the same at equal rank without groups, by SVD.
        output_error: relative error of the layer's output on calibration data, where the factors were made for them.
        parameters_before: weights before, without bias.
        parameters_after: weights after.
    """

    name: str
    groups: int
    rank: int
    error: float
    plain_error: float
    output_error: float | None
    parameters_before: int
    parameters_after: int


def decompose_onnx(
    source: OnnxNetwork, plan: Plan, moments: Mapping[str, np.ndarray] | None = None
) -> tuple[Any, tuple[DecomposedLayer, ...]]:
    """A copy of an ONNX model in which the layers that `plan` makes low-rank are pairs.

    A Conv becomes a grouped Conv of the same window and a 1x1 Conv with the bias. A Gemm or MatMul becomes a product for each
    group of inputs and one for all outputs. Nodes that share a weight share its factors.

    Args:
        source: the model.
        plan: a plan for it.
        moments: (G, n, n) second moments of the inputs of layers whose factors shall keep the output on these inputs.

    Returns:
        The model (`onnx.ModelProto`), with all weights inside, and a report for each low-rank layer.

    Raises:
        InputError: the plan is for another network, or gives bits, which need training.
    """
    onnx = import_onnx()
    check_plan(plan, source.network)
    if plan.quantised:
        raise InputError(
            "the plan gives layers bits, and an ONNX file is decomposed in float; make the plan without bits"
        )
    sparse = next(
        (layer for layer in plan.layers if layer.entries is not None and layer.kind == LOW_RANK), None
    )
    if sparse is not None:
        raise InputError(
            f"plan, layer {sparse.name}: an ONNX file is decomposed with all kernel positions; leave entries away"
        )
    odd = next((layer for layer in plan.layers if layer.kind not in (LOW_RANK, "dense")), None)
    if odd is not None:
        raise InputError(
            f"plan, layer {odd.name}: an ONNX file can have low-rank layers only, this one is {odd.kind}"
        )
    model = onnx.ModelProto()
    model.CopyFrom(source.file.model)
    onnx.external_data_helper.load_external_data_for_model(model, str(source.file.path.parent))
    wanted = {layer.name: layer for layer in plan.layers if layer.kind == LOW_RANK}
    replaced: dict[str, tuple[OnnxLayer, LayerPlan]] = {
        layer.node.output[0]: (layer, wanted[layer.shape.weight])
        for layer in source.layers
        if layer.shape.weight in wanted
    }
    reports: dict[str, DecomposedLayer] = {}
    nodes = []
    for node in model.graph.node:
        if not node.output or node.output[0] not in replaced:
            nodes.append(node)
            continue
        layer, entry = replaced[node.output[0]]
        name = layer.shape.weight
        if name not in reports:
            factors = _factors(source.file, layer, entry, None if moments is None else moments.get(name))
            stored = _stored(layer, entry, factors, source.file.opset, source.file.array(layer.weight).dtype)
            model.graph.initializer.extend(stored)
            after = sum(
                int(np.prod(tensor.dims)) for tensor in stored if tensor.data_type != onnx.TensorProto.INT64
            )
            reports[name] = DecomposedLayer(
                name,
                _g(entry),
                _r(entry),
                factors.error,
                factors.plain_error,
                factors.output_error,
                layer.shape.parameters,
                after,
            )
        nodes.extend(_pair(node, layer, entry, source.file.opset))
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    _drop_unused(model)
    model.producer_name = "rankfold"
    return model, tuple(reports[name] for name in wanted)


def save_onnx(path: str | Path, model: Any) -> None:
    """Write a model atomically; weights above a gigabyte go into `path.data` beside it.

    Raises:
        InputError: the file cannot be written.
    """
    onnx = import_onnx()
    target = Path(path)
    if model.ByteSize() <= LARGEST_FILE:
        with replacing(target) as temporary:
            temporary.write_bytes(model.SerializeToString())
        return
    with replacing(target.with_name(f"{target.name}.data")) as weights:
        onnx.external_data_helper.convert_model_to_external_data(model, location=weights.name)
        onnx.external_data_helper.write_external_data_tensors(model, str(target.parent))
    for tensor in model.graph.initializer:
        for entry in tensor.external_data:
            if entry.key == "location":
                entry.value = f"{target.name}.data"
    with replacing(target) as temporary:
        temporary.write_bytes(model.SerializeToString())


def dense_weight(file: OnnxFile, layer: OnnxLayer) -> np.ndarray:
    """The weight of a layer as that of a convolution, (m, C_in/G, kh, kw), in float64.

    Raises:
        InputError: it cannot be computed.
    """
    weight = file.array(layer.weight).astype(np.float64)
    if layer.shape.kind == "conv":
        return weight
    flat = weight if _transposed(layer.node) else weight.T  # (m, n)
    return flat[:, :, None, None]


def _factors(
    file: OnnxFile, layer: OnnxLayer, entry: LayerPlan, moments: np.ndarray | None
) -> LowRankFactors:
    weight = dense_weight(file, layer)
    try:
        if moments is None:
            return decompose(weight, layer.shape.groups, _g(entry), _r(entry))
        return decompose_for_data(weight, layer.shape.groups, _g(entry), _r(entry), moments)
    except InputError as error:
        raise InputError(f"layer {layer.shape.name}: {error}") from None


def _stored(layer: OnnxLayer, entry: LayerPlan, factors: LowRankFactors, opset: int, kind: Any) -> list[Any]:
    """The factors as stored tensors, in the type that the layer computes in."""
    onnx = import_onnx()
    name = layer.shape.weight
    if layer.shape.kind == "conv":
        return [
            _tensor(f"{name}.reduce.weight", factors.reduce, kind),
            _tensor(f"{name}.expand.weight", factors.expand, kind),
        ]
    groups, rank = _g(entry), _r(entry)
    right = factors.reduce.reshape(groups, rank, -1)  # (g, r, n/g)
    left = factors.expand.reshape(layer.shape.m, -1)  # (m, g*r)
    parts = [_tensor(f"{name}.reduce.{index}", block.T, kind) for index, block in enumerate(right)]
    sizes = onnx.numpy_helper.from_array(np.full(groups, right.shape[2], np.int64), f"{name}.reduce.sizes")
    return [
        *parts,
        *([sizes] if groups > 1 and opset >= SPLIT_BY_INPUT else []),
        _tensor(f"{name}.expand.weight", left.T, kind),
    ]


def _pair(node: Any, layer: OnnxLayer, entry: LayerPlan, opset: int) -> list[Any]:
    """The nodes that stand in for a node."""
    make = import_onnx().helper.make_node
    name, label, out = layer.shape.weight, layer.shape.name, node.output[0]
    middle = f"{label}.reduce.out"
    bias = [value for value in node.input[2:3] if value]
    if layer.shape.kind == "conv":
        window = {key: value for key, value in _attributes(node).items() if key in WINDOW}
        groups = layer.shape.groups
        first = make(
            "Conv",
            [node.input[0], f"{name}.reduce.weight"],
            [middle],
            f"{label}.reduce",
            group=groups * _g(entry),
            **window,
        )
        last = make("Conv", [middle, f"{name}.expand.weight", *bias], [out], f"{label}.expand", group=groups)
        return [first, last]
    groups, x = _g(entry), node.input[0]
    if groups == 1:
        nodes = [make("MatMul", [x, f"{name}.reduce.0"], [middle], f"{label}.reduce")]
    else:
        parts = [f"{label}.part.{index}" for index in range(groups)]
        sums = [f"{label}.sum.{index}" for index in range(groups)]
        by_input = opset >= SPLIT_BY_INPUT
        sizes: dict[str, Any] = {} if by_input else {"split": [layer.shape.in_channels // groups] * groups}
        given = [x, f"{name}.reduce.sizes"] if by_input else [x]
        nodes = [make("Split", given, parts, f"{label}.split", axis=-1, **sizes)]
        nodes += [
            make("MatMul", [part, f"{name}.reduce.{index}"], [result], f"{label}.reduce.{index}")
            for index, (part, result) in enumerate(zip(parts, sums, strict=True))
        ]
        nodes.append(make("Concat", sums, [middle], f"{label}.concat", axis=-1))
    if node.op_type == "MatMul":
        return [*nodes, make("MatMul", [middle, f"{name}.expand.weight"], [out], f"{label}.expand")]
    beta = {key: value for key, value in _attributes(node).items() if key == "beta"}
    return [*nodes, make("Gemm", [middle, f"{name}.expand.weight", *bias], [out], f"{label}.expand", **beta)]


def _drop_unused(model: Any) -> None:
    """Take away weights that nothing reads any more, and what was computed from them."""
    while True:
        read = {name for node in _all_nodes(model.graph) for name in node.input} | {
            value.name for value in model.graph.output
        }
        nodes = [node for node in model.graph.node if any(name in read for name in node.output)]
        stored = [tensor for tensor in model.graph.initializer if tensor.name in read]
        if len(nodes) == len(model.graph.node) and len(stored) == len(model.graph.initializer):
            break
        del model.graph.node[:]
        model.graph.node.extend(nodes)
        kept = {tensor.name for tensor in stored}
        gone = {tensor.name for tensor in model.graph.initializer} - kept
        inputs = [value for value in model.graph.input if value.name not in gone]
        del model.graph.initializer[:], model.graph.input[:]
        model.graph.initializer.extend(stored)
        model.graph.input.extend(inputs)


def _all_nodes(graph: Any) -> list[Any]:
    found = list(graph.node)
    for node in graph.node:
        for attribute in node.attribute:
            for inner in (*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs):
                found += _all_nodes(inner)
    return found


def _attributes(node: Any) -> dict[str, Any]:
    helper = import_onnx().helper
    return {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}


def _transposed(node: Any) -> bool:
    return bool(_attributes(node).get("transB"))


def _tensor(name: str, values: np.ndarray, kind: Any) -> Any:
    return import_onnx().numpy_helper.from_array(np.ascontiguousarray(values, kind), name)


def _g(entry: LayerPlan) -> int:
    assert entry.groups is not None  # the caller takes low-rank layers only
    return entry.groups


def _r(entry: LayerPlan) -> int:
    assert entry.rank is not None
    return entry.rank
