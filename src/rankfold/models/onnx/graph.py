"""`OnnxGraph`: a graph of ONNX as a torch network, whose layers are modules that can be replaced."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from rankfold.errors import InputError, RankfoldError, first_line
from rankfold.models.onnx.operators import Value


@dataclass(frozen=True)
class Step:
    """One operator of a graph.

    Attributes:
        words: the node, for messages.
        run: a function of the inputs, or the name of a module.
        inputs: names of values; empty: not given.
        outputs: names that its values get; empty: not wanted.
    """

    words: str
    run: Callable[..., Any] | str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


class OnnxGraph(nn.Module):
    """Computes what an ONNX file computes, on batches of the sizes that the file takes.

    Its convolutions and products with stored matrices are modules (`nn.Conv2d`, `nn.Linear`, ...) of the
    names that `rankfold map` gives them, its batch norms are modules too, and other stored numbers are
    buffers, which training leaves alone.

    Args:
        inputs: names of the inputs, in their order, with the samples in a batch where the file fixes them.
        outputs: names of the outputs, in their order.
        steps: in an order in which they can be run.
        numbers: values that are known: whole numbers of Python's.
        tensors: values that are known and become buffers.
    """

    def __init__(
        self,
        inputs: Mapping[str, int | None],
        outputs: Sequence[str],
        steps: Sequence[Step],
        *,
        numbers: Mapping[str, int | list[int]],
        tensors: Mapping[str, Tensor],
    ) -> None:
        super().__init__()
        self.input_names, self.output_names = tuple(inputs), tuple(outputs)
        self._batches = dict(inputs)
        self._steps = tuple(steps)
        self._numbers = dict(numbers)
        # Names of values are no names of buffers, which take no dots.
        self._buffer_of = {name: f"stored_{number}" for number, name in enumerate(tensors)}
        for name, value in tensors.items():
            self.register_buffer(self._buffer_of[name], value)
        self._forgotten = _last_readers(self._steps, self.output_names)

    @property
    def steps(self) -> tuple[Step, ...]:
        """In the order in which they run."""
        return self._steps

    def put_behind_(self, name: str, module: nn.Module) -> None:
        """Have what a module gives pass another one, in place, which has its name with `_scale` behind.

        Args:
            name: of the module, which runs once.
            module: takes and gives one tensor.
        """
        path = f"{name}_scale"
        while path in dict(self.named_modules()):
            path += "_"
        parent, _, last = path.rpartition(".")
        self.get_submodule(parent).add_module(last, module)
        steps: list[Step] = []
        for step in self._steps:
            if step.run != name:
                steps.append(step)
                continue
            (given,) = step.outputs
            between = f"{given} of {name}"
            steps += [replace(step, outputs=(between,)), Step(step.words, path, (between,), (given,))]
        self._steps = tuple(steps)
        self._forgotten = _last_readers(self._steps, self.output_names)

    def forward(self, *positional: Tensor, **named: Tensor) -> Any:
        """The output, or a tuple of several.

        Raises:
            InputError: inputs are missing, or there are others.
        """
        values: dict[str, Value] = dict(zip(self.input_names, positional, strict=False))
        values.update(named)
        if len(positional) + len(named) != len(self.input_names) or values.keys() != set(self.input_names):
            unnamed = [f"{len(positional)} without a name"] if positional else []
            told = ", ".join([*unnamed, *named]) or "none"
            raise InputError(
                f"the network takes inputs called {', '.join(self.input_names)}, and is given {told}; give "
                "all of them, by these names or in this order"
            )
        values.update(self._numbers)
        for name, buffer in self._buffer_of.items():
            values[name] = getattr(self, buffer)
        values[""] = None
        given = [value for value in (*positional, *named.values()) if isinstance(value, Tensor)]
        with _where(given):
            for step, forgotten in zip(self._steps, self._forgotten, strict=True):
                found = self._run(step, [values[name] for name in step.inputs], given)
                if not isinstance(found, tuple):
                    found = (found,)
                values.update((name, one) for name, one in zip(step.outputs, found, strict=False) if name)
                for name in forgotten:
                    values.pop(name, None)
            results = tuple(_as_tensor(values[name]) for name in self.output_names)
        return results[0] if len(results) == 1 else results

    def _run(self, step: Step, values: list[Value], given: list[Tensor]) -> Any:
        """What a step gives.

        Raises:
            InputError: it cannot be computed; the message names its node.
        """
        run = self.get_submodule(step.run) if isinstance(step.run, str) else step.run
        try:
            return run(*values)
        except InputError as error:
            raise InputError(f"{step.words}: {error}") from None
        except (RankfoldError, torch.OutOfMemoryError):
            raise
        except Exception as error:  # torch has many kinds, and damaged files come to all of them
            raise InputError(
                f"{step.words} cannot be computed: {first_line(error)}{self._about_batches(given)}"
            ) from error

    def _about_batches(self, given: list[Tensor]) -> str:
        """What the file says of batches, where these are others."""
        for (name, samples), value in zip(self._batches.items(), given, strict=False):
            if samples is not None and value.ndim and len(value) != samples:
                return f"; the file takes batches of {samples} as {name}: export it with an open batch"
        return ""


def _where(given: Sequence[Tensor]) -> AbstractContextManager[Any]:
    """Inside, numbers that operators make are where the inputs are; on the processor they are so anyway."""
    if not given or given[0].device.type == "cpu":
        return nullcontext()
    return given[0].device


def _as_tensor(value: Value) -> Tensor:
    if isinstance(value, Tensor):
        return value
    return torch.tensor(value, dtype=torch.int64)


def _last_readers(steps: Sequence[Step], outputs: Sequence[str]) -> tuple[tuple[str, ...], ...]:
    """For each step the computed values that nobody reads after it."""
    made = {name for step in steps for name in step.outputs if name}
    kept = set(outputs)
    found = []
    for step in reversed(steps):
        last = {name for name in (*step.inputs, *step.outputs) if name in made and name not in kept}
        kept |= last
        found.append(tuple(sorted(last)))
    return tuple(reversed(found))
