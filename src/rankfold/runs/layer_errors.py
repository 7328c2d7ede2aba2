"""Which layers of a simulated run err how much, and which of them is to blame for the errors at the end."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn

from rankfold.calibration.observation import evaluating, observing
from rankfold.runs.chips import Chips
from rankfold.simulator import SimulatedLayer, only, simulated_layers
from rankfold.simulator.reading import Tally
from rankfold.training.data import ImageSplit

LAYER_BATCH = 50  # the outputs of all layers are held
LEAST_POWER = 1e-30  # an output of nothing but zeros has a finite ratio too


@dataclass
class Powers:
    """Powers of the outputs of one layer and of their errors, summed over all images.

    Attributes:
        signal: of what the layer gives in the ideal run.
        error: of what it gives on arrays less that.
        own_signal: of what it would give, without errors of its own, for the inputs that it gets.
        own_error: of what it gives on arrays less that.
    """

    signal: float = 0.0
    error: float = 0.0
    own_signal: float = 0.0
    own_error: float = 0.0

    def add(self, output: Tensor, ideal: Tensor, own: Tensor) -> None:
        """Add one call: the output, that of the ideal run, and that without errors of its own."""
        self.signal += _power(ideal)
        self.error += _power(output - ideal)
        self.own_signal += _power(own)
        self.own_error += _power(output - own)


@dataclass
class _Comparison:
    """The ideal run and the simulated one side by side, layer by layer.

    Attributes:
        powers: by layer.
        waiting: by layer, outputs of the ideal run that those on arrays are to be held against; a shared
            layer runs several times for one batch.
    """

    powers: dict[str, Powers]
    waiting: dict[str, list[Tensor]] = field(default_factory=dict)

    def keep_ideal(self, name: str, module: nn.Module, inputs: Any, output: Tensor) -> None:
        self.waiting.setdefault(name, []).append(output)

    def compare(self, name: str, layer: Any, inputs: Tensor, output: Tensor) -> None:
        # In the order of calls, which is the same in both networks; memory is freed with each.
        ideal = self.waiting[name].pop(0)
        # The quantised layer within is not observed: that of the ideal run is another object.
        own = layer.ideal_output(inputs)
        self.powers[name].add(output, ideal, own)


def layer_errors(chips: Chips, split: ImageSplit) -> dict[str, dict[str, Any]]:
    """Activations, signal to noise, and clipping of each layer on the first chip, by its name.

    Args:
        chips: the simulated run.
        split: images.
    """
    # The first chip, programmed as for its accuracy, whatever was measured before.
    chips.program()
    layers = {layer.name: layer for layer in simulated_layers(chips.network)}
    model = chips.loaded.model
    # The same layers in the quantised network, whose outputs are what arrays should give.
    ideal_layers = {name: model.get_submodule(name) for name in layers}
    compared = _Comparison({name: Powers() for name in layers})
    with (
        _counting(tuple(layers.values())),
        evaluating(model),
        evaluating(chips.network),
        observing(ideal_layers, after=compared.keep_ideal),
        observing(layers, after=compared.compare),
    ):
        for images, _ in chips.batches(split, "layers", LAYER_BATCH):
            # First the ideal run, whose outputs wait for those of the arrays, layer by layer.
            model(images)
            chips.network(images)
        found = {}
        for name, layer in layers.items():
            assert layer.tally is not None  # while it is counted
            found[name] = _errors(compared.powers[name], layer.tally)
    return found


def blame(chips: Chips, name: str, split: ImageSplit) -> dict[str, float]:
    """Relative error of the logits, and accuracy, if only layer `name` falls short, on the first chip.

    Args:
        chips: the simulated run.
        name: of the layer.
        split: images.
    """
    chips.program()
    signal, error, correct = 0.0, 0.0, 0
    model = chips.loaded.model
    # All other layers compute exactly, so what is wrong at the end is this layer's.
    with only(chips.network, name), evaluating(model), evaluating(chips.network):
        for images, classes in chips.batches(split, f"only {name}"):
            ideal: Tensor = model(images)  # (B, classes)
            logits: Tensor = chips.network(images)
            signal += _power(ideal)
            error += _power(logits - ideal)
            correct += int((logits.argmax(1) == classes).sum())
    # Logits of nothing but zeros have no relative error.
    relative = 0.0
    if signal:
        relative = math.sqrt(error / signal)
    return {"blame": relative, "alone": correct / len(split)}


@contextmanager
def _counting(layers: Sequence[SimulatedLayer]) -> Iterator[None]:
    """Inside, the arrays of the layers are counted."""
    for layer in layers:
        layer.tally = Tally()
    try:
        yield
    finally:
        for layer in layers:
            layer.tally = None


def _errors(powers: Powers, tally: Tally) -> dict[str, Any]:
    clipped = None
    if tally.conversions:
        clipped = tally.clipped / tally.conversions
    return {
        "activations": tally.activations // tally.images,
        "snr": _decibels(powers.signal, powers.error),
        "own_snr": _decibels(powers.own_signal, powers.own_error),
        "clipped": clipped,
    }


def _power(values: Tensor) -> float:
    return float(values.square().sum())


def _decibels(signal: float, error: float) -> float | None:
    if error <= 0:
        return None
    # Powers, hence 10 and not 20.
    return 10 * math.log10(max(signal, LEAST_POWER) / error)
