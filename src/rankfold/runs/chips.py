"""A finished run on chips: its network, the same network on arrays, and test images for both."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn

from rankfold.calibration.observation import evaluating
from rankfold.cost.energy import ACCURACY, AGREEMENT
from rankfold.plan import Plan
from rankfold.progress import Progress, Silent
from rankfold.runs.stored import StoredNetwork
from rankfold.simulator import calibrate_adc_, needs_calibration, program_
from rankfold.training.batches import Batches
from rankfold.training.data import ImageData, ImageSplit
from rankfold.training.device import choose_device

CALIBRATION_IMAGES = 256
BATCH = 250


@dataclass(frozen=True)
class LoadedRun:
    """A finished run, its network on a device, and data for it: what several simulations share.

    Attributes:
        model: the quantised network, in eval mode.
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

    @property
    def measured(self) -> str:
        """What the share of right classes is: that of the labels, or that of the quantised network's."""
        return ACCURACY if self.data.is_labelled else AGREEMENT

    @classmethod
    def load(
        cls,
        folder: str | Path,
        data: str,
        device: str = "auto",
        *,
        factory: str | None = None,
        trust_code: bool = False,
        progress: Progress | None = None,
    ) -> LoadedRun:
        """Load the run in `folder` and the data set.

        Args:
            folder: of a finished run, or of `save`.
            data: a data source, as `load_images` takes it.
            device: `auto`, `cpu`, `cuda`, ...
            factory: what builds the dense network; None: the name on record.
            trust_code: whether a factory that the folder names may be imported.
            progress: hears where the data have no labels, so that agreement is what is measured.

        Raises:
            InputError: one of them is wrong, or they do not go together.
        """
        stored = StoredNetwork.load(folder, factory=factory, data=data, device=device, trust_code=trust_code)
        assert stored.data is not None  # it was asked for
        if progress is not None and not stored.data.is_labelled:
            progress.note(
                f"data {stored.data.name} have no labels: what is measured is the agreement with the "
                "quantised network"
            )
        return cls(stored.model, stored.plan, stored.run, stored.data, choose_device(device))


@dataclass
class Chips:
    """The network of a run as its arrays compute it, programmed anew for whoever measures something of it.

    So no measurement depends on which were made before it. ADC ranges are calibrated when first needed.

    Attributes:
        loaded: the run.
        network: its network on arrays, as `simulate` gives it.
        seed: chip k is programmed with seed + k.
        progress: hears of each pass over images.
        calibrated: whether the ADC ranges are.
    """

    loaded: LoadedRun
    network: nn.Module
    seed: int
    progress: Progress = field(default_factory=Silent)
    calibrated: bool = False

    def program(self, chip: int = 0) -> None:
        """Program the arrays as those of chip `chip`."""
        # Late, and once: a simulation that goes on may find all its parts done already.
        if not self.calibrated:
            self._calibrate()
            self.calibrated = True
        program_(self.network, self.seed + chip)

    def _calibrate(self) -> None:
        if not needs_calibration(self.network):
            return
        # A converter is set before it sees what it will be judged by.
        train = self.loaded.data.train.sample(CALIBRATION_IMAGES, self.seed)
        batches = self.batches(train, "ADC ranges")
        calibrate_adc_(self.network, (images for images, _ in batches))

    def batches(self, split: ImageSplit, what: str, size: int = BATCH) -> Iterator[tuple[Tensor, Tensor]]:
        """Images (B, C, H, W) and classes (B,) of a split, each batch of which `progress` hears of."""
        # Normalised as the network was trained, by the mean and deviation of the training images.
        data = self.loaded.data
        self.progress.begin(what, len(split))
        try:
            for images, classes in Batches(split, data.mean, data.std, size, self.loaded.device).epoch():
                yield images, classes  # whoever asks for the next batch is done with this one
                self.progress.advance(len(classes))
        finally:
            self.progress.end()

    def accuracy(self, chip: int, split: ImageSplit, what: str) -> float:
        """Accuracy of chip `chip` on a split, 0 to 1."""
        self.program(chip)
        return self._accuracy(self.network, split, what)

    def ideal_accuracy(self, split: ImageSplit) -> float:
        """Accuracy of the quantised network on a split, 0 to 1."""
        return self._accuracy(self.loaded.model, split, "quantised network")

    def _accuracy(self, network: nn.Module, split: ImageSplit, what: str) -> float:
        correct = 0
        with evaluating(network):
            for images, classes in self.batches(split, what):
                logits: Tensor = network(images)  # (B, classes)
                correct += int((logits.argmax(1) == classes).sum())
        return correct / len(split)
