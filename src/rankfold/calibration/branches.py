"""Which layers a network can do without: those that some way from its inputs to its outputs goes around.

Read off the graph that torch records of one run: its nodes are operations, its edges values. A layer within
a residual branch is one that the shortcut goes around. Layers before it whose values reach the outputs
through it alone compute for nothing without it, which runs with other values of theirs confirm: what reads
values without a gradient is no operation of the graph.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from rankfold.calibration.layer_moments import layers_of
from rankfold.calibration.observation import evaluating, observing
from rankfold.calibration.recorded_graph import edges_of, reached_from, recorded
from rankfold.calibration.replaying import Replay, tensors_in
from rankfold.calibration.samples import Inputs, call, cut, map_tensors, size_of


@dataclass(frozen=True)
class Branches:
    """Layers that a network can do without.

    Attributes:
        feeding: for each of them, the layers whose values reach the outputs through it alone.
    """

    feeding: Mapping[str, frozenset[str]] = field(default_factory=dict)

    @property
    def nearest(self) -> dict[str, str]:
        """For layers whose values reach the outputs through one of them alone, that one; of several the
        nearest.
        """
        found: dict[str, str] = {}
        # What feeds the nearest one feeds those behind it, too, which have more before them.
        for name in sorted(self.feeding, key=lambda name: len(self.feeding[name])):
            for other in self.feeding[name]:
                found.setdefault(other, name)
        return found


def branches(model: nn.Module, batches: Iterable[Inputs], names: Sequence[str]) -> Branches:
    """Run a network on the first image, and follow its values.

    Args:
        model: any network; it runs in eval mode, then is as before.
        batches: inputs of the model, on its device; only the first image is used.
        names: of convolutions and linear layers.

    Returns:
        Those that were found: none where no input is of floats, as nothing is recorded of others.
    """
    if not names:
        return Branches()
    for batch in batches:
        first = cut(batch, size_of(batch), 0, 1)
        graph = _Graph.of(model, first, names)
        replay = Replay(model, first, names)
        unused = graph.before("")  # before every layer, and fed to none
        feeding = {}
        for name in names:
            if graph.goes_around(name):
                feeding[name] = replay.unfelt(graph.before(name) - unused, held=name)
        return Branches(feeding)
    return Branches()


def unread(model: nn.Module, inputs: Inputs, names: Sequence[str]) -> frozenset[str]:
    """The layers whose values reach no output, such as those that only feed a skipped one.

    Args:
        model: any network; it runs in eval mode, then is as before.
        inputs: of the model, on its device.
        names: of convolutions and linear layers.

    Returns:
        Those that are certain: none where an output has no gradient, as that of an argmax.
    """
    graph = _Graph.of(model, inputs, names)
    if not graph.complete:
        return frozenset()
    return Replay(model, inputs, names).unfelt(graph.before(""))


class _Graph:
    """The operations of one run, backwards.

    Args:
        read: for each operation, those whose values it reads; the network's inputs are operations, too.
        roots: operations that give the outputs.
        inputs: the network's inputs.
        layers: the operations of each layer.
        complete: whether every output has a gradient.
    """

    def __init__(
        self,
        read: Mapping[Any, Sequence[Any]],
        roots: Sequence[Any],
        inputs: Collection[Any],
        layers: Mapping[str, Any],
        complete: bool,
    ) -> None:
        self.complete = complete
        self._read, self._roots, self._inputs, self._layers = read, roots, inputs, layers
        self._without: dict[str, set[Any]] = {}

    @classmethod
    def of(cls, model: nn.Module, batch: Inputs, names: Sequence[str]) -> _Graph:
        """Of a run on one image."""
        layers: dict[str, list[Any]] = {name: [] for name in names}

        def note(name: str, _: nn.Module, inputs: object, output: object) -> None:
            if isinstance(output, Tensor):
                layers[name].append(output.grad_fn)

        given: list[Tensor] = []

        def begin(values: Tensor) -> Tensor:
            begun = recorded(values)
            if begun.requires_grad:
                given.append(begun)
            return begun

        with evaluating(model), torch.enable_grad(), observing(layers_of(model, names), after=note):
            outputs = tensors_in(call(model, map_tensors(batch, begin)))
        roots = [output.grad_fn for output in outputs if output.grad_fn is not None]
        complete = len(roots) == len(outputs)
        return cls(edges_of(roots), roots, {each.grad_fn for each in given}, layers, complete)

    def goes_around(self, name: str) -> bool:
        """Whether a way from inputs to outputs does not pass a layer."""
        return bool(self._layers[name]) and not self._inputs.isdisjoint(self._reached(name))  # type: ignore[attr-defined]

    def before(self, name: str) -> frozenset[str]:
        """The other layers that no way to the outputs leads from but through a layer; those without any way
        through none.
        """
        reached = self._reached(name)
        cut_off = {other for other, nodes in self._layers.items() if nodes and reached.isdisjoint(nodes)}
        return frozenset(cut_off - {name})

    def _reached(self, name: str) -> set[Any]:
        """Operations whose values reach the outputs without a layer."""
        if name not in self._without:
            self._without[name] = reached_from(self._roots, self._read, set(self._layers.get(name, ())))
        return self._without[name]
