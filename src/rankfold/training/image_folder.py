"""Folders of images without classes: which files they hold, and those decoded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from rankfold.errors import InputError
from rankfold.files import read_bytes
from rankfold.training.decoder import Decoder
from rankfold.training.splits import DIGITS, HELD_OUT, TEST_SPLITS, Arrays, Size, first_of

IMAGE_SUFFIXES = frozenset(
    {".png", ".jpg", ".jpeg", ".bmp", ".webp", ".ppm", ".pgm", ".tif", ".tiff", ".gif"}
)


def image_files(source: str) -> dict[str, list[Path]] | None:
    """The image files of a folder that has no folders of classes, by split; None: it is none.

    Every fifth file, by name, is kept to measure on, unless the folder has `train` and one of `TEST_SPLITS`
    with images in each.

    Raises:
        InputError: some images lie in folders and some do not, or there is one image alone.
    """
    folder = Path(source)
    if source == DIGITS or not folder.is_dir():
        return None
    splits = {path.name: path for path in _folders_in(folder)}
    test = first_of(TEST_SPLITS, splits)
    own = _images_in(folder)
    if not own and test is not None and "train" in splits:
        found = {"train": _images_in(splits["train"]), "test": _images_in(splits[test])}
        # Those of classes have folders for them.
        if all(found.values()) and not any(_folders_in(splits[name]) for name in ("train", test)):
            return found
    if not own:
        return None
    if splits:
        raise InputError(
            f"data {source} has images beside the folder {min(splits)}; give images without labels alone, or "
            "images by split and class (train/cat/1.png)"
        )
    if len(own) == 1:
        raise InputError(f"data {source} has one image; give 2 or more, to look at and to measure on")
    held_out = own[HELD_OUT - 1 :: HELD_OUT] or own[-1:]
    held = set(held_out)
    return {"train": [path for path in own if path not in held], "test": held_out}


def _folders_in(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))


def _images_in(folder: Path) -> list[Path]:
    files = (path for path in folder.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES)
    return sorted(path for path in files if path.is_file() and not path.name.startswith("."))


def decode_images(source: str, files: Mapping[str, Sequence[Path]], size: Size | None) -> dict[str, Arrays]:
    """Images without classes; their labels are all 0 and mean nothing."""
    splits: dict[str, Arrays] = {}
    first: np.ndarray | None = None
    for split, paths in files.items():
        images = []
        for path in paths:
            decoder = Decoder(f"{source}, {path.name}", "", "", size)
            pixels = decoder.opened(read_bytes(path), 0)
            if first is None:
                first = pixels
            decoder.check_alike(pixels, first, 0)
            images.append(pixels)
        splits[split] = np.stack(images), np.zeros(len(images), np.int64)
    return splits
