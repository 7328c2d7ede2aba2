"""`LoaderData`: batches that the user makes, as lists or data loaders, for training and whole runs."""

from __future__ import annotations

import hashlib
import inspect
import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, IterableDataset

from rankfold.arguments import TEXT, shown
from rankfold.calibration.samples import (
    Inputs,
    Samples,
    check_iterable,
    cut,
    inputs_of,
    map_tensors,
    size_of,
    tensors_of,
)
from rankfold.errors import InputError
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
        self._train = _look(train, TRAIN, known)
        self._test = _look(test, TEST, known)
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
        return _Epochs(self.train, TRAIN, self._train, self._known, device, share=share)

    def test_batches(self, device: torch.device, share: Share = ALL) -> Iterator[LabelledBatch]:
        """The batches of `test`."""
        batches = _Epochs(self.test, TEST, self._test, self._known, device).epoch()
        return islice(batches, share.number, None, share.of)

    def calibration_batches(
        self, images: int | None, device: torch.device, seed: int = 0
    ) -> Iterable[tuple[Inputs, None]]:
        """The first batches of `train`, whatever the seed; they are kept in memory."""
        # Kept, as a loader that shuffles gives others each time. As pairs, since a tuple of two inputs alone
        # would be read as one input and its target.
        return [(inputs, None) for inputs in Samples(self.train, images, device)]


def pair_of(batch: Any, what: str, classes: int | None = None) -> LabelledBatch:
    """Inputs and target of a batch.

    Args:
        batch: as a user gives it.
        what: what the batch is for, in messages: a batch to `what`.
        classes: how many there are, where it is known.

    Raises:
        InputError: it has no target, or one that does not name the class of each sample.
    """
    is_pair = isinstance(batch, (tuple, list)) and len(batch) == 2
    if not is_pair or not isinstance(batch[1], Tensor):
        raise InputError(
            f"a batch to {what} on is a {type(batch).__name__}; give pairs (inputs, target), the target a "
            "tensor with the number of each sample's class"
        )
    inputs, target = inputs_of(batch), batch[1]
    is_whole = not (target.is_floating_point() or target.is_complex() or target.dtype == torch.bool)
    samples = size_of(inputs)
    if not is_whole or target.shape != (samples,) or samples == 0:
        shape = tuple(target.shape)
        raise InputError(
            f"a batch to {what} on has {samples} samples and a target of {shape} {target.dtype}; "
            "give the number of each sample's class, whole numbers (B,)"
        )
    lowest, highest = int(target.min()), int(target.max())
    if lowest < 0:
        raise InputError(f"a batch to {what} on has the class {lowest}; classes count from 0")
    if classes is not None and highest >= classes:
        raise InputError(f"a batch to {what} on has the class {highest}; there are {classes}, from 0")
    return inputs, target.long()


def targets_of(batch: Any) -> Any:
    """The targets of a batch that a metric is measured on, whatever they are.

    Raises:
        InputError: it is no pair.
    """
    if not isinstance(batch, (tuple, list)) or len(batch) != 2:
        raise InputError(
            f"a batch to measure a metric on is a {type(batch).__name__}; give pairs (inputs, targets), the "
            "targets anything that the metric knows"
        )
    return batch[1]


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


@dataclass(frozen=True)
class _Seen:
    """What a look at some batches showed.

    Attributes:
        first: the first of them.
        batches: how many there are.
        samples: how many there are in all of them.
        classes: at least so many, by the targets that were looked at.
    """

    first: LabelledBatch
    batches: int
    samples: int
    classes: int


