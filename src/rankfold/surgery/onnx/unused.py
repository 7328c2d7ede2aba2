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
    read = _read_in(graph)
    # Of a node with several values, one that is read keeps it.
    nodes = []
    for node in graph.node:
        if not read.isdisjoint(node.output):
            nodes.append(node)
    stored = []
    unread = set()
    for tensor in graph.initializer:
        if tensor.name in read:
            stored.append(tensor)
        else:
            unread.add(tensor.name)
    if not unread and len(nodes) == len(graph.node):
        return False
    # Older files name every stored tensor among the inputs too.
    inputs = [value for value in graph.input if value.name not in unread]
    _refill_(graph.node, nodes)
    _refill_(graph.initializer, stored)
    _refill_(graph.input, inputs)
    return True


def _refill_(held: Any, kept: list[Any]) -> None:
    """Hold only these messages, in a field of a message that cannot be assigned to."""
    del held[:]
    held.extend(kept)


def _read_in(graph: Any) -> set[str]:
    """The names of all values that something reads, outputs of the graph among them."""
    read = {value.name for value in graph.output}
    for node in graph.node:
        read.update(node.input)
        # Graphs inside, as those of If and Loop, read outer values without naming them among the inputs.
        for attribute in node.attribute:
            if attribute.HasField("g"):
                read |= _read_in(attribute.g)
            for inner in attribute.graphs:
                read |= _read_in(inner)
    return read
