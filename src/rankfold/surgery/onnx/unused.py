"""What nothing in an ONNX graph reads any more."""

from __future__ import annotations

from typing import Any


def drop_unused_(model: Any) -> None:
    """Take away, in place, weights that nothing reads, and nodes of which nothing is read.

    Args:
        model: an `onnx.ModelProto`.
    """
    # A node that goes may have been the last one to read what others make.
    while _drop_once_(model.graph):
        pass


def _drop_once_(graph: Any) -> bool:
    """Whether there was anything to take away."""
    read = {value.name for value in graph.output}
    for node in _all_nodes(graph):
        read.update(node.input)
    nodes = [node for node in graph.node if not read.isdisjoint(node.output)]
    stored = [tensor for tensor in graph.initializer if tensor.name in read]
    if len(nodes) == len(graph.node) and len(stored) == len(graph.initializer):
        return False
    gone = {tensor.name for tensor in graph.initializer if tensor.name not in read}
    # Older files name every stored tensor among the inputs too.
    inputs = [value for value in graph.input if value.name not in gone]
    del graph.node[:], graph.initializer[:], graph.input[:]
    graph.node.extend(nodes)
    graph.initializer.extend(stored)
    graph.input.extend(inputs)
    return True


def _all_nodes(graph: Any) -> list[Any]:
    """The nodes of a graph and of all graphs inside them, as those of `If` and `Loop`, which read outer
    values."""
    nodes = list(graph.node)
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("g"):
                nodes += _all_nodes(attribute.g)
            for inner in attribute.graphs:
                nodes += _all_nodes(inner)
    return nodes