class _Epochs:
    """The batches of a loader, on a device, epoch after epoch."""

    def __init__(
        self,
        batches: Iterable[Any],
        what: str,
        seen: _Seen,
        classes: int,
        device: torch.device,
        *,
        share: Share = ALL,
    ) -> None:
        self._batches, self._what, self._seen = batches, what, seen
        self._classes, self._device = classes, device
        self._share = share

    def __len__(self) -> int:
        return self._seen.batches

    @property
    def images(self) -> int:
        """Samples in an epoch."""
        return self._seen.samples

    @property
    def is_repeatable(self) -> bool:
        """Whether they are a list: a loader may draw another order, or other images, each time."""
        return isinstance(self._batches, (list, tuple))

    def epoch(self, epoch: int = 0, skip: int = 0) -> Iterator[LabelledBatch]:
        """What the loader gives this time, but for the first `skip` batches.

        Raises:
            InputError: other batches than it gave at first, in number or in kind.
        """
        count = 0
        for batch in self._batches:
            count += 1
            # The rates of all steps were set by the number of batches.
            if count > len(self):
                raise self._other_number(f"more than {len(self)}")
            # They are made, as nobody else knows how to leave them out.
            if count <= skip:
                continue
            inputs, target = pair_of(batch, self._what, self._classes)
            samples = len(target)
            own = self._share.places(samples)
            inputs = cut(inputs, samples, own.start, own.stop)
            yield map_tensors(inputs, self._moved), self._moved(target[own])
        if count < len(self):
            raise self._other_number(str(count))

    def _moved(self, values: Tensor) -> Tensor:
        return values.to(self._device, non_blocking=True)

    def _other_number(self, count: str) -> InputError:
        return InputError(
            f"{self._what} gave {count} batches, and {len(self)} before; give an iterable that gives as many "
            "each time"
        )


def _look(batches: Iterable[Any], what: str, classes: int | None) -> _Seen:
    """Look at the first batch, and at all others unless a data loader tells how many there are.

    Args:
        batches: as the user gives them.
        what: what they are called.
        classes: how many there are; None: the targets have to show it.
    """
    check_iterable(batches, what)
    if isinstance(batches, Iterator):
        raise InputError(
            f"{what} is a {type(batches).__name__}, which can be gone through only once; give a list of "
            "batches or a data loader"
        )
    told = None
    if classes is not None:
        told = _sizes_told(batches)
    first: LabelledBatch | None = None
    count, samples, highest = 0, 0, 0
    with _nothing_drawn(batches):
        for batch in batches:
            inputs, target = pair_of(batch, what, classes)
            if first is None:
                first = inputs, target
            count += 1
            samples += len(target)
            highest = max(highest, int(target.max()))
            if told is not None:
                count, samples = told
                break
    if first is None:
        raise InputError(f"{what} is empty; give at least one batch")
    return _Seen(first, count, samples, highest + 1)


@contextmanager
def _nothing_drawn(batches: Iterable[Any]) -> Iterator[None]:
    """Whether anybody has looked at batches inside does not change what is drawn afterwards."""
    generators = _generators(batches)
    drawn = [generator.get_state() for generator in generators]
    # A user's augmentation may draw from any of them.
    python, numpy = random.getstate(), np.random.get_state()  # noqa: NPY002
    try:
        with torch.random.fork_rng(devices=[]):
            yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)  # noqa: NPY002
        for generator, state in zip(generators, drawn, strict=True):
            generator.set_state(state)


def _generators(batches: Iterable[Any]) -> list[torch.Generator]:
    """The random generators that a data loader and its samplers draw from, apart from torch's own."""
    if not isinstance(batches, DataLoader):
        return []
    batch_sampler = batches.batch_sampler
    owners = (batches, batches.sampler, batch_sampler, getattr(batch_sampler, "sampler", None))
    found = []
    for owner in owners:
        generator = getattr(owner, "generator", None)
        if isinstance(generator, torch.Generator):
            found.append(generator)
    return found


def _sizes_told(batches: Iterable[Any]) -> tuple[int, int] | None:
    """The batches and samples of an epoch, as a data loader tells them; None: it does not."""
    if not isinstance(batches, DataLoader) or isinstance(batches.dataset, IterableDataset):
        return None
    if batches.batch_size is None:  # a sampler of whole batches knows their sizes alone
        return None
    try:
        count, samples = len(batches), len(batches.sampler)  # type: ignore[arg-type]
    except TypeError:  # a sampler may have no length
        return None
    if batches.drop_last:
        samples = count * batches.batch_size
    return count, samples


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


def _digest(train: _Seen, test: _Seen) -> str:
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
