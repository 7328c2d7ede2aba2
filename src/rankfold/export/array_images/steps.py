"""Operators of a torch graph as the steps of an array image; docs/arrays.md says what each step computes."""

from __future__ import annotations

import operator
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor, fx

from rankfold.errors import InputError
from rankfold.export.array_images.writer import Step
from rankfold.export.array_images.writers import WRITERS

CHECKS = ("_assert_tensor_metadata",)  # operators that compute nothing
MARKS = ("on_arrays",)  # operators that stand for layers, and are never run


@dataclass(frozen=True)
class Program:
    """The steps of a network, for one sample.

    Attributes:
        inputs: names of the values that the network is called with, in their order, (1, ...) each.
        steps: each with the name of its output, what it does, the names of its inputs, and numbers.
        output: name of the value that is the result.
        constants: arrays that steps name, float64.
    """

    inputs: tuple[str, ...]
    steps: tuple[Step, ...]
    output: str
    constants: dict[str, np.ndarray]


class StepWriter:
    """Turns a graph of torch's core operators into steps.

    Args:
        stored: parameters, buffers and constants of the exported network, by name.
        inputs: from the name of an input of the graph to the name of what is stored for it.
    """

    def __init__(
        self,
        stored: Mapping[str, Any],
        inputs: Mapping[str, str],
    ) -> None:
        self._stored = stored
        self._inputs = inputs
        self._constants: dict[str, np.ndarray] = {}
        # Values that operators hand on unchanged, by the name of the value that they are.
        self._renamed: dict[str, str] = {}
        # What is computed from stored values alone, by the name of its node.
        self._computed: dict[str, Tensor] = {}

    def write(self, graph: fx.Graph) -> Program:
        """All steps of a graph.

        Raises:
            InputError: an operator has no step; the message names it.
        """
        steps: list[Step] = []
        inputs: list[str] = []
        output = ""
        for node in graph.nodes:
            if node.op == "output":
                result = self._result(node)
                output = self.name(result)
            elif node.op != "placeholder":
                steps += self._steps(node)
            elif node.name not in self._inputs and isinstance(node.meta.get("val"), Tensor):
                # All other placeholders stand for what is stored, or for numbers that were called with.
                inputs.append(node.name)
        return Program(tuple(inputs), tuple(steps), output, self._constants)

    def _result(self, node: fx.Node) -> fx.Node:
        """The one tensor that the network gives, with a row for each image."""
        outputs: Any = node.args[0]
        given = [part for part in outputs if isinstance(part, fx.Node)]
        if len(given) != 1:
            raise InputError(
                f"the network gives {len(given)} tensors, and array images need one; wrap it so that it "
                "gives that alone"
            )
        (result,) = given
        shape = tuple(result.meta["val"].shape)
        if shape[:1] != (1,):
            raise InputError(
                f"the network gives a result of {shape} for one image, and array images need one row for each"
            )
        if self.is_constant(result):
            raise InputError("the network gives the same for every image, which needs no array")
        return result

    def name(self, node: Any) -> str:
        """The name of a node's value, which is kept where it is the same for all images."""
        if self.is_constant(node):
            return self.constant(node.name, self.array(node))
        return self._renamed.get(node.name, node.name)

    def is_constant(self, node: fx.Node) -> bool:
        """Whether a value is stored, or computed from stored values alone."""
        return node.name in self._inputs or node.name in self._computed

    def tensor(self, node: fx.Node) -> Tensor:
        """The value of a constant."""
        if node.name in self._computed:
            return self._computed[node.name]
        value: Tensor = self._stored[self._inputs[node.name]]
        return value

    def array(self, node: Any) -> np.ndarray:
        """The value of a constant, float64."""
        value: np.ndarray = self.tensor(node).detach().cpu().double().numpy()
        return value

    def constant(self, name: str, value: np.ndarray) -> str:
        """Keep an array under a name; the name."""
        self._constants[name] = value
        return name

    def operand(self, value: Any, place: int) -> str:
        """The name of an operand, which may be a number or a stored array."""
        if not isinstance(value, fx.Node):
            # The count makes the name unlike those of earlier steps.
            label = f"number_{len(self._constants)}_{place}"
            return self.constant(label, np.asarray(float(value)))
        return self.name(value)

    def _steps(self, node: fx.Node) -> list[Step]:
        """The step of a node; none, where nothing is computed."""
        if node.target is operator.getitem:
            self._take_first(node)
            return []
        kind = _kind(node)
        if kind in CHECKS or self._compute(node):
            return []
        write = WRITERS.get(kind)
        if write is None:
            raise InputError(
                f"the network computes {kind} between its layers, which no step of an array image stands "
                f"for; known are {', '.join(sorted(WRITERS))}"
            )
        written = write(self, node, list(node.args))
        if written is None:
            raise InputError(
                f"the network computes {kind} between its layers in a way that no step of an array image "
                "has; docs/arrays.md says what steps compute"
            )
        if isinstance(written, str):
            self._renamed[node.name] = written
            return []
        if isinstance(written, list):
            return written
        return [{"output": node.name, **written}]

    def _compute(self, node: fx.Node) -> bool:
        """Compute a value that is the same for all images; whether it is one."""
        read = node.all_input_nodes
        if _kind(node) in MARKS or not all(self.is_constant(other) for other in read):
            return False
        args = fx.map_arg(node.args, self.tensor)
        options = fx.map_arg(node.kwargs, self.tensor)
        value = node.target(*args, **options)  # type: ignore[operator]
        if not isinstance(value, Tensor):
            return False
        self._computed[node.name] = value.detach()
        return True

    def _take_first(self, node: fx.Node) -> None:
        """Use the first of an operator's values.

        Batch norms and pools give more of them: statistics, and the places of the maxima.
        """
        values, place = node.args
        if place != 0:
            raise InputError(
                f"operator {_kind(node)} of the network gives several values, which no step stands for"
            )
        self._renamed[node.name] = self.name(values)


def _kind(node: fx.Node) -> str:
    """The name of a node's operator, such as `relu`."""
    full = node.target
    if not isinstance(full, str):
        full = getattr(full, "__name__", str(full))
    # The rest is the overload, such as `add.Tensor`.
    kind, _, _ = full.partition(".")
    return kind
