"""The batches of a loader that the user makes, looked at once, then gone through epoch after epoch."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset

from rankfold.calibration.samples import check_iterable, cut, map_tensors
from rankfold.errors import InputError
from rankfold.training.pairs import pair_of
from rankfold.training.share import ALL, Share
from rankfold.training.source import LabelledBatch


@dataclass(frozen=True)
class Seen:
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


class LoaderEpochs:
    """The batches of a loader, on a device, epoch after epoch."""

    def __init__(
        self,
        batches: Iterable[Any],
        what: str,
        seen: Seen,
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


def look_at(batches: Iterable[Any], what: str, classes: int | None) -> Seen:
    """Look at the first batch, and at all others unless a data loader tells how many there are.

    Args:
        batches: as the user gives them.
        what: what they are called.
        classes: how many there are; None: the targets have to show it.

    Raises:
        InputError: they can be gone through only once, are none, or one has no classes of its samples.
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
    return Seen(first, count, samples, highest + 1)


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
