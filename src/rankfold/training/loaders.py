"""`LoaderData`: batches that the user makes, as lists or data loaders, for training and whole runs."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

import torch
from torch import Tensor, nn

from rankfold.arguments import TEXT, shown
from rankfold.calibration.samples import Inputs, Samples, tensors_of
from rankfold.errors import InputError
from rankfold.training.loader_epochs import LoaderEpochs, Seen, look_at
from rankfold.training.recipe import Recipe
from rankfold.training.share import ALL, Share
from rankfold.training.source import LabelledBatch, TrainingBatches, TrainingData, numbered
from rankfold.workload import Network, trace

TRAIN, TEST = "train", "test"


class LoaderData(TrainingData):
    """Batches that the user makes, as a data set that networks are trained on.

    A batch is a pair (inputs, target): the inputs a tensor, a tuple of several by position or a dictionary
    of them by name, already normalised and augmented; the target a tensor (B,) with the number of each
    sample's class. Batch size and augmentation of a recipe do not apply: the batches are as the loader makes
    them. Networks are calibrated on the first batches of `train`.

    A run's folder is known by `digest`. Where none is given, it is a hash of the first batch of each of the
    two and of their lengths, so the same digest says that the same batches come first, no more. A loader
    that shuffles or augments must therefore start from the same seed for a stopped run to go on; the order
    of the later epochs is the user's alone, and a run that was stopped ends with the numbers of one that was
    not only where the loader gives the same in every epoch.

    Args:
        train: the batches to train on: a list, a torch DataLoader, or whatever can be gone through again and
            again and gives as many batches each time.
        test: the batches to test on; the same.
        classes: their number, or their names in the order of their numbers; None: as many as targets show,
            for which both are gone through once.
        name: what results call the data.
        digest: tells the data from others, as the name and version of a data set do; None: a hash, as above.

    Raises:
        InputError: one of them can be gone through only once, is empty or gives no such pairs.
    """

    def __init__(
        self,
        train: Iterable[Any],
        test: Iterable[Any],
        *,
        classes: int | Sequence[str] | None = None,
        name: str = "loaders",
        digest: str | None = None,
    ) -> None:
        TEXT.check("name", name)
        TEXT.or_none.check("digest", digest)
        named = _names(classes)
        known = None
        if named is not None:
            known = len(named)
        self.train, self.test, self.name = train, test, name
        self._train = look_at(train, TRAIN, known)
        self._test = look_at(test, TEST, known)
        if named is None:
            named = numbered(max(self._train.classes, self._test.classes))
        self.classes = named
        self._known = len(named)
        if digest is None:
            digest = _digest(self._train, self._test)
        self.digest = digest

    @property
    def input_size(self) -> tuple[int, int, int]:
        """(C, H, W) of the first tensor of images, else of the first with samples, with ones in front."""
        # A single number, such as a scale, is of no sample.
        given = [values for values in _tensors(self._train.first[0]) if values.dim() > 0]
        shape = given[0].shape
        for values in given:
            if values.dim() == 4:
                shape = values.shape
                break
        channels, height, width = (1, 1, 1, *shape[1:])[-3:]
        return channels, height, width

    @property
    def train_images(self) -> int:
        """Samples in an epoch."""
        return self._train.samples

    @property
    def test_images(self) -> int:
        """Samples to test on."""
        return self._test.samples

    def fitted(self, recipe: Recipe) -> Recipe:
        """The recipe as it is."""
        return recipe

    def example(self, device: torch.device) -> Inputs:
        """The first sample of the first batch."""
        (inputs,) = Samples([self._train.first], 1, device)
        return inputs

    def training_batches(self, recipe: Recipe, device: torch.device, share: Share = ALL) -> TrainingBatches:
        """The batches of `train`, whatever the recipe."""
        return LoaderEpochs(self.train, TRAIN, self._train, self._known, device, share=share)

    def test_batches(self, device: torch.device, share: Share = ALL) -> Iterator[LabelledBatch]:
        """The batches of `test`."""
        batches = LoaderEpochs(self.test, TEST, self._test, self._known, device).epoch()
        return islice(batches, share.number, None, share.of)

    def calibration_batches(
        self, images: int | None, device: torch.device, seed: int = 0
    ) -> Iterable[tuple[Inputs, None]]:
        """The first batches of `train`, whatever the seed; they are kept in memory."""
        # Kept, as a loader that shuffles gives others each time. As pairs, since a tuple of two inputs alone
        # would be read as one input and its target.
        return [(inputs, None) for inputs in Samples(self.train, images, device)]


def trace_on(model: nn.Module, name: str, inputs: Inputs) -> Network:
    """The trace of a network for the inputs of one sample, see `Samples`.

    Raises:
        InputError: the network does not take them.
    """
    if isinstance(inputs, Mapping):
        _check_names(model, inputs)
        return trace(model, None, name, inputs)
    return trace(model, None, name, tensors_of(inputs))


def _check_names(model: nn.Module, inputs: Mapping[str, Any]) -> None:
    """Refuse inputs by names that a network does not have.

    Raises:
        InputError: they are refused.
    """
    signature = inspect.signature(model.forward)
    try:
        signature.bind(**inputs)
    except TypeError as error:
        given, taken = ", ".join(inputs), ", ".join(signature.parameters)
        raise InputError(
            f"the data have inputs called {given}, and the network takes {taken}; call them so"
        ) from error


def bytes_of(values: Tensor) -> bytes:
    """The bytes of a tensor, in the order of its elements."""
    stored = values.detach().cpu().contiguous().view(-1)
    # As bytes: NumPy does not know all of torch's types.
    return stored.view(torch.uint8).numpy().tobytes()


def identity_of(values: Tensor) -> bytes:
    """What tells a tensor from others: its type and shape, and its bytes, which may be other numbers."""
    return f"{values.dtype} {tuple(values.shape)}".encode() + bytes_of(values)


def _names(classes: int | Sequence[str] | None) -> tuple[str, ...] | None:
    if classes is None:
        return None
    if isinstance(classes, (bool, str)):
        raise InputError(f"classes (={classes}) must be their number or a list of their names")
    if isinstance(classes, int):
        if classes < 1:
            raise InputError(f"classes (={classes}) must be 1 or more")
        return numbered(classes)
    if not isinstance(classes, Sequence):
        raise InputError(f"classes must be their number or a list of their names, not {shown(classes)}")
    for name in classes:
        TEXT.check("the name of a class", name)
    return tuple(classes)


def _digest(train: Seen, test: Seen) -> str:
    """A hash of the first batches and of the lengths."""
    content = hashlib.sha256()
    for seen in (train, test):
        content.update(f"{seen.batches} {seen.samples}".encode())
        inputs, target = seen.first
        for values in (*_tensors(inputs), target):
            content.update(identity_of(values))
    return content.hexdigest()[:16]


def _tensors(inputs: Inputs) -> list[Tensor]:
    return [values for values in tensors_of(inputs) if isinstance(values, Tensor)]
