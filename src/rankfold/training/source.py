"""`TrainingData`: what training and whole runs ask of their data; images and loaders answer it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from rankfold.errors import InputError
from rankfold.training.share import ALL, Share

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from rankfold.training.recipe import Recipe

# Inputs of a network, see `calibration.samples.inputs_of`; and classes (B,) int64.
LabelledBatch = tuple[Any, "Tensor"]


def numbered(count: int) -> tuple[str, ...]:
    """Names for classes that have none."""
    return tuple(str(number) for number in range(count))


class TrainingBatches(Protocol):
    """The batches of every epoch of a training."""

    def __len__(self) -> int:
        """Batches in an epoch."""

    @property
    def images(self) -> int:
        """Samples in an epoch."""

    @property
    def is_repeatable(self) -> bool:
        """Whether an epoch, gone through again, gives the same batches: by seed and epoch alone."""

    def epoch(self, epoch: int = 0, skip: int = 0) -> Iterator[LabelledBatch]:
        """The batches of one epoch but for the first `skip`, on the device of the training."""


class TrainingData(ABC):
    """Samples to train on and others to test on, with their classes.

    Attributes:
        name: what the user calls the data.
        classes: class names, in label order.
        digest: tells the data from others.
        is_streamed: whether images are decoded while networks are trained.
    """

    name: str
    classes: tuple[str, ...]
    digest: str
    is_streamed: ClassVar[bool] = False

    @property
    def is_labelled(self) -> bool:
        """Whether the samples have classes."""
        return True

    def require_labels(self, what: str, instead: str = "") -> None:
        """Refuse samples without labels where something needs them.

        Args:
            what: needs them, for a message.
            instead: what else would do, for the same.

        Raises:
            InputError: they have none.
        """
        if not self.is_labelled:
            raise InputError(
                f"{what} needs labels, and data {self.name} have none; "
                f"{instead or 'give images by split and class (train/cat/1.png)'}"
            )

    @property
    def has_targets(self) -> bool:
        """Whether the samples have targets, classes or others, that a metric can be given."""
        return self.is_labelled

    def require_targets(self) -> None:
        """Refuse samples without targets where a metric is given them.

        Raises:
            InputError: they have none.
        """
        if not self.has_targets:
            raise InputError(
                f"a metric needs targets, and data {self.name} have none; give an array called targets, or "
                "several called targets.NAME, in a .npz file beside the inputs, NAME.json or NAME.npy beside "
                "each image of a folder, or images by split and class"
            )

    def few(self, images: int, seed: int) -> TrainingData:
        """The same with so many samples to train on, drawn under the seed.

        Raises:
            InputError: they are no decoded images, or not so many.
        """
        raise InputError(
            f"data {self.name} are no decoded images, of which some could be drawn; learn from all of them"
        )

    @property
    @abstractmethod
    def input_size(self) -> tuple[int, int, int]:
        """(C, H, W) of every image."""

    @property
    @abstractmethod
    def train_images(self) -> int:
        """Samples to train on."""

    @property
    @abstractmethod
    def test_images(self) -> int:
        """Samples to test on."""

    @abstractmethod
    def fitted(self, recipe: Recipe) -> Recipe:
        """The recipe as it holds for this data.

        Raises:
            InputError: the data cannot be trained on by it.
        """

    @abstractmethod
    def example(self, device: torch.device) -> Any:
        """The inputs of one sample, a batch of one on a device; None: zeros of `input_size` do."""

    @abstractmethod
    def training_batches(self, recipe: Recipe, device: torch.device, share: Share = ALL) -> TrainingBatches:
        """The batches of all epochs of a training by this recipe; of each a share alone."""

    @abstractmethod
    def test_batches(self, device: torch.device, share: Share = ALL) -> Iterable[LabelledBatch]:
        """All samples to test on, in the same batches each time; of a share, every so many-th batch."""

    @abstractmethod
    def calibration_batches(self, images: int | None, device: torch.device, seed: int = 0) -> Iterable[Any]:
        """Inputs of samples to train on, to be gone through again and again, each time the same.

        Args:
            images: how many samples; all, if there are fewer; None: all.
            device: where the batches arrive.
            seed: which are drawn, where they are drawn.
        """
