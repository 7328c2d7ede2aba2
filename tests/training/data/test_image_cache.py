"""The cache of decoded images: it is used again, and never for other images."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from common.image_files import class_folder, pictures, png
from rankfold.errors import InputError
from rankfold.training import cache as training_cache
from rankfold.training.data import ImageData, load_images


def test_the_cache_is_used_again(tmp_path: Path, cache: Path) -> None:
    root = class_folder(tmp_path / "pets")
    first = load_images(str(root))
    (entry,) = cache.iterdir()
    assert sorted(path.name for path in entry.iterdir()) == [
        "meta.json",
        "test-images.npy",
        "test-labels.npy",
        "train-images.npy",
        "train-labels.npy",
    ]
    # An image broken so that neither its size nor its time tells: only a second decoding would notice.
    victim = root / "train" / "cat" / "0.png"
    before = victim.stat()
    victim.write_bytes(b"x" * before.st_size)
    os.utime(victim, ns=(before.st_atime_ns, before.st_mtime_ns))
    second = load_images(str(root))
    assert [path.name for path in cache.iterdir()] == [entry.name]
    assert isinstance(second.train.images, np.memmap)
    assert same(first, second)
    # A new time of change means another look, which finds the damage and keeps the good entry.
    os.utime(victim)
    with pytest.raises(InputError, match="image 0 cannot be read"):
        load_images(str(root))
    assert [path.name for path in cache.iterdir()] == [entry.name]


def same(a: ImageData, b: ImageData) -> bool:
    splits = ((a.train, b.train), (a.test, b.test))
    equal = all(np.array_equal(x.images, y.images) and np.array_equal(x.labels, y.labels) for x, y in splits)
    return equal and (a.classes, a.mean, a.std, a.digest) == (b.classes, b.mean, b.std, b.digest)


def test_changed_data_is_decoded_again_and_has_another_digest(tmp_path: Path, cache: Path) -> None:
    root = class_folder(tmp_path / "pets")
    first = load_images(str(root))
    (root / "train" / "dog" / "9.png").write_bytes(png(pictures(1, seed=77)[0]))
    second = load_images(str(root))
    assert (len(first.train), len(second.train)) == (6, 7)
    assert first.digest != second.digest
    assert load_images(str(root), (6, 5)).digest == second.digest
    assert len(list(cache.iterdir())) == 3


def test_an_entry_that_another_process_fills_first_is_taken(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = load_images("digits")
    (entry,) = cache.iterdir()
    kept = entry.rename(cache / "kept")
    decode = training_cache.decode

    def decode_late(*arguments: Any) -> Any:
        decoded = decode(*arguments)
        shutil.copytree(kept, entry)
        return decoded

    monkeypatch.setattr(training_cache, "decode", decode_late)
    assert same(load_images("digits"), before)


def test_an_explicit_cache_folder_wins(tmp_path: Path, cache: Path) -> None:
    assert same(load_images("digits", cache=tmp_path / "mine"), load_images("digits"))
    assert len(list((tmp_path / "mine").iterdir())) == len(list(cache.iterdir())) == 1


def test_a_cache_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "blocker").write_text("a file")
    monkeypatch.setenv("RANKFOLD_CACHE", str(tmp_path / "blocker" / "cache"))
    with pytest.raises(
        InputError, match=r"cannot write the image cache .*; set RANKFOLD_CACHE to a writable folder"
    ):
        load_images("digits")
