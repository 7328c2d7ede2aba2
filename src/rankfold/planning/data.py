"""The samples that a network is planned on: some to calibrate with, others to measure plans on."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from rankfold.calibration.samples import (
    MOMENT_IMAGES,
    Inputs,
    Samples,
    check_iterable,
    cut,
    inputs_of,
    size_of,
    tensors_of,
)
from rankfold.errors import InputError
from rankfold.runs.evaluate import evaluate
from rankfold.training.accuracy import accuracy_on_split
from rankfold.training.calibration import CalibrationImages
from rankfold.training.data import ImageData, ImageSplit
from rankfold.training.device import place_
from rankfold.training.loaders import LoaderData, identity_of, trace_on
from rankfold.training.metric import Measure
from rankfold.training.pairs import pair_of, targets_of
from rankfold.training.unlabelled import ArrayData
from rankfold.workload import Network, trace

SMALL_IMAGE = 64 * 64  # pixels; larger images have so many patches that fewer of them will do
LARGE_IMAGES = 32
# A batch as a user gives it, see `calibration.samples.inputs_of`.
Batch = Any


class HeldOut(ABC):
    """Samples with their classes, or whatever a metric measures by, that nothing was calibrated on."""

    @abstractmethod
    def __len__(self) -> int:
        """How many there are."""

    @abstractmethod
    def accuracy(self, model: nn.Module) -> float:
        """Top-1 accuracy of a network on them, 0 to 1, or what the metric says that they were asked for."""


class PlanningData(ABC):
    """The samples that a network is planned on.

    Attributes:
        name: what messages call the data.
        device: where the network is.
    """

    name: str
    device: torch.device

    @abstractmethod
    def network(self, model: nn.Module) -> Network:
        """The trace of a network that takes these samples, called by the name of its class."""

    @property
    @abstractmethod
    def image_size(self) -> tuple[int, int]:
        """(H, W) of a sample; (1, 1) where it is no image."""

    @property
    @abstractmethod
    def is_labelled(self) -> bool:
        """Whether the samples have targets."""

    @abstractmethod
    def calibration(self, images: int, seed: int) -> Iterable[Inputs]:
        """Inputs of the network on its device, to be gone through again and again.

        Args:
            images: how many; all, if there are fewer.
            seed: which are drawn, where they are drawn.
        """

    @abstractmethod
    def held_out(self, images: int, seed: int, skip: int, metric: Measure | None = None) -> HeldOut:
        """Others than the first `skip` that `calibration` gives under this seed.

        Args:
            images: how many, at most.
            seed: which are drawn, where they are drawn.
            skip: how many are left out.
            metric: what networks are measured by; None: top-1 accuracy.

        Raises:
            InputError: none are left, or they have no classes or targets that are asked for.
        """

    @abstractmethod
    def digest(self, images: int) -> str:
        """Tells the first samples from others, the same on all machines.

        Args:
            images: how many of them count, where they are not known by a data set.
        """


def data_digest(data: ImageData | LoaderData | Iterable[Any]) -> str | None:
    """What tells a data set from others; None: these are batches that nothing names."""
    if isinstance(data, ImageData | LoaderData):
        return data.digest
    return None


def planning_data(
    data: ImageData | LoaderData | Iterable[Any] | PlanningData,
    device: torch.device,
    *,
    with_targets: bool = False,
) -> PlanningData:
    """The samples in what a user gives.

    Args:
        data: images or loaders, of which the training split is used; or an iterable of batches, see
            `calibration.samples.inputs_of`: with pairs (inputs, target) plans can be measured.
        device: where the network is.
        with_targets: whether plans are measured by targets that are no classes.

    Raises:
        InputError: it is no iterable of batches, or has no targets.
    """
    if isinstance(data, PlanningData):
        return data
    if isinstance(data, ImageData):
        return TrainingImages(data, device)
    if isinstance(data, LoaderData):
        # Never the test batches: what was chosen by them would be no test.
        if isinstance(data, ArrayData) and with_targets:
            data = data.targeted_batches()
        elif not data.is_labelled:
            return GivenBatches(data.calibration_batches(None, device), device)
        else:
            data = data.train
    return GivenBatches(data, device)


class TrainingImages(PlanningData):
    """The training split of a data set of images, drawn under a seed.

    Args:
        data: the data set.
        device: where the network is.
    """

    def __init__(self, data: ImageData, device: torch.device) -> None:
        self.data, self.device = data, device
        self.name = data.name

    def network(self, model: nn.Module) -> Network:
        """Traced for the data's images."""
        return trace(model, self.data.input_size, type(model).__name__)

    @property
    def image_size(self) -> tuple[int, int]:
        """(H, W) of the images."""
        _, height, width = self.data.input_size
        return height, width

    @property
    def is_labelled(self) -> bool:
        """As the data set says."""
        return self.data.is_labelled

    def calibration(self, images: int, seed: int) -> Iterable[Inputs]:
        """The first images that the seed draws."""
        return CalibrationImages(self.data, self.device, seed, images)

    def held_out(self, images: int, seed: int, skip: int, metric: Measure | None = None) -> HeldOut:
        """The next ones that it draws."""
        if metric is None:
            self.data.require_labels("measuring plans", "limit the predicted loss instead (--max-loss)")
        elif metric.reads_targets:
            self.data.require_targets()
        # Never the test split: what was chosen by it would be no test.
        split = self.data.train.sample(images, seed, skip=skip)
        if not len(split):
            there = len(self.data.train)
            raise _nothing_left(f"{self.name} has {there} training images", skip)
        return _HeldOutImages(split, self.data, self.device, metric)

    def digest(self, images: int) -> str:
        """That of the data set."""
        return self.data.digest


