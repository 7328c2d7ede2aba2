"""Whether the outputs of a network depend on some layers, by running it with other values in their place.

What torch records of a run are the operations that have gradients. Comparisons, indices and detached values
are read without any, so that a layer that only seems to be unread is found here, where its values change.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence

import torch
from torch import Tensor, nn

from rankfold.calibration.layer_moments import layers_of
from rankfold.calibration.observation import AfterCall, evaluating, observing
from rankfold.calibration.samples import Inputs, call, map_tensors


class Replay:
    """A run of a network, and runs with other values of some layers to compare with it.

    Args:
        model: any network; it runs in eval mode, then is as before.
        inputs: of the model, on its device.
        names: of the layers whose values may be asked for.
    """

    def __init__(self, model: nn.Module, inputs: Inputs, names: Sequence[str]) -> None:
        self._model, self._inputs = model, inputs
        self._layers = layers_of(model, names)
        self._values: dict[str, list[Tensor]] = {name: [] for name in names}

        def note(name: str, _: nn.Module, inputs: object, output: object) -> None:
            if isinstance(output, Tensor):
                self._values[name].append(output.clone())  # what reads it may change it in place

        self._outputs = self._run(note)

    def unfelt(
        self, names: Collection[str], held: str = "", runs: Mapping[str, Collection[int]] | None = None
    ) -> frozenset[str]:
        """Those of some layers whose values make no difference to any output.

        Each is given two sets of other values, its own with the sign turned, and noise: a dependence that
        shows for other values alone, such as a gate that neither of them opens, is not seen.

        Args:
            names: of layers.
            held: a layer that keeps its values meanwhile, whatever it reads; empty: none.
            runs: the numbers of those of their runs that get other values, while others keep theirs; None:
                all do.
        """
        if not names or self._same(names, held, runs):
            return frozenset(names)
        # Mostly all go together; where one is felt, each is asked for.
        return frozenset(name for name in names if self._same((name,), held, runs))

    def _same(self, changed: Iterable[str], held: str, runs: Mapping[str, Collection[int]] | None) -> bool:
        """Whether all outputs are what they were, to the last bit."""
        for noisy in (False, True):
            others: dict[str, list[Tensor]] = {}
            for name in changed:
                others[name] = list(self._values[name])
                for number, one in enumerate(self._values[name]):
                    if runs is None or number in runs[name]:
                        others[name][number] = _other(one, noisy)
            if held:
                others[held] = self._values[held]
            outputs = self._run(_Giving(others))
            if len(outputs) != len(self._outputs):
                return False
            if not all(torch.equal(*pair) for pair in zip(outputs, self._outputs, strict=True)):
                return False
        return True

    def _run(self, after: AfterCall) -> list[Tensor]:
        inputs = map_tensors(self._inputs, Tensor.clone)
        with evaluating(self._model), torch.no_grad(), observing(self._layers, after=after):
            return [output.clone() for output in tensors_in(call(self._model, inputs))]


class _Giving:
    """Gives layers other values, for each of their runs.

    Args:
        values: by layer, in the order of its runs.
    """

    def __init__(self, values: Mapping[str, Sequence[Tensor]]) -> None:
        self._left = {name: list(reversed(own)) for name, own in values.items()}

    def __call__(self, name: str, _: nn.Module, inputs: object, output: object) -> Tensor | None:
        own = self._left.get(name)
        # Where it runs more often than before, something is felt already.
        return own.pop().clone() if own else None


def _other(values: Tensor, noisy: bool) -> Tensor:
    """Values unlike these, of their size."""
    if not noisy:
        return -values
    noise = torch.randn(values.shape, generator=torch.Generator().manual_seed(0))
    return noise.to(values) * values.square().mean().sqrt() + 1


def tensors_in(values: object) -> list[Tensor]:
    """The tensors among nested values."""
    if isinstance(values, Tensor):
        return [values]
    if isinstance(values, Mapping):
        values = list(values.values())
    if isinstance(values, (list, tuple)):
        return [tensor for value in values for tensor in tensors_in(value)]
    return []
