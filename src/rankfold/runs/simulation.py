"""What is asked of a simulation, and what it finds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from statistics import fmean, stdev
from typing import Any

from rankfold.errors import InputError
from rankfold.machine import Hardware, NonIdealities, hardware_to_json
from rankfold.mapping import ArraySpec
from rankfold.plan import Plan


def check_least(name: str, value: int | None, least: int) -> None:
    """Refuse a number that is too small; None: none was given.

    Raises:
        InputError: it is.
    """
    if value is not None and value < least:
        raise InputError(f"{name.replace('_', ' ')} (={value}) must be {least} or more")


@dataclass(frozen=True, kw_only=True)
class SimulationOptions:
    """What to simulate of a finished, quantised run.

    Attributes:
        hardware: what to simulate it on; None: as the plan says.
        chosen: the non-idealities; None: those of the hardware.
        changes: figures of the hardware that are others, as `Hardware.altered` takes them.
        repeats: chips, each programmed anew.
        images: test images, drawn under the seed; None: all.
        layer_images: test images for the layers' errors; 0: none are found.
        digital: layers that are left to digital logic.
        seed: of everything drawn at random; chip k has seed + k.
    """

    hardware: Hardware | None = None
    chosen: NonIdealities | None = None
    changes: Mapping[str, Any] = field(default_factory=dict)
    repeats: int = 5
    images: int | None = None
    layer_images: int = 500
    digital: tuple[str, ...] = ()
    seed: int = 0

    def __post_init__(self) -> None:
        # Where the options are made, so that a wrong number is refused before a run is loaded.
        for name, least in (("repeats", 1), ("images", 1), ("layer_images", 0), ("seed", 0)):
            check_least(name, getattr(self, name), least)

    def on(self, plan: Plan) -> Hardware:
        """The hardware that a run is simulated on.

        Raises:
            InputError: a figure is out of range.
        """
        # What is not given stays as the plan has it.
        made = (self.hardware or plan.machine).altered(**self.changes)
        if self.chosen is None:
            return made
        ideal = replace(self.chosen, adc_bits=None)
        return replace(made, adc_bits=self.chosen.adc_bits, noise=ideal)

    def chips(self, chosen: NonIdealities) -> int:
        """Chips that may differ: one, where nothing is drawn at random."""
        if not chosen.random:
            return 1  # every chip is the same
        return self.repeats

    def identity(self, hardware: Hardware) -> dict[str, Any]:
        """What the parts of a simulation depend on; not their number, as each chip is a part."""
        return {
            # What it is called changes no part.
            "hardware": hardware_to_json(replace(hardware, name="simulated")),
            "images": self.images,
            "layer_images": self.layer_images,
            "digital": list(self.digital),
            "seed": self.seed,
        }


@dataclass(frozen=True, kw_only=True)
class LayerErrors:
    """How far one layer is from the ideal run, on the first chip.

    Attributes:
        name: module of the network.
        activations: of its arrays for one image.
        snr: power of its ideal output over that of its error, in dB, with all errors of the layers before;
            None: no error at all. (The ideal run adds in float32, which leaves errors of some -120 dB where
            arrays are exact.)
        own_snr: the same of its own error alone, for the inputs that it really gets.
        clipped: share of ADC conversions out of range; None without an ADC.
        blame: relative error of the logits if this layer alone falls short, 0 or more.
        alone: accuracy if this layer alone falls short, 0 to 1.
    """

    name: str
    activations: int
    snr: float | None
    own_snr: float | None
    clipped: float | None
    blame: float
    alone: float


@dataclass(frozen=True, kw_only=True)
class Simulation:
    """What simulating a run found.

    Attributes:
        ideal: accuracy of the quantised network on the same images, 0 to 1.
        accuracies: of each chip.
        layers: their errors, on `layer_images` images; empty where none were asked for.
        layer_ideal: accuracy of the quantised network on these.
        images: test images.
        layer_images: images for the layers' errors.
        array: the array in words.
        hardware: what it ran on.
        digital: layers of the plan that did not run on arrays.
        saturated: by layer, weights of -2^(b-1) that its cells hold as the next higher one.
        chosen: the non-idealities.
        data: hash of the data set.
        seed: of the first chip.
        device: what computed it.
        version: of Rankfold.
        measured: what accuracies are; of images without labels `agreement`, with the quantised network.
    """

    ideal: float
    accuracies: tuple[float, ...]
    layers: tuple[LayerErrors, ...]
    layer_ideal: float | None
    images: int
    layer_images: int
    array: str
    hardware: Hardware
    digital: tuple[str, ...]
    saturated: Mapping[str, int]
    chosen: NonIdealities
    data: str
    seed: int
    device: str
    version: str
    measured: str = "accuracy"

    @property
    def mean(self) -> float:
        """Mean accuracy over the chips."""
        return fmean(self.accuracies)

    @property
    def deviation(self) -> float | None:
        """Standard deviation over the chips (n - 1); None of a single one."""
        if len(self.accuracies) == 1:
            return None  # n - 1 is zero
        return stdev(self.accuracies)

    def to_json(self) -> dict[str, Any]:
        """The stable interface of `rankfold simulate --json`."""
        # Means are computed from the accuracies, and written down for readers of the file.
        content = {**asdict(self), "hardware": hardware_to_json(self.hardware)}
        return {**content, "mean": self.mean, "deviation": self.deviation}


def describe(array: ArraySpec) -> str:
    """An array in words."""
    cells = "whole weights"
    if array.cell_bits is not None:
        cells = f"{array.cell_bits}-bit cells, {array.coding_in_words}"
    return f"{array}, {cells}, {array.inputs_in_words}"
