"""Targets beside images: `cat.json` or `cat.npy` holds what a metric is given of `cat.png`."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from rankfold.errors import InputError, first_line
from rankfold.files import read_bytes

SUFFIXES = (".json", ".npy")


@dataclass(frozen=True)
class ImageTargets:
    """The targets of some images, which are read when they are asked for.

    Attributes:
        images: the files of the images.
    """

    images: tuple[Path, ...]

    @classmethod
    def beside(cls, images: Sequence[Path]) -> ImageTargets | None:
        """Those of images; None: not one has any."""
        if not any(_files_of(image) for image in images):
            return None
        return cls(tuple(images))

    def of(self, places: Iterable[int]) -> ImageTargets:
        """Those of the images at these places."""
        return ImageTargets(tuple(self.images[place] for place in places))

    @cached_property
    def values(self) -> list[Any]:
        """What the files hold, one entry an image: numbers of .npy as tensors, all else as JSON has it.

        Raises:
            InputError: an image has none or two, or a file cannot be read.
        """
        return [_target_of(image) for image in self.images]

    @property
    def digest(self) -> str:
        """A hash of the files' names and contents."""
        content = hashlib.sha256()
        for image in self.images:
            for path in _files_of(image):
                content.update(path.name.encode() + read_bytes(path))
        return content.hexdigest()


def _files_of(image: Path) -> list[Path]:
    return [path for suffix in SUFFIXES if (path := image.with_suffix(suffix)).is_file()]


def _target_of(image: Path) -> Any:
    found = _files_of(image)
    if len(found) != 1:
        wrong = "has no targets beside it, as others have" if not found else "has targets in two files"
        raise InputError(f"{image} {wrong}; give one of {image.stem}.json and {image.stem}.npy")
    (path,) = found
    if path.suffix == ".json":
        return _json_of(path)
    return _array_of(path)


def _json_of(path: Path) -> Any:
    try:
        return json.loads(read_bytes(path))
    except ValueError as error:  # of its encoding, too
        raise InputError(f"targets {path} cannot be read: {first_line(error)}; give valid JSON") from error


def _array_of(path: Path) -> torch.Tensor:
    try:
        values = np.load(path, allow_pickle=False)
        return torch.from_numpy(np.ascontiguousarray(values))
    except (OSError, ValueError, EOFError, TypeError) as error:
        raise InputError(
            f"targets {path} cannot be read: {first_line(error)}; give numbers, as np.save writes them"
        ) from error
