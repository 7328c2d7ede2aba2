"""Samples of a split, and the batches made of it."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from rankfold.training.batches import Batches
from rankfold.training.data import ImageSplit

CPU = torch.device("cpu")


@given(count=st.integers(0, 30), seed=st.integers(0, 100))
@settings(max_examples=20, deadline=None)
def test_a_sample_is_drawn_without_replacement_in_order(count: int, seed: int) -> None:
    split = numbered(20)
    sample = split.sample(count, seed)
    assert len(sample) == min(count, 20)
    assert (np.diff(sample.labels) > 0).all()
    np.testing.assert_array_equal(sample.images, split.images[sample.labels])
    np.testing.assert_array_equal(sample.labels, split.sample(count, seed).labels)


def test_samples_of_two_seeds_differ() -> None:
    assert numbered(200).sample(20, 0).labels.tolist() != numbered(200).sample(20, 1).labels.tolist()


def numbered(count: int, height: int = 8, width: int = 8, channels: int = 3) -> ImageSplit:
    """Images of noise whose labels are their places."""
    pixels = np.random.default_rng(3).integers(0, 256, (count, height, width, channels), dtype=np.uint8)
    return ImageSplit(pixels, np.arange(count, dtype=np.int64))


def make(split: ImageSplit, batch_size: int, **options: Any) -> Batches:
    channels = split.images.shape[-1]
    return Batches(split, (0.0,) * channels, (1.0,) * channels, batch_size, CPU, **options)


def collect(batches: Batches, epoch: int = 0) -> tuple[Tensor, Tensor]:
    images, labels = zip(*batches.epoch(epoch), strict=True)
    return torch.cat(images), torch.cat(labels)


@given(count=st.integers(1, 40), batch_size=st.integers(1, 17))
@settings(max_examples=30, deadline=None)
def test_without_shuffling_every_image_comes_once_in_order(count: int, batch_size: int) -> None:
    batches = make(numbered(count), batch_size)
    sizes = [len(labels) for _, labels in batches.epoch()]
    images, labels = collect(batches)
    assert labels.tolist() == list(range(count))
    assert len(sizes) == len(batches) and all(size == batch_size for size in sizes[:-1])
    np.testing.assert_allclose(
        images.numpy(), numbered(count).images.transpose(0, 3, 1, 2) / 255, rtol=0, atol=1e-6
    )


def test_normalisation_is_exact() -> None:
    split = numbered(9)
    mean, std = (0.1, 0.5, 0.9), (0.2, 0.25, 1.5)
    images, _ = collect(Batches(split, mean, std, 4, CPU))
    expected = (split.images / 255 - np.array(mean)) / np.array(std)
    np.testing.assert_allclose(images.numpy(), expected.transpose(0, 3, 1, 2), rtol=0, atol=5e-6)
    assert images.dtype is torch.float32
    first, labels = next(iter(Batches(split, mean, std, 4, CPU).epoch()))
    assert first.is_contiguous(memory_format=torch.channels_last) and labels.dtype is torch.int64


@pytest.mark.parametrize("augment", ["none", "crop", "crop-flip"])
def test_same_seed_and_epoch_give_the_same_batches(augment: str) -> None:
    options = {"augment": augment, "shuffle": True}
    images, labels = collect(make(numbered(50), 8, seed=5, **options), 3)
    again, labels_again = collect(make(numbered(50), 8, seed=5, **options), 3)
    assert torch.equal(images, again) and torch.equal(labels, labels_again)
    # An epoch does not depend on those before it, and differs from them.
    batches = make(numbered(50), 8, seed=5, **options)
    assert not torch.equal(labels, collect(batches, 2)[1])
    assert torch.equal(collect(batches, 3)[0], images)
    assert not torch.equal(labels, collect(make(numbered(50), 8, seed=6, **options), 3)[1])


@given(count=st.integers(1, 40), batch_size=st.integers(2, 17), seed=st.integers(0, 2**31 - 1))
@settings(max_examples=30, deadline=None)
def test_shuffled_batches_are_full_and_without_repeats(count: int, batch_size: int, seed: int) -> None:
    batches = make(numbered(count), batch_size, shuffle=True, seed=seed)
    sizes = [len(labels) for _, labels in batches.epoch()]
    assert sizes == ([batch_size] * (count // batch_size) or [count])
    images, labels = collect(batches)
    assert len(set(labels.tolist())) == len(labels)
    # Labels stay with their images.
    expected = numbered(count).images[labels.numpy()].transpose(0, 3, 1, 2) / 255
    np.testing.assert_allclose(images.numpy(), expected, rtol=0, atol=1e-6)


def test_over_the_epochs_every_image_takes_part() -> None:
    batches = make(numbered(20), 8, shuffle=True)
    seen = {label for epoch in range(12) for label in collect(batches, epoch)[1].tolist()}
    assert seen == set(range(20))


@pytest.mark.parametrize("height, width", [(8, 8), (16, 24), (32, 32)])
def test_crops_are_windows_of_the_image_padded_by_reflection(height: int, width: int) -> None:
    split = numbered(12, height, width)
    images, labels = collect(make(split, 5, augment="crop"))
    assert images.shape == (12, 3, height, width)
    pad = height // 8
    offsets = set()
    for pixels, label in zip(images.numpy(), labels.tolist(), strict=True):
        padded = (
            np.pad(split.images[label], ((pad, pad), (pad, pad), (0, 0)), mode="reflect").transpose(2, 0, 1)
            / 255
        )
        windows = {
            (top, left): padded[:, top : top + height, left : left + width]
            for top in range(2 * pad + 1)
            for left in range(2 * pad + 1)
        }
        matching = [
            place for place, window in windows.items() if np.allclose(pixels, window, rtol=0, atol=1e-5)
        ]
        assert len(matching) == 1
        offsets.add(matching[0])
    assert len(offsets) > 2


def test_crop_flip_keeps_shapes_and_mirrors_every_image_every_second_epoch() -> None:
    split = numbered(40, 16, 12)
    # Every row of every image rises from left to right, so that the direction shows through any crop.
    split = ImageSplit(
        np.broadcast_to(np.arange(12, dtype=np.uint8)[:, None] * 20, split.images.shape).copy(), split.labels
    )
    batches = make(split, 8, augment="crop-flip", shuffle=True)
    falling: dict[int, list[bool]] = {label: [] for label in range(40)}
    for epoch in range(4):
        images, labels = collect(batches, epoch)
        assert images.shape == (40, 3, 16, 12)
        for pixels, label in zip(images, labels.tolist(), strict=True):
            falling[label].append(bool(pixels[0, 8, 3] > pixels[0, 8, 8]))
    assert all(seen[0] == seen[2] == (not seen[1]) == (not seen[3]) for seen in falling.values())
    assert 5 < sum(seen[0] for seen in falling.values()) < 35


def test_leaving_an_epoch_early_ends_its_thread() -> None:
    before = threading.active_count()
    epoch = make(numbered(64), 2).epoch()
    next(epoch)
    assert threading.active_count() == before + 1
    epoch.close()  # type: ignore[attr-defined]
    assert threading.active_count() == before


def test_an_error_while_preparing_reaches_the_caller() -> None:
    split = ImageSplit(numbered(10).images[:6], numbered(10).labels)
    batches = make(split, 4)
    with pytest.raises(IndexError):
        list(batches.epoch())


@pytest.mark.parametrize(("height", "width"), [(64, 8), (8, 64), (1, 1), (2, 1), (3, 40)])
def test_crops_of_any_shape_of_image(height: int, width: int) -> None:
    split = ImageSplit(np.zeros((4, height, width, 3), np.uint8), np.zeros(4, np.int64))
    batches = Batches(
        split, (0.0,) * 3, (1.0,) * 3, 2, torch.device("cpu"), augment="crop-flip", shuffle=True
    )
    assert [x.shape for x, _ in batches.epoch()] == [(2, 3, height, width)] * 2
