"""A finished run on its arrays: accuracy of several chips, and where the errors come from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from torch import nn

from rankfold.errors import InputError
from rankfold.machine import Hardware
from rankfold.plan import Plan
from rankfold.progress import Progress, Silent
from rankfold.records.parts import PartsFile
from rankfold.records.schema import schema_validator
from rankfold.runs.chips import Chips, LoadedRun
from rankfold.runs.layer_errors import blame, layer_errors
from rankfold.runs.record import device_name
from rankfold.runs.simulation import LayerErrors, Simulation, SimulationOptions, describe
from rankfold.simulator import simulate, simulated_layers
from rankfold.training.data import ImageSplit
from rankfold.version import __version__

TYPE = "rankfold.simulation"


def simulate_run(
    loaded: LoadedRun,
    options: SimulationOptions | None = None,
    *,
    out: str | Path | None = None,
    resume: bool = False,
    progress: Progress | None = None,
) -> Simulation:
    """Classify the test images with several chips, and find out which layer errs how much.

    Each chip and each layer that is done is saved in `out` at once; with `resume` the rest follows.

    Args:
        loaded: the run and its data.
        options: what to simulate; None: ideal arrays.
        out: JSON file for the result, and for what is done so far; None: neither is saved.
        resume: go on with what `out` holds.
        progress: hears how far it is.

    Raises:
        InputError: the plan or the array does not allow it; or `out` holds something else.
    """
    wanted = options or SimulationOptions()
    hardware = wanted.on(loaded.plan)
    chosen = hardware.non_idealities
    plan = loaded.plan.on(hardware)
    # Before the file is taken: what arrays cannot hold is refused here.
    network = simulate(loaded.model, plan, chosen, digital=wanted.digital, seed=wanted.seed)
    chips = Chips(loaded, network, wanted.seed, progress or Silent())
    file = _claimed(out, _identity(wanted, hardware, plan, loaded), resume)
    images = _images(loaded, wanted.images, wanted.seed)
    # Each part is known by its name in the file, whatever was done before it in this process or another. On
    # the same images as the chips: the difference is then of the arrays alone.
    ideal = file.once("ideal", partial(chips.ideal_accuracy, images))
    accuracies = _on_chips(chips, images, wanted.chips(chosen), file)
    layers: tuple[LayerErrors, ...] = ()
    layer_ideal, layer_images = None, 0
    if wanted.layer_images:
        # Fewer images, since each layer alone takes a pass over them; so they have an ideal run of their own.
        some = _images(loaded, wanted.layer_images, wanted.seed)
        layer_images = len(some)
        layer_ideal = file.once("layers ideal", partial(chips.ideal_accuracy, some))
        layers = _layers(chips, some, file)
    result = Simulation(
        ideal=ideal,
        accuracies=accuracies,
        layers=layers,
        layer_ideal=layer_ideal,
        images=len(images),
        layer_images=layer_images,
        array=describe(plan.array),
        hardware=hardware,
        digital=_digital(plan, wanted),
        saturated=_saturated(network),
        chosen=chosen,
        data=loaded.data.digest,
        seed=wanted.seed,
        device=device_name(loaded.device),
        version=__version__,
        measured=loaded.measured,
    )
    # The parts stay beside the result, so that more chips can be added later.
    file.save(simulation=result.to_json())
    return result


def _claimed(out: str | Path | None, identity: dict[str, Any], resume: bool) -> PartsFile:
    """The file of the result, taken for this simulation; one of nowhere where none is asked for."""
    path = None
    if out is not None:
        path = Path(out)
    validator = schema_validator("rankfold.runs", "simulation.schema.json")
    return PartsFile.claim(path, TYPE, identity, resume, validator)


def _images(loaded: LoadedRun, count: int | None, seed: int) -> ImageSplit:
    """So many test images; None: all."""
    if count is None:
        return loaded.data.test
    return loaded.data.test.sample(count, seed)


def _on_chips(chips: Chips, split: ImageSplit, count: int, file: PartsFile) -> tuple[float, ...]:
    """The accuracy on each of so many chips, a part of its own."""
    found = []
    for chip in range(count):
        classify = partial(chips.accuracy, chip, split, f"chip {chip + 1}/{count}")
        found.append(file.once(f"chip {chip}", classify))
    return tuple(found)


def _layers(chips: Chips, split: ImageSplit, file: PartsFile) -> tuple[LayerErrors, ...]:
    """The errors of all layers, each one's blame a part of its own."""
    seen: Mapping[str, Mapping[str, Any]] = file.once("layers", partial(layer_errors, chips, split))
    # A file may have been edited.
    simulated = [layer.name for layer in simulated_layers(chips.network)]
    if list(seen) != simulated:
        raise InputError(f"{file.path} is not a complete simulation: at done/layers: it has other layers")
    layers = []
    for name, errors in seen.items():
        alone: Mapping[str, Any] = file.once(f"only {name}", partial(blame, chips, name, split))
        layers.append(LayerErrors(name=name, **errors, **alone))
    return tuple(layers)


def _digital(plan: Plan, options: SimulationOptions) -> tuple[str, ...]:
    """Layers of the plan that do not run on arrays."""
    return tuple(layer.name for layer in plan.layers if not layer.quantised or layer.name in options.digital)


def _saturated(network: nn.Module) -> dict[str, int]:
    """By layer, the weights that are too low for its cells."""
    counts = {}
    for layer in simulated_layers(network):
        if layer.saturated:
            counts[layer.name] = layer.saturated
    return counts


def _identity(
    options: SimulationOptions, hardware: Hardware, plan: Plan, loaded: LoadedRun
) -> dict[str, Any]:
    """Everything that the parts depend on."""
    return {
        "run": loaded.run,
        "plan": replace(plan, hardware=None).digest(),
        "data": loaded.data.digest,
        # Sums are rounded in another order on another device, so its parts are not mixed with these.
        "device": loaded.device.type,
        "version": __version__,
        **options.identity(hardware),
    }
