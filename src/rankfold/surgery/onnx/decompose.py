"""Low-rank layers in an ONNX file, without training."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from rankfold.calibration.moments import PatchMoments
from rankfold.errors import InputError
from rankfold.plan.layer import LayerPlan
from rankfold.plan.plan import Plan, check_plan
from rankfold.surgery.onnx.kinds import DecomposedLayer, StoredLayer, onnx_of
from rankfold.surgery.onnx.unused import drop_unused_
from rankfold.workload.onnx.layers import OnnxNetwork
from rankfold.workload.onnx.save import with_weights


def decompose_onnx(
    source: OnnxNetwork, plan: Plan, moments: Mapping[str, PatchMoments] | None = None
) -> tuple[Any, tuple[DecomposedLayer, ...]]:
    """A copy of an ONNX model in which the layers that `plan` makes low-rank are pairs.

    A Conv becomes a grouped Conv of the same window and a 1x1 Conv with the bias. A Gemm or MatMul becomes a
    product for each group of inputs and one for all outputs. Nodes that share a weight share its factors. The
    factors are those that `compress_` would make of the weight.

    Args:
        source: the model.
        plan: a plan for it.
        moments: of the inputs of layers whose factors shall keep the output on these inputs, by name; others
            get factors nearest to their weights.

    Returns:
        The model (`onnx.ModelProto`), with all weights inside, and a report for each low-rank layer, in the
        order of the plan.

    Raises:
        InputError: the plan is for another network, gives bits, which need training, or has layers that an
            ONNX file cannot have.
    """
    check_plan(plan, source.network)
    _check_written(plan)
    model = with_weights(source.file)
    taken = _values(model.graph)
    planned = {layer.name: layer for layer in plan.layers}
    places = {place.node.output[0]: place for place in source.layers}
    made: dict[str, StoredLayer | None] = {}
    nodes: list[Any] = []
    for node in model.graph.node:
        place = places.get(_first_output(node))
        if place is None:
            nodes.append(node)
            continue
        # The node of the copy, as the source's may have tensors that still lie beside the file.
        place = replace(place, node=node)
        layer = planned[place.shape.weight]
        part = onnx_of(layer)
        if layer.name not in made:
            layer_moments = (moments or {}).get(layer.name)
            made[layer.name] = part.store(layer, place, source.file, layer_moments)
        new = part.nodes(layer, place, source.file)
        _check_free(layer, made[layer.name], new, taken - set(node.output))
        nodes.extend(new)
    replaced = []
    for layer in plan.layers:
        stored = made[layer.name]
        if stored is not None:
            replaced.append(stored)
    _rewrite_(model, nodes, replaced)
    return model, tuple(stored.report for stored in replaced)


def _check_written(plan: Plan) -> None:
    """Refuse, before anything is computed, what an ONNX file cannot have without training."""
    if plan.quantised:
        raise InputError(
            "the plan gives layers bits, and an ONNX file is decomposed in float; make the plan without bits"
        )
    for layer in plan.layers:
        onnx_of(layer).check(layer)


def _first_output(node: Any) -> str:
    if not node.output:
        return ""
    return str(node.output[0])


def _values(graph: Any) -> set[str]:
    """The names of all values of a graph."""
    names = {value.name for value in graph.input}
    names.update(tensor.name for tensor in graph.initializer)
    for node in graph.node:
        names.update(node.output)
    return names


def _check_free(layer: LayerPlan, stored: StoredLayer | None, nodes: list[Any], taken: set[str]) -> None:
    """Refuse to make a value under the name of another one."""
    new: set[str] = set()
    if stored is not None:
        new.update(tensor.name for tensor in stored.tensors)
    for node in nodes:
        new.update(node.output)
    clashes = sorted(new & taken)
    if clashes:
        raise InputError(
            f"layer {layer.name}: the model has a value called {clashes[0]} already, which its pair would "
            "have; rename it, or keep the layer dense"
        )


def _rewrite_(model: Any, nodes: list[Any], replaced: list[StoredLayer]) -> None:
    """Give the model these nodes and the tensors that they read, and drop what nothing reads any more."""
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    for stored in replaced:
        model.graph.initializer.extend(stored.tensors)
    drop_unused_(model)
    model.producer_name = "rankfold"
