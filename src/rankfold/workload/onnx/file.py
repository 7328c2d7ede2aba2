"""An ONNX file, opened and checked: its graph, its weights inside or beside it, and which values are constant."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from rankfold.errors import InputError, MissingDependencyError

FIRST_OPSET = 11
# Nodes whose value changes from run to run although nothing that changes goes in.
RANDOM = ("RandomNormal", "RandomUniform", "RandomNormalLike", "RandomUniformLike", "Multinomial", "Bernoulli")
# The evaluator knows quantisers from this opset on only; earlier ones compute the same.
QUANTISERS, QUANTISERS_FROM = ("QuantizeLinear", "DequantizeLinear"), 19
CONSTANT_ATTRIBUTES = ("value", "value_float", "value_floats", "value_int", "value_ints")


def import_onnx() -> Any:
    """The package `onnx`.

    Raises:
        MissingDependencyError: it is not installed.
    """
    try:
        import onnx
    except ImportError:
        raise MissingDependencyError("ONNX files need the package onnx, which is not installed: pip install onnx") from None
    return onnx


@dataclass(frozen=True, eq=False)
class OnnxFile:
    """A parsed ONNX model.

    Attributes:
        path: the file; weights outside it lie in its folder.
        model: the model, an `onnx.ModelProto`, with weights outside the file not loaded.
        opset: version of the default operator set.
    """

    path: Path
    model: Any
    opset: int

    @cached_property
    def initializers(self) -> Mapping[str, Any]:
        """Stored tensors (`onnx.TensorProto`) by name, those of `Constant` nodes too."""
        onnx = import_onnx()
        found = {tensor.name: tensor for tensor in self.model.graph.initializer}
        for node in self.model.graph.node:
            if node.op_type == "Constant" and node.output:
                for attribute in node.attribute:
                    if attribute.name == "value":
                        found[node.output[0]] = attribute.t
                    elif attribute.name in CONSTANT_ATTRIBUTES:
                        value = np.asarray(onnx.helper.get_attribute_value(attribute))
                        kind = np.float32 if attribute.name.startswith("value_float") else np.int64
                        found[node.output[0]] = onnx.numpy_helper.from_array(value.astype(kind), node.output[0])
        return found

    @cached_property
    def producers(self) -> Mapping[str, Any]:
        """The node that makes each value."""
        return {output: node for node in self.model.graph.node for output in node.output if output}

    @cached_property
    def inputs(self) -> tuple[Any, ...]:
        """Inputs of the graph that have no stored default (`onnx.ValueInfoProto`)."""
        stored = {tensor.name for tensor in self.model.graph.initializer}
        return tuple(value for value in self.model.graph.input if value.name not in stored)

    @cached_property
    def constants(self) -> frozenset[str]:
        """Values that are the same in every run: stored tensors and all that is computed from these alone."""
        known = set(self.initializers)
        for node in self.model.graph.node:
            nested = any(attribute.HasField("g") or attribute.graphs for attribute in node.attribute)
            if node.input and not nested and node.op_type not in RANDOM and all(not name or name in known for name in node.input):
                known.update(node.output)
        return frozenset(known - {""})

    @cached_property
    def parameters(self) -> int:
        """Stored numbers, without single ones and without sizes and indices (which are whole numbers of 64 bits)."""
        kinds = import_onnx().TensorProto
        sizes = (kinds.INT64, kinds.BOOL, kinds.STRING)
        counts = (
            math.prod(tensor.dims) for tensor in self.initializers.values() if tensor.dims and tensor.data_type not in sizes
        )
        return sum(count for count in counts if count > 1)

    def root(self, name: str) -> str:
        """The largest stored tensor that a constant is computed from: the weight behind a dequantised or transposed one."""
        return max(self.ancestors(name), key=lambda stored: math.prod(self.initializers[stored].dims), default=name)

    def ancestors(self, name: str) -> tuple[str, ...]:
        """The stored tensors that a constant is computed from."""
        return tuple(value for value in self._behind(name) if value in self.initializers)

    def array(self, name: str) -> np.ndarray:
        """The value of a constant.

        Raises:
            InputError: it cannot be computed; the message names the node.
        """
        onnx = import_onnx()
        if name in self.initializers:
            return np.asarray(onnx.numpy_helper.to_array(self.initializers[name], str(self.path.parent)))
        made = {value for value in self._behind(name) if value not in self.initializers}
        graph = onnx.helper.make_graph(
            [node for node in self.model.graph.node if made.intersection(node.output)], "constant", [],
            [onnx.helper.make_empty_tensor_value_info(name)],
            [onnx.numpy_helper.from_array(self.array(stored), stored) for stored in self.ancestors(name)],
        )  # fmt: skip
        try:
            from onnx.reference import ReferenceEvaluator

            model = onnx.helper.make_model(graph, opset_imports=self.model.opset_import)
            if any(node.op_type in QUANTISERS for node in graph.node):
                for entry in model.opset_import:
                    if entry.domain in ("", "ai.onnx"):
                        entry.version = max(entry.version, QUANTISERS_FROM)
            found: Any = ReferenceEvaluator(model).run(None, {})
            return np.asarray(found[0])
        except Exception as error:  # an operator that the evaluator lacks raises anything
            node = describe(self.producers[name])
            raise InputError(f"{self.path}: the constant made by {node} cannot be computed: {error}") from None

    def _behind(self, name: str) -> dict[str, None]:
        """The value and all that it is computed from, down to stored tensors."""
        waiting, seen = [name], dict[str, None]()
        while waiting:
            value = waiting.pop()
            if value and value not in seen:
                seen[value] = None
                if value not in self.initializers and value in self.producers:
                    waiting.extend(self.producers[value].input)
        return seen


def describe(node: Any) -> str:
    """A node in words: its name, or the value it makes, and its operator."""
    name = node.name or (node.output[0] if node.output else "without a name")
    return f"node {name} ({node.op_type})"


def open_onnx(path: str | Path) -> OnnxFile:
    """Open an ONNX file of opset 11 or later.

    Weights outside the file are checked to be there, and not read.

    Raises:
        InputError: the file is missing, broken, older, or lacks weights that lie beside it.
        MissingDependencyError: onnx is not installed.
    """
    onnx = import_onnx()
    source = Path(path)
    try:
        content = source.read_bytes()
    except OSError as error:
        raise InputError(f"cannot read {source}: {error.strerror}") from error
    model = onnx.ModelProto()
    try:
        model.ParseFromString(content)
    except Exception as error:  # protobuf's own kind of error, which differs between its versions
        raise InputError(f"{source} is not an ONNX file, or is damaged: it cannot be parsed; export it again") from error
    if not model.graph.node:
        raise InputError(f"{source} is not an ONNX file, or is damaged: it holds no graph; export it again")
    opset = max((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), default=0)
    if opset < FIRST_OPSET:
        raise InputError(
            f"{source} has opset {opset}, and {FIRST_OPSET} or later is needed: convert it with onnx.version_converter, or "
            "export it again"
        )
    if model.functions:
        from onnx.inliner import inline_local_functions

        model = inline_local_functions(model)
    _check_order(model, source)
    _check_external(model, source)
    return OnnxFile(source, model, opset)


def _check_order(model: Any, source: Path) -> None:
    """Every value must be made before it is used, and by one node."""
    known = {value.name for value in model.graph.input} | {tensor.name for tensor in model.graph.initializer}
    known |= {tensor.values.name for tensor in model.graph.sparse_initializer}
    for node in model.graph.node:
        missing = [name for name in node.input if name and name not in known]
        if missing:
            raise InputError(f"{source} is damaged: {describe(node)} reads {missing[0]}, which nothing before it makes")
        known.update(node.output)


def _check_external(model: Any, source: Path) -> None:
    """Every tensor stored beside the file must be there, whole, and in its folder or below."""
    onnx = import_onnx()
    folder = source.parent.resolve()
    stored = list(model.graph.initializer)
    stored += [attribute.t for node in model.graph.node for attribute in node.attribute if attribute.HasField("t")]
    for tensor in stored:
        if tensor.data_location != onnx.TensorProto.EXTERNAL:
            continue
        entry = {item.key: item.value for item in tensor.external_data}
        location = entry.get("location", "")
        beside = (folder / location).resolve()
        user = next((describe(node) for node in model.graph.node if tensor.name in node.input), "no node")
        where = f"{source}: weight {tensor.name} of {user}"
        if not location or not beside.is_relative_to(folder):
            raise InputError(f"{where} lies outside the file's folder ({location or 'no place given'}), which is refused")
        if not beside.is_file():
            raise InputError(f"{where} is in the file {location}, which is missing; put it beside {source.name}")
        try:
            end = int(entry.get("offset", 0)) + int(entry.get("length", 0))
        except ValueError:
            raise InputError(f"{where} has a place in {location} that is no number; export it again") from None
        if beside.stat().st_size < end:
            raise InputError(f"{where} ends at byte {end:,} of {location}, which has {beside.stat().st_size:,}; copy it again")
