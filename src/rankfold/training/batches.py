"""Batches for training and evaluation: whole-batch augmentation in torch, prepared ahead in a thread."""

from __future__ import annotations

import math
import queue
import threading
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from rankfold.training.data import ImageSplit
from rankfold.training.share import ALL, Share

# Decoded data up to this size is kept on the GPU, where augmentation then costs nothing on the host.
RESIDENT_BYTES = 4 << 30
EVALUATION_BATCH = 500
AUGMENTATIONS = ("crop-flip", "crop", "none")

Batch = tuple[Tensor, Tensor]  # images (B, C, H, W) float32, labels (B,) int64
_Ready = Batch | BaseException | None  # of the thread that prepares them; None: that was all


class Batches:
    """Iterates over (images float32 (B, C, H, W) normalised, channels last; labels int64 (B,)).

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
        self.split = split
        self.batch_size = batch_size
        self.device = device
        self.augment = augment
        self.seed = seed
        self.shuffle = shuffle
        self.share = share
        # Pixels are 0 to 255: the moments are scaled to them once, rather than every image to [0, 1].
        self._mean = _by_channel(mean, device)
        self._scale = 1 / _by_channel(std, device)
        self._resident = device.type == "cuda" and split.images.nbytes <= RESIDENT_BYTES
        if self._resident:
            # A copy: torch warns of memory that cannot be written to, as that of a mapped file.
            images = np.array(split.images)
            self._images = torch.from_numpy(images).to(device)
            self._labels = torch.from_numpy(split.labels).to(device)
        # (N,) which images show their mirror image in the even epochs.
        base = torch.Generator().manual_seed(seed)
        self._mirrored = torch.rand(len(split), generator=base) < 0.5

    def __len__(self) -> int:
        count = len(self.split)
        if self.shuffle and count >= self.batch_size:  # a lone incomplete batch is better than none
            return count // self.batch_size
        return math.ceil(count / self.batch_size)

    @property
    def images(self) -> int:
        """Images in an epoch."""
        return min(len(self) * self.batch_size, len(self.split))

    def epoch(self, epoch: int = 0) -> Iterator[Batch]:
        """The batches of one epoch; the same `seed` and `epoch` give the same batches."""
        batches = self._prepare(epoch)
        if self._resident:
            return batches
        return _ahead(batches)

    def _prepare(self, epoch: int) -> Iterator[Batch]:
        # The factor is larger than any number of epochs: no two seeds share an order.
        seed = self.seed * 1_000_003 + epoch + 1
        draw = torch.Generator().manual_seed(seed)
        count = len(self.split)
        choices = 2 * self._padding + 1
        if self.shuffle:
            order = torch.randperm(count, generator=draw)
        else:
            order = torch.arange(count)
        for number in range(len(self)):
            start = number * self.batch_size
            index = order[start : start + self.batch_size]
            # Drawn whether or not they are used: the augmentation then changes nothing else.
            offsets = torch.randint(0, choices, (2, len(index)), generator=draw)  # (2, B)
            if self.shuffle:
                if not self._resident:
                    # Sorted reads keep a memory-mapped file sequential; SGD does not mind the order inside.
                    index = index.sort().values
                own = self.share.places(len(index))
                index, offsets = index[own], offsets[:, own]
            elif number % self.share.of != self.share.number:
                continue
            if self._resident:
                images, labels = self._read_from_device(index)
            else:
                images, labels = self._read_from_host(index)
            offsets = offsets.to(self.device)
            yield self._transform(images, index, offsets, epoch), labels

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

    @property
    def _padding(self) -> int:
        _, height, width, _ = self.split.images.shape
        shorter = min(height, width)
        return min(max(1, shorter // 8), shorter - 1)  # a reflection is at most one pixel short of the image

    def _transform(self, images: Tensor, index: Tensor, offsets: Tensor, epoch: int) -> Tensor:
        """Batches as a network takes them: cropped, mirrored and normalised.

        Args:
            images: (B, H, W, C) uint8.
            index: (B,) their places in the split.
            offsets: (2, B) first row and column of each crop in its padded image.
            epoch: tells which of its two mirror images each one shows.
        """
        x = images.permute(0, 3, 1, 2)  # (B, C, H, W), still channels last in memory
        if self.augment != "none":
            x = self._cropped(x, offsets)
        if self.augment == "crop-flip":
            # Each image alternates between its two mirror images from epoch to epoch, so that neither is
            # seen twice in a row (Jordan 2024, "94% on CIFAR-10 in 3.29 seconds").
            flip = self._mirrored[index] ^ bool(epoch % 2)
            flip = flip.to(x.device).view(-1, 1, 1, 1)  # (B, 1, 1, 1)
            x = torch.where(flip, x.flip(3), x)
        normalised = (x.float() - self._mean) * self._scale
        return normalised.contiguous(memory_format=torch.channels_last)

    def _cropped(self, x: Tensor, offsets: Tensor) -> Tensor:
        """(B, C, H, W) crops of images of that size with a reflected border."""
        batch, _, height, width = x.shape
        border = self._padding
        padded = F.pad(x.float(), (border, border, border, border), mode="reflect")
        # One view holds every window, (B, C, 2p+1, 2p+1, H, W): to index it copies the chosen ones alone.
        bands = padded.unfold(2, height, 1)
        windows = bands.unfold(3, width, 1)
        every = torch.arange(batch, device=x.device)
        return windows[every, :, offsets[0], offsets[1]]


def _by_channel(values: tuple[float, ...], device: torch.device) -> Tensor:
    """(1, C, 1, 1) of values for pixels in [0, 1], scaled to pixels of 0 to 255."""
    scaled = 255 * torch.tensor(values, device=device)
    return scaled.view(1, -1, 1, 1)


def _ahead(batches: Iterator[Batch], depth: int = 3) -> Iterator[Batch]:
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
