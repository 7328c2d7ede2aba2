"""Low-rank layers in an ONNX file, without training."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from rankfold.calibration.moments import PatchMoments
from rankfold.errors import InputError
from rankfold.plan.layer import LayerPlan
from rankfold.plan.plan import Plan, check_plan
from rankfold.progress import Progress, Silent
from rankfold.surgery.onnx.kinds import DecomposedLayer, StoredLayer, onnx_of
from rankfold.surgery.onnx.unused import drop_unused_
from rankfold.workload.onnx.layers import OnnxLayer, OnnxNetwork
from rankfold.workload.onnx.save import with_weights


def decompose_onnx(
    source: OnnxNetwork,
    plan: Plan,
    moments: Mapping[str, PatchMoments] | None = None,
    progress: Progress | None = None,
) -> tuple[Any, tuple[DecomposedLayer, ...]]:
    """A copy of an ONNX model in which the layers that `plan` makes low-rank are pairs.

    A Conv becomes a grouped Conv of the same window and a 1x1 Conv with the bias. A Gemm or MatMul becomes a
    product for each group of inputs and one for all outputs. Nodes that share a weight share its factors. The
    factors are those that `compress_` would make of the weight and the moments.

    Args:
        source: the model.
        plan: a plan for it.
        moments: of the inputs of layers whose factors shall keep the output on these inputs, by name; others
            get factors nearest to their weights.
        progress: hears which layers are done.

    Returns:
        The model (`onnx.ModelProto`), with all weights inside, and a report for each layer that changed, in
        the order of the plan.

    Raises:
        InputError: the plan is for another network, gives bits, which need training, or has layers that an
            ONNX file cannot have; or a name that a pair needs is taken.
    """
    check_plan(plan, source.network)
    # All layers before the first one is decomposed, which can take long.
    _check_written(plan)
    model = with_weights(source.file)
    walk = _Walk(source, plan, moments or {}, _values(model.graph))
    places = {place.node.output[0]: place for place in source.layers}
    progress = progress or Silent()
    progress.begin("decomposing", len(places), "layers")
    for node in model.graph.node:
        place = None
        if node.output:
            place = places.get(node.output[0])
        if place is None:
            walk.nodes.append(node)
        else:
            # The node of the copy, as the source's may have tensors that still lie beside the file.
            walk.replace(replace(place, node=node))
            progress.advance()
    progress.end()
    replaced = walk.replaced()
    # A field of messages cannot be assigned to; nodes outlive the list that held them.
    del model.graph.node[:]
    model.graph.node.extend(walk.nodes)
    for stored in replaced:
        model.graph.initializer.extend(stored.tensors)
    drop_unused_(model)
    model.producer_name = "rankfold"
    return model, tuple(stored.report for stored in replaced)


def _check_written(plan: Plan) -> None:
    """Refuse, before anything is computed, what an ONNX file cannot have without training."""
    if plan.quantised:
        raise InputError(
            "the plan gives layers bits, and an ONNX file is decomposed in float; make the plan without bits"
        )
    for layer in plan.layers:
        part = onnx_of(layer)
        part.check(layer)


class _Walk:
    """Goes through the nodes of a graph in order, and collects those of the new one.

    Args:
        source: the model.
        plan: a plan for it.
        moments: of the inputs of layers, by name.
        taken: names of the values of the graph.

    Attributes:
        nodes: of the new graph, so far.
    """

    def __init__(
        self,
        source: OnnxNetwork,
        plan: Plan,
        moments: Mapping[str, PatchMoments],
        taken: set[str],
    ) -> None:
        self.file = source.file
        self.layers = {layer.name: layer for layer in plan.layers}
        self.moments = moments
        self.taken = taken
        self.nodes: list[Any] = []
        self._stored: dict[str, StoredLayer | None] = {}

    def replace(self, place: OnnxLayer) -> None:
        """Add what stands in for a node, and make the new weights when the first one of a layer comes."""
        layer = self.layers[place.shape.weight]
        part = onnx_of(layer)
        if layer.name not in self._stored:
            moments = self.moments.get(layer.name)
            self._stored[layer.name] = part.store(layer, place, self.file, moments)
        nodes = part.nodes(layer, place, self.file)
        self._check_free(layer, place, nodes)
        self.nodes += nodes

    def replaced(self) -> list[StoredLayer]:
        """What was stored for the layers that changed, in the order of the plan."""
        replaced = []
        for name in self.layers:
            stored = self._stored[name]
            if stored is not None:
                replaced.append(stored)
        return replaced

    def _check_free(self, layer: LayerPlan, place: OnnxLayer, nodes: list[Any]) -> None:
        """Refuse to make a value under the name of another one."""
        # Runtimes refuse such a file, or take one of the two values for the other.
        new: set[str] = set()
        stored = self._stored[layer.name]
        if stored is not None:
            new.update(tensor.name for tensor in stored.tensors)
        for node in nodes:
            new.update(node.output)
        # The output keeps its name.
        clashes = (new & self.taken) - set(place.node.output)
        if clashes:
            raise InputError(
                f"layer {layer.name}: the model has a value called {min(clashes)} already, which its pair "
                "would have; rename it, or keep the layer dense"
            )


def _values(graph: Any) -> set[str]:
    """The names of all values of a graph."""
    names = {value.name for value in graph.input}
    names.update(tensor.name for tensor in graph.initializer)
    for node in graph.node:
        names.update(node.output)
    return names
