"""`StreamedImages`: data too large to be decoded at once, which are decoded while a network is trained."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from rankfold.training.augmentation import Augmentation
from rankfold.training.batches import Batch, Batches, SeededBatches, ahead, evaluation_batch
from rankfold.training.cache import moments
from rankfold.training.data import ImageSplit
from rankfold.training.shards import Row, Sharded, Shards
from rankfold.training.share import ALL, Share
from rankfold.training.source import LabelledBatch, TrainingBatches, TrainingData

if TYPE_CHECKING:
    from rankfold.training.recipe import Recipe

# Encoded images that are shuffled together; two pools are in memory, one of them being read.
POOL_BYTES = 256 << 20
SAMPLED_IMAGES = 2048  # for the mean and deviation of pixels


class StreamedImages(TrainingData):
    """Images in shards, decoded by threads for each batch and forgotten again.

    Mean and deviation of pixels are those of 2,048 training images.

    Args:
        name: what the user calls the data.
        source: the shards.

    Raises:
        InputError: an image cannot be read or decoded.
    """

    is_streamed = True

    def __init__(self, name: str, source: Sharded) -> None:
        self.name, self.classes, self.digest = name, source.classes, source.digest
        self._train, self._test = source.splits["train"], source.splits["test"]
        images, _ = self._train.images_at(self._train.sample(SAMPLED_IMAGES, 0))
        mean, std = moments(images)
        self._moments = tuple(mean.tolist()), tuple(std.tolist())
        self._shape: tuple[int, int, int] = images.shape[1:]

    @property
    def input_size(self) -> tuple[int, int, int]:
        """(C, H, W) of every image."""
        height, width, channels = self._shape
        return channels, height, width

    @property
    def train_images(self) -> int:
        """Images of the training split."""
        return len(self._train)

    @property
    def test_images(self) -> int:
        """Images of the test split."""
        return len(self._test)

    def fitted(self, recipe: Recipe) -> Recipe:
        """The recipe as it is.

        Raises:
            InputError: a batch is larger than the training split.
        """
        recipe.check_images(len(self._train))
        return recipe

    def example(self, device: torch.device) -> None:
        """None: every network takes an image of zeros."""

    def training_batches(self, recipe: Recipe, device: torch.device, share: Share = ALL) -> TrainingBatches:
        """The training split, shuffled and augmented anew in every epoch."""
        return self._batches(
            self._train,
            recipe.batch_size,
            device,
            augment=recipe.augment,
            seed=recipe.seed,
            shuffle=True,
            share=share,
        )

    def test_batches(self, device: torch.device, share: Share = ALL) -> Iterable[LabelledBatch]:
        """The test split, in its order."""
        size = evaluation_batch(*self._shape[:2])
        return self._batches(self._test, size, device, share=share).epoch()

    def calibration_batches(self, images: int | None, device: torch.device, seed: int = 0) -> Iterable[Any]:
        """Training images without augmentation, from a few shards, decoded once and kept in memory."""
        if images is None:
            images = len(self._train)
        split = ImageSplit(*self._train.images_at(self._train.sample(images, seed)))
        return _Inputs(Batches(split, *self._moments, evaluation_batch(*self._shape[:2]), device))

    def _batches(
        self,
        split: Shards,
        batch_size: int,
        device: torch.device,
        *,
        augment: str = "none",
        seed: int = 0,
        shuffle: bool = False,
        share: Share = ALL,
    ) -> StreamedBatches:
        augmentation = Augmentation(
            *self._moments,
            size=self._shape[:2],
            images=len(split),
            device=device,
            augment=augment,
            seed=seed,
        )
        return StreamedBatches(
            split, self._shape, augmentation, batch_size, device, seed=seed, shuffle=shuffle, share=share
        )


@dataclass(frozen=True)
class _Inputs:
    """The inputs of batches, to be gone through again and again."""

    batches: Batches

    def __iter__(self) -> Iterator[Tensor]:
        for inputs, _ in self.batches.epoch():
            yield inputs


class StreamedBatches(SeededBatches):
    """Batches of images that are read shard by shard and decoded by threads.

    In each epoch the shards come in a new order; shards that follow each other, up to `POOL_BYTES` of them,
    make a pool whose images are shuffled. So each shard is read once an epoch, and the order depends on seed
    and epoch alone: not on how many threads decode, nor on where an epoch is taken up.

    Args:
        split: the shards.
        shape: (H, W, C) of every image.
        augmentation: what becomes of decoded images.
        batch_size: B; a last incomplete batch is dropped when shuffling.
        device: where batches arrive.
        seed: with the epoch, fixes order and augmentation.
        shuffle: draw a new order every epoch.
        share: see `Batches`.
        threads: that decode; None: as many as torch computes with.
    """

    def __init__(
        self,
        split: Shards,
        shape: tuple[int, int, int],
        augmentation: Augmentation,
        batch_size: int,
        device: torch.device,
        *,
        seed: int = 0,
        shuffle: bool = False,
        share: Share = ALL,
        threads: int | None = None,
    ) -> None:
        super().__init__(len(split), batch_size, seed, shuffle)
        self._split, self._shape = split, shape
        self._augmentation = augmentation
        self._device, self._share = device, share
        self._threads = threads or torch.get_num_threads()

    def epoch(self, epoch: int = 0, skip: int = 0) -> Iterator[Batch]:
        """The batches of one epoch but for the first `skip`, of which nothing is read or decoded."""
        return ahead(self._prepare(epoch, skip))

    def _prepare(self, epoch: int, skip: int) -> Generator[Batch, None, None]:
        draw = self.draw(epoch)
        pools = self.pools(draw)
        order = np.concatenate(pools)  # (N,) places
        # They belong to this epoch alone: when it ends, or is left, what is not begun is dropped.
        reading = ThreadPoolExecutor(1, "read")
        decoding = ThreadPoolExecutor(self._threads, "decode")
        try:
            rows = self.rows(pools, skip * self.batch_size, reading)
            for number in range(len(self)):
                index = order[number * self.batch_size : (number + 1) * self.batch_size]
                offsets = self._augmentation.offsets(len(index), draw)  # (2, B)
                if number < skip:
                    continue
                batch = rows.take(index)
                own = slice(None)
                if self.shuffle:
                    own = self._share.places(len(index))
                elif number % self._share.of != self._share.number:
                    continue
                decoded = decoding.map(self._decoded, batch[own], index[own].tolist())
                yield self._arrived(list(decoded), index[own], offsets[:, own], epoch)
        finally:
            reading.shutdown(wait=False, cancel_futures=True)
            decoding.shutdown(wait=False, cancel_futures=True)

    def _arrived(
        self, decoded: list[tuple[np.ndarray, int]], index: np.ndarray, offsets: Tensor, epoch: int
    ) -> Batch:
        """Decoded images (H, W, C) and their labels as a batch on the device."""
        images = torch.from_numpy(np.stack([pixels for pixels, _ in decoded]))
        labels = torch.tensor([label for _, label in decoded])
        images = images.to(self._device, non_blocking=True)
        x = self._augmentation(images, torch.from_numpy(index), offsets, epoch)
        return x, labels.to(self._device, non_blocking=True)

    def _decoded(self, row: Row, place: int) -> tuple[np.ndarray, int]:
        pixels, label = self._split.decoded(row, place)
        self._split.decoder.check_shape(pixels, self._shape, place)
        return pixels, label

    def rows(self, pools: list[np.ndarray], start: int, reading: ThreadPoolExecutor) -> Rows:
        """The encoded images of an epoch but for the first `start`, see `Rows`."""
        return Rows(self._split, pools, start, reading)

    def pools(self, draw: torch.Generator) -> list[np.ndarray]:
        """The places of all images of an epoch, pool by pool, each in its order."""
        shards = self._split.shards
        numbers = list(range(len(shards)))
        if self.shuffle:
            numbers = torch.randperm(len(shards), generator=draw).tolist()
        pools: list[np.ndarray] = []
        held: list[np.ndarray] = []
        size = 0
        for position, number in enumerate(numbers):
            held.append(np.arange(self._split.first[number], self._split.first[number + 1]))
            size += shards[number].size
            if size < POOL_BYTES and position + 1 < len(shards):
                continue
            places = np.concatenate(held)
            if self.shuffle:
                places = places[torch.randperm(len(places), generator=draw).numpy()]
            pools.append(places)
            held, size = [], 0
        return pools


class Rows:
    """The rows of pools, of which the next one is read while those of one are taken.

    Args:
        split: the shards.
        pools: places of images, pool by pool.
        start: how many images come before the first that is wanted.
        reading: a thread.
    """

    def __init__(
        self, split: Shards, pools: list[np.ndarray], start: int, reading: ThreadPoolExecutor
    ) -> None:
        self._split, self._reading = split, reading
        self._held: dict[int, Row] = {}
        self._waiting: list[np.ndarray] = []
        before = 0
        for places in pools:
            wanted = places[max(0, start - before) :]
            before += len(places)
            if len(wanted):
                self._waiting.append(wanted)
        self._waiting.reverse()
        self._begin()

    def take(self, index: np.ndarray) -> list[Row]:
        """The rows at these places, the next in the order of the pools; they are forgotten here."""
        while any(place not in self._held for place in index.tolist()):
            self._held.update(self._next.result())
            self._begin()
        return [self._held.pop(place) for place in index.tolist()]

    def _begin(self) -> None:
        """Begin to read the next pool."""
        if self._waiting:
            self._next = self._reading.submit(self._read, self._waiting.pop())

    def _read(self, places: np.ndarray) -> dict[int, Row]:
        """The rows at these places, each shard being read once."""
        rows: dict[int, Row] = {}
        numbers = np.searchsorted(self._split.first, places, side="right") - 1
        wanted = set(places.tolist())
        for number in np.unique(numbers).tolist():
            first = int(self._split.first[number])
            for place, row in enumerate(self._split.read(number), first):
                if place in wanted:
                    rows[place] = row
        return rows
