"""Batches for training and evaluation: whole-batch augmentation in torch, prepared ahead in a thread."""

from __future__ import annotations

import math
import queue
import threading
from collections.abc import Generator, Iterator

import numpy as np
import torch
from torch import Tensor

from rankfold.training.augmentation import Augmentation
from rankfold.training.data import ImageSplit
from rankfold.training.share import ALL, Share

# Decoded data up to this size is kept on the GPU, where augmentation then costs nothing on the host.
RESIDENT_BYTES = 4 << 30
EVALUATION_BATCH = 500
EVALUATION_PIXELS = EVALUATION_BATCH * 64 * 64  # of a batch of larger images, whose activations take memory
AUGMENTATIONS = ("crop-flip", "crop", "none")

Batch = tuple[Tensor, Tensor]  # images (B, C, H, W) float32, labels (B,) int64
_Ready = Batch | BaseException | None  # of the thread that prepares them; None: that was all


def evaluation_batch(height: int, width: int) -> int:
    """Images (C, H, W) in a batch where nothing is trained: 500, or fewer above 64x64."""
    return min(EVALUATION_BATCH, max(1, EVALUATION_PIXELS // (height * width)))


class SeededBatches:
    """What batches have in common whose order seed and epoch alone fix, however the images are kept.

    Args:
        available: images there are.
        batch_size: B; a last incomplete batch is dropped when shuffling, since its gradient is noisier.
        seed: of order and augmentation.
        shuffle: whether every epoch has an order of its own.
    """

    def __init__(self, available: int, batch_size: int, seed: int, shuffle: bool) -> None:
        self._available, self.batch_size = available, batch_size
        self.seed, self.shuffle = seed, shuffle

    def __len__(self) -> int:
        if self.shuffle and self._available >= self.batch_size:  # a lone incomplete batch is better than none
            return self._available // self.batch_size
        return math.ceil(self._available / self.batch_size)

    @property
    def images(self) -> int:
        """Images in an epoch."""
        return min(len(self) * self.batch_size, self._available)

    @property
    def is_repeatable(self) -> bool:
        """True: seed and epoch fix everything."""
        return True

    def draw(self, epoch: int) -> torch.Generator:
        """What order and augmentation of an epoch are drawn from."""
        # The factor is larger than any number of epochs: no two seeds share an order.
        return torch.Generator().manual_seed(self.seed * 1_000_003 + epoch + 1)


class Batches(SeededBatches):
    """Iterates over (images float32 (B, C, H, W) normalised, channels last; labels int64 (B,)).

    Attributes:
        augmentation: what becomes of the images.

    Args:
        split: decoded images.
        mean: per-channel mean to subtract, of pixels in [0, 1].
        std: per-channel deviation to divide by.
        batch_size: B; a last incomplete batch is dropped when shuffling, since its gradient is noisier.
        device: where batches arrive.
        augment: `crop-flip`, `crop` or `none`.
        seed: with the epoch, fixes order and augmentation.
        shuffle: draw a new order every epoch.
        share: what is prepared of each batch where it is shuffled, and else of all batches: every so many-th.
            Shares of a batch together are that batch, to the last bit.
    """

    def __init__(
        self,
        split: ImageSplit,
        mean: tuple[float, ...],
        std: tuple[float, ...],
        batch_size: int,
        device: torch.device,
        *,
        augment: str = "none",
        seed: int = 0,
        shuffle: bool = False,
        share: Share = ALL,
    ) -> None:
        super().__init__(len(split), batch_size, seed, shuffle)
        self.split = split
        self.device = device
        self.augment = augment
        self.share = share
        _, height, width, _ = split.images.shape
        self.augmentation = Augmentation(
            mean,
            std,
            size=(height, width),
            images=len(split),
            device=device,
            augment=augment,
            seed=seed,
        )
        self._resident = device.type == "cuda" and split.images.nbytes <= RESIDENT_BYTES
        if self._resident:
            # A copy: torch warns of memory that cannot be written to, as that of a mapped file.
            images = np.array(split.images)
            self._images = torch.from_numpy(images).to(device)
            self._labels = torch.from_numpy(split.labels).to(device)

    def epoch(self, epoch: int = 0, skip: int = 0) -> Iterator[Batch]:
        """The batches of one epoch but for the first `skip`; the same `seed` and `epoch` give the same."""
        batches = self._prepare(epoch, skip)
        if self._resident:
            return batches
        return ahead(batches)

    def drawn(self, epoch: int, skip: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
        """What each batch of an epoch is made of: places (B,) of its images, and offsets (2, B) of crops.

        Args:
            epoch: from 0.
            skip: batches that are left out.
        """
        draw = self.draw(epoch)
        count = len(self.split)
        if self.shuffle:
            order = torch.randperm(count, generator=draw)
        else:
            order = torch.arange(count)
        for number in range(len(self)):
            start = number * self.batch_size
            index = order[start : start + self.batch_size]
            offsets = self.augmentation.offsets(len(index), draw)  # (2, B)
            if number < skip:
                continue
            if self.shuffle:
                # Sorted reads keep a memory-mapped file sequential; SGD does not mind the order inside.
                index = index.sort().values
            yield index, offsets

    def _prepare(self, epoch: int, skip: int) -> Iterator[Batch]:
        for number, (index, offsets) in enumerate(self.drawn(epoch, skip), skip):
            if self.shuffle:
                own = self.share.places(len(index))
                index, offsets = index[own], offsets[:, own]
            elif number % self.share.of != self.share.number:
                continue
            if self._resident:
                images, labels = self._read_from_device(index)
            else:
                images, labels = self._read_from_host(index)
            yield self.augmentation(images, index, offsets, epoch), labels

    def _read_from_device(self, index: Tensor) -> tuple[Tensor, Tensor]:
        """Images (B, H, W, C) uint8 and labels (B,) at these places, of a split that the GPU holds."""
        places = index.to(self.device)
        return self._images[places], self._labels[places]

    def _read_from_host(self, index: Tensor) -> tuple[Tensor, Tensor]:
        """As `_read_from_device`, of a split in memory or in a mapped file."""
        places = index.numpy()
        images = torch.from_numpy(self.split.images[places])
        labels = torch.from_numpy(self.split.labels[places])
        images = images.to(self.device, non_blocking=True)
        labels = labels.to(self.device, non_blocking=True)
        return images, labels


def ahead(batches: Iterator[Batch], depth: int = 3) -> Iterator[Batch]:
    """Prepare up to `depth` batches in a thread while the caller computes; errors surface in the caller."""
    ready: queue.Queue[_Ready] = queue.Queue(depth)
    stop = threading.Event()

    def put(item: _Ready) -> None:
        # With a time limit: a caller that has left would never make room in the queue.
        while not stop.is_set():
            try:
                ready.put(item, timeout=0.1)
                return
            except queue.Full:
                continue

    def work() -> None:
        try:
            for batch in batches:
                put(batch)
                if stop.is_set():
                    return
            put(None)
        except BaseException as error:  # handed over to the caller, who raises it
            put(error)

    worker = threading.Thread(target=work, daemon=True)
    worker.start()
    try:
        while True:
            item = ready.get()
            if item is None:
                return
            if isinstance(item, BaseException):
                raise item
            yield item
    finally:
        # Also where the caller leaves in the middle of an epoch, or is interrupted.
        stop.set()
        worker.join()
        # What prepares them ends as well, and with it threads of its own.
        if isinstance(batches, Generator):
            batches.close()
