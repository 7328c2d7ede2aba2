"""A finished run on its arrays: accuracy of several chips, and where the errors come from."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from rankfold import __version__
from rankfold.calibration.observation import evaluating
from rankfold.mapping import ArraySpec
from rankfold.plan import Plan
from rankfold.records.parts import PartsFile
from rankfold.runs.compress import device_name
from rankfold.runs.evaluate import load_compressed, load_data_for
from rankfold.runs.simulation import LayerErrors, NoProgress, Progress, Simulation, SimulationSettings
from rankfold.simulator import (
    SimulatedLayer,
    calibrate_adc_,
    needs_calibration,
    only,
    program_,
    simulate,
    simulated_layers,
)
from rankfold.simulator.arrays import Tally
from rankfold.training.batches import Batches
from rankfold.training.data import ImageData, ImageSplit
from rankfold.training.loop import choose_device

TYPE = "rankfold.simulation"
CALIBRATION_IMAGES = 256
BATCH = 250
LAYER_BATCH = 50  # the outputs of all layers are held


@dataclass(frozen=True)
class LoadedRun:
    """A finished run, its network on a device, and data for it: what several simulations share.

    Attributes:
        model: the quantised network.
        plan: its plan.
        run: the run's identity.
        data: the data set.
        device: where the network is.
    """

    model: nn.Module
    plan: Plan
    run: str
    data: ImageData
    device: torch.device

    @classmethod
    def load(cls, folder: str | Path, data: str, device: str = "auto") -> LoadedRun:
        """Load the run in `folder` and the data set.

        Raises:
            InputError: one of them is wrong, or they do not go together.
        """
        target = choose_device(device)
        model, plan, result = load_compressed(folder, target)
        return cls(model.eval(), plan, result.run, load_data_for(result, data, folder), target)


def simulate_run(settings: SimulationSettings, progress: Progress | None = None, loaded: LoadedRun | None = None) -> Simulation:
    """Classify the test images with several chips, and find out which layer errs how much.

    Each chip and each layer that is done is saved in `settings.out` at once; with `settings.resume` the rest follows.

    Args:
        settings: what to simulate.
        progress: hears how far it is.
        loaded: the run and its data, where they are loaded already.

    Raises:
        InputError: the run, the data or the array does not allow it; or `out` holds something else.
    """
    loaded = loaded or LoadedRun.load(settings.folder, settings.data, settings.device)
    given = {name: getattr(settings, name) for name in ("cell_bits", "coding", "dac_bits") if getattr(settings, name) is not None}
    plan = replace(loaded.plan, array=replace(loaded.plan.array, **given))
    network = simulate(loaded.model, plan, settings.chosen, digital=settings.digital, seed=settings.seed)
    work = _Work(loaded, network, settings.seed, progress or NoProgress())
    file = PartsFile.claim(settings.out, TYPE, _identity(settings, plan, loaded), settings.resume)
    test = loaded.data.test
    some = test.sample(settings.layer_images, settings.seed) if settings.layer_images else None
    if settings.images is not None:
        test = test.sample(settings.images, settings.seed)
    ideal = file.once("ideal", lambda: work.accuracy(loaded.model, test, "quantised network"))
    chips = settings.repeats if settings.chosen.random else 1
    accuracies = []
    for chip in range(chips):
        classify = partial(work.chip, chip, test, f"chip {chip + 1}/{chips}")
        accuracies.append(file.once(f"chip {chip}", classify))
    layers: tuple[LayerErrors, ...] = ()
    layer_ideal = None
    if some is not None:
        layer_ideal = file.once("layers ideal", lambda: work.accuracy(loaded.model, some, "quantised network"))
        seen = file.once("layers", lambda: work.layer_errors(some))
        layers = tuple(
            LayerErrors(name, **found, **file.once(f"only {name}", partial(work.alone, name, some)))
            for name, found in seen.items()
        )
    digital = tuple(layer.name for layer in plan.layers if layer.weight_bits is None or layer.name in settings.digital)
    saturated = {layer.name: layer.saturated for layer in simulated_layers(network) if layer.saturated}
    found = Simulation(
        ideal, tuple(accuracies), layers, layer_ideal, len(test), 0 if some is None else len(some), describe(plan.array), digital,
        saturated, settings.chosen, loaded.data.digest, settings.seed, device_name(loaded.device), __version__,
    )  # fmt: skip
    file.save(simulation=found.to_json())
    return found


def describe(array: ArraySpec) -> str:
    """An array in words."""
    cells = "whole weights" if array.cell_bits is None else f"{array.cell_bits}-bit cells, {array.coding} coding"
    return f"{array}, {cells}, {'whole inputs' if array.dac_bits is None else f'{array.dac_bits}-bit DACs'}"


@dataclass
class _Work:
    """The quantised network, the simulated one, and data for both.

    Each part programs the chip anew, so that it does not depend on which parts were done before it. ADC ranges are calibrated
    when the first part needs them.
    """

    loaded: LoadedRun
    network: nn.Module
    seed: int
    progress: Progress
    calibrated: bool = False

    def batches(self, split: ImageSplit, what: str, size: int = BATCH) -> Iterator[tuple[Tensor, Tensor]]:
        data = self.loaded.data
        self.progress.begin(what, len(split))
        for x, y in Batches(split, data.mean, data.std, size, self.loaded.device).epoch():
            yield x, y
            self.progress.advance(len(y))
        self.progress.end()

    def program(self, number: int = 0) -> None:
        if not self.calibrated:
            train = self.loaded.data.train.sample(CALIBRATION_IMAGES, self.seed)
            if needs_calibration(self.network):
                calibrate_adc_(self.network, (x for x, _ in self.batches(train, "ADC ranges")))
            self.calibrated = True
        program_(self.network, self.seed + number)

    def accuracy(self, network: nn.Module, split: ImageSplit, what: str) -> float:
        with evaluating(network):
            correct = sum(int((network(x).argmax(1) == y).sum()) for x, y in self.batches(split, what))
        return correct / len(split)

    def chip(self, number: int, split: ImageSplit, what: str) -> float:
        self.program(number)
        return self.accuracy(self.network, split, what)

    def layer_errors(self, split: ImageSplit) -> dict[str, dict[str, Any]]:
        """Activations, signal to noise, and clipping of each layer, by its name."""
        self.program()
        layers = {layer.name: layer for layer in simulated_layers(self.network)}
        powers = {name: [0.0, 0.0, 0.0, 0.0] for name in layers}  # ideal output, its error; own output, its error
        wanted: dict[str, list[Tensor]] = {name: [] for name in layers}  # a shared layer runs several times

        def look(layer: SimulatedLayer, inputs: tuple[Tensor, ...], named: dict[str, Tensor], output: Tensor) -> None:
            # The quantised layer inside has no hooks of its own there: those sit on the layers of `model`.
            own, ideal = layer.ideal_output(inputs[0] if inputs else named["input"]), wanted[layer.name].pop(0)
            for place, reference in ((0, ideal), (2, own)):
                powers[layer.name][place] += float(reference.square().sum())
                powers[layer.name][place + 1] += float((output - reference).square().sum())

        hooks = [layer.register_forward_hook(look, with_kwargs=True) for layer in layers.values()]
        for name in layers:
            keep = self.loaded.model.get_submodule(name).register_forward_hook(lambda _, __, y, name=name: wanted[name].append(y))
            hooks.append(keep)
        for layer in layers.values():
            layer.tally = Tally()
        try:
            with evaluating(self.loaded.model), evaluating(self.network):
                for x, _ in self.batches(split, "layers", LAYER_BATCH):
                    self.loaded.model(x)
                    self.network(x)
            return {
                name: {
                    "activations": layer.tally.activations // layer.tally.images if layer.tally else 0,
                    "snr": _decibels(*powers[name][:2]),
                    "own_snr": _decibels(*powers[name][2:]),
                    "clipped": layer.tally.clipped / layer.tally.conversions if layer.tally and layer.tally.conversions else None,
                }
                for name, layer in layers.items()
            }
        finally:
            for hook in hooks:
                hook.remove()
            for layer in layers.values():
                layer.tally = None

    def alone(self, name: str, split: ImageSplit) -> dict[str, float]:
        """Relative error of the logits, and accuracy, if only layer `name` falls short."""
        self.program()
        signal, error, correct = 0.0, 0.0, 0
        with only(self.network, name), evaluating(self.loaded.model), evaluating(self.network):
            for x, y in self.batches(split, f"only {name}"):
                ideal, found = self.loaded.model(x), self.network(x)
                signal += float(ideal.square().sum())
                error += float((found - ideal).square().sum())
                correct += int((found.argmax(1) == y).sum())
        return {"blame": math.sqrt(error / signal) if signal else 0.0, "alone": correct / len(split)}


def _decibels(signal: float, error: float) -> float | None:
    return 10 * math.log10(max(signal, 1e-30) / error) if error > 0 else None


def _identity(settings: SimulationSettings, plan: Plan, loaded: LoadedRun) -> dict[str, Any]:
    """Everything that the parts depend on; each chip is a part of its own, so their number is not among it."""
    free = ("folder", "data", "device", "out", "resume", "repeats")
    chosen = {key: value for key, value in asdict(settings).items() if key not in free}
    where = {"device": loaded.device.type, "version": __version__}
    return {"run": loaded.run, "plan": plan.digest(), "data": loaded.data.digest, **where, **chosen}
