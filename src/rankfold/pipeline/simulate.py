"""A finished run on its arrays: accuracy of several chips, and where the errors come from."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from rankfold.mapping import ArraySpec
from rankfold.nn.observation import evaluating
from rankfold.pipeline.compress import calibration_batches, device_name
from rankfold.pipeline.evaluate import load_compressed, load_data_for
from rankfold.pipeline.parts import PartsFile
from rankfold.pipeline.simulation import LayerErrors, NoProgress, Progress, Simulation, SimulationSettings
from rankfold.plan import Plan
from rankfold.simulator import SimulatedLayer, calibrate_adc_, only, program_, simulate, simulated_layers
from rankfold.simulator.arrays import Tally
from rankfold.training.batches import Batches
from rankfold.training.data import ImageData, ImageSplit
from rankfold.training.loop import choose_device

TYPE = "rankfold.simulation"
CALIBRATION_IMAGES = 256
BATCH = 250


def simulate_run(settings: SimulationSettings, progress: Progress | None = None) -> Simulation:
    """Classify the test images with several chips, and find out which layer errs how much.

    Each chip and each layer that is done is saved in `settings.out` at once; with `settings.resume` the rest follows.

    Raises:
        InputError: the run, the data or the array does not allow it; or `out` holds something else.
    """
    progress = progress or NoProgress()
    device = choose_device(settings.device)
    model, plan, result = load_compressed(settings.folder, device)
    given = {name: getattr(settings, name) for name in ("cell_bits", "coding", "dac_bits") if getattr(settings, name) is not None}
    plan = replace(plan, array=replace(plan.array, **given))
    model.eval()
    network = simulate(model, plan, settings.chosen, digital=settings.digital, seed=settings.seed)
    data = load_data_for(result, settings.data, settings.folder)
    file = PartsFile.claim(settings.out, TYPE, _identity(settings, plan, data, result.run), settings.resume)
    calibrate_adc_(network, calibration_batches(data, device, settings.seed, CALIBRATION_IMAGES))
    test = data.test if settings.images is None else data.test.sample(settings.images, settings.seed)
    work = _Work(model, network, data, device, settings.seed, progress)
    ideal = file.once("ideal", lambda: work.accuracy(model, test, "quantised network"))
    # Without noise all chips are alike.
    chips = settings.repeats if settings.chosen.changes_cells or settings.chosen.noisy_reads else 1
    accuracies = []
    for chip in range(chips):
        classify = partial(work.chip, chip, test, f"chip {chip + 1}/{chips}")
        accuracies.append(file.once(f"chip {chip}", classify))
    layers: tuple[LayerErrors, ...] = ()
    layer_ideal, layer_images = None, min(settings.layer_images, len(data.test))
    if layer_images:
        some = data.test.sample(layer_images, settings.seed)
        layer_ideal = file.once("layers ideal", lambda: work.accuracy(model, some, "quantised network"))
        seen = file.once("layers", lambda: work.layer_errors(some))
        layers = tuple(
            LayerErrors(name, **found, **file.once(f"only {name}", partial(work.alone, name, some)))
            for name, found in seen.items()
        )
    digital = tuple(layer.name for layer in plan.layers if layer.weight_bits is None or layer.name in settings.digital)
    found = Simulation(
        ideal, tuple(accuracies), layers, layer_ideal, len(test), layer_images, describe(plan.array), digital, device_name(device)
    )
    file.save(simulation=found.to_json())
    return found


def describe(array: ArraySpec) -> str:
    """An array in words."""
    cells = "whole weights" if array.cell_bits is None else f"{array.cell_bits}-bit cells, {array.coding} coding"
    return f"{array}, {cells}, {'whole inputs' if array.dac_bits is None else f'{array.dac_bits}-bit DACs'}"


@dataclass(frozen=True)
class _Work:
    """The quantised network, the simulated one, and data for both.

    Each part programs the chip anew, so that it does not depend on which parts were done before it.
    """

    model: nn.Module
    network: nn.Module
    data: ImageData
    device: torch.device
    seed: int
    progress: Progress

    def batches(self, split: ImageSplit, what: str) -> Iterator[tuple[Tensor, Tensor]]:
        self.progress.begin(what, len(split))
        for x, y in Batches(split, self.data.mean, self.data.std, BATCH, self.device).epoch():
            yield x, y
            self.progress.advance(len(y))
        self.progress.end()

    def accuracy(self, network: nn.Module, split: ImageSplit, what: str) -> float:
        with evaluating(network):
            correct = sum(int((network(x).argmax(1) == y).sum()) for x, y in self.batches(split, what))
        return correct / len(split)

    def chip(self, number: int, split: ImageSplit, what: str) -> float:
        program_(self.network, self.seed + number)
        return self.accuracy(self.network, split, what)

    def layer_errors(self, split: ImageSplit) -> dict[str, dict[str, Any]]:
        """Activations, signal to noise, and clipping of each layer, by its name."""
        program_(self.network, self.seed)
        layers = {layer.name: layer for layer in simulated_layers(self.network)}
        powers = {name: [0.0, 0.0, 0.0, 0.0] for name in layers}  # ideal output, its error; own output, its error
        wanted: dict[str, list[Tensor]] = {name: [] for name in layers}  # a shared layer runs several times

        def look(layer: SimulatedLayer, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            # The quantised layer inside has no hooks of its own there: those sit on the layers of `model`.
            own, ideal = layer.layer(inputs[0]), wanted[layer.name].pop(0)
            for place, reference in ((0, ideal), (2, own)):
                powers[layer.name][place] += float(reference.square().sum())
                powers[layer.name][place + 1] += float((output - reference).square().sum())

        hooks = [layer.register_forward_hook(look) for layer in layers.values()]
        for name in layers:
            keep = self.model.get_submodule(name).register_forward_hook(lambda _, __, y, name=name: wanted[name].append(y))
            hooks.append(keep)
        for layer in layers.values():
            layer.tally = Tally()
        try:
            with evaluating(self.model), evaluating(self.network):
                for x, _ in self.batches(split, "layers"):
                    self.model(x)
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
        program_(self.network, self.seed)
        signal, error, correct = 0.0, 0.0, 0
        with only(self.network, name), evaluating(self.model), evaluating(self.network):
            for x, y in self.batches(split, f"only {name}"):
                ideal, found = self.model(x), self.network(x)
                signal += float(ideal.square().sum())
                error += float((found - ideal).square().sum())
                correct += int((found.argmax(1) == y).sum())
        return {"blame": math.sqrt(error / signal) if signal else 0.0, "alone": correct / len(split)}


def _decibels(signal: float, error: float) -> float | None:
    return 10 * math.log10(signal / error) if signal > 0 and error > 0 else None


def _identity(settings: SimulationSettings, plan: Plan, data: ImageData, run: str) -> dict[str, Any]:
    """Everything that the numbers depend on."""
    chosen = {key: value for key, value in asdict(settings).items() if key not in ("folder", "data", "device", "out", "resume")}
    return {"run": run, "plan": plan.digest(), "data": data.digest, **chosen}