class _HeldOutImages(HeldOut):
    def __init__(
        self, split: ImageSplit, data: ImageData, device: torch.device, metric: Measure | None
    ) -> None:
        self.split, self._data, self._device = split, data, device
        self._metric = metric

    def __len__(self) -> int:
        return len(self.split)

    def accuracy(self, model: nn.Module) -> float:
        if self._metric is None:
            return accuracy_on_split(model, self.split, self._data, self._device)
        place_(model, self._device)
        return self._metric(model, self._data.batches_of(self.split, self._device))


class GivenBatches(PlanningData):
    """Any iterable of batches, gone through once and no further than needed; what was read is kept in memory.

    Once, as a loader that shuffles gives others each time: what is held out would not be.

    Args:
        batches: see `calibration.samples.inputs_of`.
        device: where the network is.

    Raises:
        InputError: it is no iterable of batches.
    """

    name = "given"

    def __init__(self, batches: Iterable[Any], device: torch.device) -> None:
        check_iterable(batches, "data")
        self.device = device
        self._unread = iter(batches)
        self._read: list[Batch] = []
        self._samples = 0  # in the batches that were read

    def network(self, model: nn.Module) -> Network:
        """Traced for the first sample."""
        name = type(model).__name__
        # One sample of the data rather than zeros: inputs may be several, or no images.
        (inputs,) = Samples(self._first(1), 1, self.device)
        return trace_on(model, name, inputs)

    @property
    def image_size(self) -> tuple[int, int]:
        """(H, W) of the first tensor of images."""
        for values in tensors_of(inputs_of(self._first(1)[0])):
            if isinstance(values, Tensor) and values.dim() == 4:
                _, _, height, width = values.shape  # (B, C, H, W)
                return height, width
        return 1, 1

    @property
    def is_labelled(self) -> bool:
        """Whether the first batch is a pair with a target."""
        first = self._first(1)[0]
        return isinstance(first, (tuple, list)) and len(first) == 2 and first[1] is not None

    def calibration(self, images: int, seed: int) -> Iterable[Inputs]:
        """The first samples, in their order."""
        return Samples(self._first(images), images, self.device)

    def held_out(self, images: int, seed: int, skip: int, metric: Measure | None = None) -> HeldOut:
        """The samples after the first `skip`, in their order."""
        # Read on only now: most plans need no accuracy.
        batches = self._first(skip + images)
        if self._samples <= skip:
            raise _nothing_left(f"given has {self._samples} samples", skip)
        held_out = list(_between(batches, skip, skip + images))
        if metric is not None and not metric.reads_targets:
            return _HeldOutInputs(Samples(held_out, None, self.device), metric)
        # Before networks are made, not when the first one is measured.
        for batch in held_out:
            if metric is None:
                pair_of(batch, "evaluate")
            else:
                targets_of(batch)
        return _HeldOutBatches(held_out, metric)

    def digest(self, images: int) -> str:
        """That of the inputs of these samples."""
        content = hashlib.sha256()
        for batch in _between(self._first(images), 0, images):
            inputs = inputs_of(batch)
            size = size_of(inputs)
            # Sample by sample: which batches they came in does not count.
            for sample in range(size):
                for values in tensors_of(cut(inputs, size, sample, sample + 1)):
                    if isinstance(values, Tensor):
                        content.update(identity_of(values))
        return content.hexdigest()[:16]

    def _first(self, samples: int) -> list[Batch]:
        """The batches with the first samples, at least one.

        Raises:
            InputError: there is none.
        """
        while self._samples < samples:
            batch = next(self._unread, None)
            if batch is None:
                break  # there are fewer
            self._samples += size_of(inputs_of(batch))
            self._read.append(batch)
        if not self._read:
            raise InputError("data is empty; give at least one batch")
        return self._read


class _HeldOutInputs(HeldOut):
    def __init__(self, samples: Samples, metric: Measure) -> None:
        self._samples, self._metric = samples, metric

    def __len__(self) -> int:
        return sum(size_of(inputs) for inputs in self._samples)

    def accuracy(self, model: nn.Module) -> float:
        return self._metric(model, ((inputs, None) for inputs in self._samples))


class _HeldOutBatches(HeldOut):
    def __init__(self, batches: list[Batch], metric: Measure | None) -> None:
        self._batches, self._metric = batches, metric

    def __len__(self) -> int:
        return sum(size_of(inputs_of(batch)) for batch in self._batches)

    def accuracy(self, model: nn.Module) -> float:
        return evaluate(model, self._batches, metric=self._metric)


def _between(batches: Iterable[Batch], start: int, stop: int) -> Iterator[Batch]:
    """The batches with the samples from `start` to before `stop`, the first and the last one cut."""
    before = 0  # samples in the batches so far
    for batch in batches:
        size = size_of(inputs_of(batch))
        first = max(start - before, 0)
        last = min(stop - before, size)
        before += size
        if first < last:
            yield cut(batch, size, first, last)


def _nothing_left(what: str, calibrated: int) -> InputError:
    return InputError(
        f"data {what}, and the first {calibrated} are for calibration, of batch norm too; none is left to "
        "measure plans on: give more, calibrate on fewer (images=, --calibration-images), or limit the "
        "predicted loss instead (max_loss, --max-loss)"
    )


def default_images(data: PlanningData) -> int:
    """How many samples to calibrate on: 512, or 32 where images are larger than 64x64."""
    height, width = data.image_size
    if height * width <= SMALL_IMAGE:
        return MOMENT_IMAGES
    return LARGE_IMAGES
