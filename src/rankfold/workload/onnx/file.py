"""An ONNX file, opened and checked: its graph, its weights inside or beside it, and its constant values."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from rankfold.errors import InputError, MissingDependencyError, first_line

FIRST_OPSET = 7  # earlier ones spread operands over each other in a way of their own
# Nodes whose value changes from run to run although nothing that changes goes in.
RANDOM = (
    "RandomNormal",
    "RandomUniform",
    "RandomNormalLike",
    "RandomUniformLike",
    "Multinomial",
    "Bernoulli",
)
# The evaluator knows quantisers from this opset on only; earlier ones compute the same.
QUANTISERS = ("QuantizeLinear", "DequantizeLinear")
QUANTISERS_FROM = 19
CONSTANT_ATTRIBUTES = ("value_float", "value_floats", "value_int", "value_ints")
DEFAULT_DOMAINS = ("", "ai.onnx")  # two spellings of ONNX's own set of operators


def import_onnx() -> Any:
    """The package `onnx`.

    Raises:
        MissingDependencyError: it is not installed.
    """
    try:
        import onnx
    except ImportError:
        raise MissingDependencyError(
            "ONNX files need the package onnx, which is not installed: pip install onnx"
        ) from None
    return onnx


@dataclass(frozen=True, eq=False)
class OnnxFile:
    """A parsed ONNX model.

    Attributes:
        path: the file; weights outside it lie in its folder.
        model: the model, an `onnx.ModelProto`, with weights outside the file not loaded.
        opset: version of the default operator set.
        resized: whether inputs of the model have other sizes than in the file.
    """

    path: Path
    model: Any
    opset: int
    resized: bool = False

    @cached_property
    def initializers(self) -> Mapping[str, Any]:
        """Stored tensors (`onnx.TensorProto`) by name, those of `Constant` nodes too."""
        stored = {tensor.name: tensor for tensor in self.model.graph.initializer}
        for node in self.model.graph.node:
            if node.op_type != "Constant" or not node.output:
                continue
            name = node.output[0]
            for attribute in node.attribute:
                if attribute.name == "value":
                    stored[name] = attribute.t
                elif attribute.name in CONSTANT_ATTRIBUTES:
                    stored[name] = _as_tensor(attribute, name)
        return stored

    @cached_property
    def producers(self) -> Mapping[str, Any]:
        """The node that makes each value."""
        producers: dict[str, Any] = {}
        for node in self.model.graph.node:
            for output in node.output:
                if output:  # an output that is not wanted has an empty name
                    producers[output] = node
        return producers

    @cached_property
    def inputs(self) -> tuple[Any, ...]:
        """Inputs of the graph that have no stored default (`onnx.ValueInfoProto`)."""
        stored = {tensor.name for tensor in self.model.graph.initializer}
        inputs = self.model.graph.input
        return tuple(value for value in inputs if value.name not in stored)

    @cached_property
    def constants(self) -> frozenset[str]:
        """Values that are the same in every run: stored tensors and all that is computed from these alone."""
        known = set(self.initializers)
        known.add("")  # an input that is not given
        # Nodes come after those that they read from.
        for node in self.model.graph.node:
            if node.input and is_repeatable(node) and known.issuperset(node.input):
                known.update(node.output)
        known.discard("")
        return frozenset(known)

    @cached_property
    def parameters(self) -> int:
        """Stored numbers, without single ones and without sizes and indices (whole numbers of 64 bits)."""
        kinds = import_onnx().TensorProto
        others = (kinds.INT64, kinds.BOOL, kinds.STRING)
        total = 0
        for tensor in self.initializers.values():
            count = math.prod(tensor.dims)
            if tensor.dims and tensor.data_type not in others and count > 1:
                total += count
        return total

    def root(self, name: str) -> str:
        """The largest stored tensor that a constant is computed from.

        It is the weight behind a dequantised or transposed one.
        """
        return max(self.ancestors(name), key=self._count, default=name)

    def _count(self, stored: str) -> int:
        return math.prod(self.initializers[stored].dims)

    def ancestors(self, name: str) -> tuple[str, ...]:
        """The stored tensors that a constant is computed from."""
        behind = self._behind(name)
        return tuple(value for value in behind if value in self.initializers)

    def array(self, name: str) -> np.ndarray:
        """The value of a constant.

        Raises:
            InputError: it is damaged, or cannot be computed; the message names it or the node.
        """
        if name in self.initializers:
            return self._stored(name)
        graph = self._graph_of(name)
        try:
            return self._evaluated(graph)
        except Exception as error:  # an operator that the evaluator lacks raises anything
            node = describe(self.producers[name])
            raise InputError(
                f"{self.path}: the constant made by {node} cannot be computed: {error}"
            ) from None

    def _stored(self, name: str) -> np.ndarray:
        """The value of a stored tensor, in the file or beside it."""
        helper = import_onnx().numpy_helper
        folder = str(self.path.parent)
        try:
            return np.asarray(helper.to_array(self.initializers[name], folder))
        except Exception as error:  # onnx has many kinds for types, sizes and data that contradict each other
            raise InputError(
                f"{self.path} is damaged: the stored tensor {name} cannot be read ({first_line(error)}); "
                "export it again"
            ) from None

    def _graph_of(self, name: str) -> Any:
        """The part of the graph that computes a constant, and nothing else."""
        onnx = import_onnx()
        made = set(self._behind(name)).difference(self.initializers)
        nodes = []
        for node in self.model.graph.node:  # in their order, each after those that it reads from
            if made.intersection(node.output):
                nodes.append(node)
        stored = []
        for ancestor in self.ancestors(name):
            value = self.array(ancestor)
            stored.append(onnx.numpy_helper.from_array(value, ancestor))
        output = onnx.helper.make_empty_tensor_value_info(name)
        return onnx.helper.make_graph(
            nodes,
            "constant",
            inputs=[],
            outputs=[output],
            initializer=stored,
        )

    def _evaluated(self, graph: Any) -> np.ndarray:
        from onnx.reference import ReferenceEvaluator

        model = import_onnx().helper.make_model(graph, opset_imports=self.model.opset_import)
        if any(node.op_type in QUANTISERS for node in graph.node):
            for entry in model.opset_import:
                if entry.domain in DEFAULT_DOMAINS:
                    entry.version = max(entry.version, QUANTISERS_FROM)
        values: Any = ReferenceEvaluator(model).run(None, {})  # all outputs, of which there is one
        return np.asarray(values[0])

    def _behind(self, name: str) -> dict[str, None]:
        """The value and all that it is computed from, down to stored tensors, in a fixed order."""
        waiting = [name]
        seen: dict[str, None] = {}
        while waiting:
            value = waiting.pop()
            if not value or value in seen:
                continue
            seen[value] = None
            if value not in self.initializers and value in self.producers:
                waiting.extend(self.producers[value].input)
        return seen


def _as_tensor(attribute: Any, name: str) -> Any:
    """The number or numbers that a `Constant` node has as an attribute, as a stored tensor."""
    onnx = import_onnx()
    value = np.asarray(onnx.helper.get_attribute_value(attribute))
    if attribute.name.startswith("value_float"):
        value = value.astype(np.float32)
    else:
        value = value.astype(np.int64)
    return onnx.numpy_helper.from_array(value, name)


def is_repeatable(node: Any) -> bool:
    """Whether a node makes the same of the same inputs."""
    # A graph inside it may read values that are not among its inputs.
    if node.op_type in RANDOM:
        return False
    return not any(_holds_graph(attribute) for attribute in node.attribute)


def _holds_graph(attribute: Any) -> bool:
    return bool(attribute.HasField("g") or attribute.graphs)


def describe(node: Any) -> str:
    """A node in words: its name, or the value it makes, and its operator."""
    name = node.name
    if not name and node.output:
        name = node.output[0]
    name = name or "without a name"
    return f"node {name} ({node.op_type})"


def open_onnx(path: str | Path) -> OnnxFile:
    """Open an ONNX file of opset 7 or later.

    Weights outside the file are checked to be there, and not read.

    Raises:
        InputError: the file is missing, broken, older, or lacks weights that lie beside it.
        MissingDependencyError: onnx is not installed.
    """
    source = Path(path)
    model = _parsed(source)
    opset = 0
    for entry in model.opset_import:
        if entry.domain in DEFAULT_DOMAINS:
            opset = max(opset, entry.version)
    if opset < FIRST_OPSET:
        raise InputError(f"{source} has opset {opset}, and {FIRST_OPSET} or later is needed: export it again")
    # Functions of the model's own are written out, so that their nodes are seen.
    if model.functions:
        from onnx.inliner import inline_local_functions

        model = inline_local_functions(model)
    _check_texts(model, source)
    _check_order(model, source)
    _check_external(model, source)
    return OnnxFile(source, model, opset)


def _parsed(source: Path) -> Any:
    """The file as an `onnx.ModelProto`."""
    onnx = import_onnx()
    try:
        content = source.read_bytes()
    except OSError as error:
        raise InputError(f"cannot read {source}: {error.strerror}") from error
    model = onnx.ModelProto()
    try:
        model.ParseFromString(content)
    except Exception as error:  # protobuf's own kind of error, which differs between its versions
        raise InputError(
            f"{source} is not an ONNX file, or is damaged: it cannot be parsed; export it again"
        ) from error
    # Some files of other kinds can be parsed, and say nothing.
    if not model.graph.node:
        raise InputError(f"{source} is not an ONNX file, or is damaged: it holds no graph; export it again")
    return model


def _check_texts(model: Any, source: Path) -> None:
    """Every name must be a text, and every node must have an operator."""
    for node in model.graph.node:
        texts = [node.op_type, node.domain, node.name, *node.input, *node.output]
        if not all(isinstance(text, str) for text in texts):
            raise InputError(f"{source} is damaged: names in it are no text; export it again")
        if not node.op_type:
            raise InputError(f"{source} is damaged: {describe(node)} has no operator; export it again")
    for tensor in _stored_tensors(model.graph):
        texts = [tensor.name]
        for item in tensor.external_data:
            texts += [item.key, item.value]
        # What is no UTF-8 is given as bytes.
        if not all(isinstance(text, str) for text in texts):
            raise InputError(f"{source} is damaged: names in it are no text; export it again")


def _check_order(model: Any, source: Path) -> None:
    """Every value must be made before it is used, and once."""
    graph = model.graph
    known = {""}  # an input that is not given
    known.update(value.name for value in graph.input)
    known.update(tensor.name for tensor in graph.initializer)
    known.update(tensor.values.name for tensor in graph.sparse_initializer)
    for node in graph.node:
        for name in node.input:
            if name not in known:
                raise InputError(
                    f"{source} is damaged: {describe(node)} reads {name}, which nothing before it makes"
                )
        for name in node.output:
            if name in known - {""}:
                raise InputError(
                    f"{source} is damaged: {describe(node)} makes {name}, which is there already"
                )
            known.add(name)


def _check_external(model: Any, source: Path) -> None:
    """Every tensor stored beside the file must be there, whole, and in its folder or below."""
    external = import_onnx().TensorProto.EXTERNAL
    for tensor in _stored_tensors(model.graph):
        if tensor.data_location == external:
            _check_beside(tensor, model, source)


def _stored_tensors(graph: Any) -> Iterator[Any]:
    """All of a graph, and of the graphs inside it."""
    yield from graph.initializer
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield attribute.t
            yield from attribute.tensors
            if attribute.HasField("g"):
                yield from _stored_tensors(attribute.g)
            for inner in attribute.graphs:
                yield from _stored_tensors(inner)


def _check_beside(
    tensor: Any,
    model: Any,
    source: Path,
) -> None:
    entry = {item.key: item.value for item in tensor.external_data}
    location = entry.get("location", "")
    folder = source.parent.resolve()
    where = f"{source}: weight {tensor.name} of {_reader(tensor, model)}"
    try:
        beside = (folder / location).resolve()
        there = beside.is_file()
    except (OSError, ValueError):  # a name that no file can have: too long, or with a byte of zero
        raise InputError(f"{where} is in a file whose name cannot be one; export it again") from None
    # Through links, too: a file from elsewhere must not make the user's other files part of a network.
    if not location or not beside.is_relative_to(folder):
        place = location or "no place given"
        raise InputError(f"{where} lies outside the file's folder ({place}), which is refused")
    if not there:
        raise InputError(f"{where} is in the file {location}, which is missing; put it beside {source.name}")
    try:
        begin = int(entry.get("offset", 0))
        length = int(entry.get("length", 0))
    except ValueError:
        raise InputError(f"{where} has a place in {location} that is no number; export it again") from None
    if begin < 0 or length < 0:
        raise InputError(f"{where} has a place before the start of {location}; export it again")
    end = begin + length
    size = beside.stat().st_size
    if size < end:
        raise InputError(f"{where} ends at byte {end:,} of {location}, which has {size:,}; copy it again")


def _reader(tensor: Any, model: Any) -> str:
    """The first node that reads a stored tensor, in words."""
    for node in model.graph.node:
        if tensor.name in node.input:
            return describe(node)
    return "no node"
