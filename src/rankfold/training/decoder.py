"""`Decoder`: images of one split, opened, resized and held against the first of them."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from rankfold.errors import InputError, first_line
from rankfold.training.splits import Arrays, Size

MOST_CLASSES = 1_000_000  # above those of any data set; guards against labels that are no classes
_BICUBIC = 3  # as PIL numbers it


@dataclass(frozen=True)
class Decoder:
    """Decodes the rows of one split.

    Attributes:
        where: the split, for errors.
        image: column of the images.
        label: column of the labels.
        size: (H, W) to resize to; None: as they are.
    """

    where: str
    image: str
    label: str
    size: Size | None

    def decode(self, rows: Iterable[Any]) -> Arrays:
        """All images and labels of some rows, their images opened.

        Raises:
            InputError: an image is corrupt or of another size than the first, or a label is no number.
        """
        images: list[np.ndarray] = []
        labels: list[int] = []
        # One by one: of a stream, nobody knows how many there are.
        for index, row in enumerate(self._guarded(rows)):
            pixels = self._pixels(row[self.image], index)
            if images:
                self.check_alike(pixels, images[0], index)
            images.append(pixels)
            label = self.checked_label(row[self.label], index)
            labels.append(label)
        if not images:
            raise InputError(f"data {self.where} holds no images")
        return np.stack(images), np.asarray(labels, np.int64)

    def _guarded(self, rows: Iterable[Any]) -> Iterator[Any]:
        """Pass rows on; an error while reading row k becomes one sentence that names k."""
        count = 0
        try:
            for row in rows:
                yield row
                count += 1
        except InputError:
            raise
        except Exception as error:  # decoders raise OSError, SyntaxError, ValueError, ArrowInvalid, ...
            raise InputError(
                f"data {self.where}: image {count} cannot be read ({first_line(error)}); "
                "repair or replace the file"
            ) from error

    def _pixels(self, picture: Any, index: int) -> np.ndarray:
        """(H, W, C) of a PIL picture, C being 1 or 3."""
        try:
            # PIL would clip these to 8 bits without a word.
            if picture.mode.startswith(("I", "F")):
                raise InputError(
                    f"data {self.where}: image {index} has more than 8 bits a channel; convert it to 8 bits"
                )
            mode = "L" if picture.mode in ("1", "L") else "RGB"
            picture = picture.convert(mode)
            if self.size is None:
                pixels = np.asarray(picture)
            else:
                pixels = resized(picture, self.size)
        except (OSError, AttributeError) as error:
            raise InputError(
                f"data {self.where}: image {index} is corrupt ({error}); repair or remove it"
            ) from error
        if pixels.ndim == 2:
            return pixels[..., None]
        return pixels

    def opened(self, content: bytes, index: int) -> np.ndarray:
        """(H, W, C) of an encoded image, C being 1 or 3.

        Raises:
            InputError: it is corrupt.
        """
        from PIL import Image

        try:
            with Image.open(io.BytesIO(content)) as picture:
                return self._pixels(picture, index)
        except InputError:
            raise
        except Exception as error:  # as above
            raise InputError(
                f"data {self.where}: image {index} cannot be read ({first_line(error)}); "
                "repair or replace the file"
            ) from error

    def check_alike(self, pixels: np.ndarray, first: np.ndarray, index: int) -> None:
        """Refuse an image of another size than the first.

        Raises:
            InputError: it is.
        """
        self.check_shape(pixels, first.shape, index)

    def check_shape(self, pixels: np.ndarray, first: tuple[int, ...], index: int) -> None:
        """The same by the shape (H, W, C) of the first.

        Raises:
            InputError: it is of another.
        """
        if pixels.shape[2] != first[2]:
            raise InputError(
                f"data {self.where}: image {index} has {pixels.shape[2]} channels, the first one "
                f"{first[2]}; make all of them grey or all of them colour"
            )
        if pixels.shape != first:
            raise InputError(
                f"data {self.where}: image {index} is {pixels.shape}, the first one {first} (H, W, C); "
                "pass image_size=(H, W) to resize them"
            )

    def checked_label(self, label: Any, index: int) -> int:
        """The label as a whole number.

        Raises:
            InputError: it is none.
        """
        # Python counts True among the numbers; as a class it is a mistake.
        if isinstance(label, bool) or not isinstance(label, int):
            raise InputError(
                f"data {self.where}: image {index} has the label {label!r}; "
                "labels must be whole numbers from 0"
            )
        # One output of the network for each number up to the largest label.
        if abs(label) >= MOST_CLASSES:
            raise InputError(
                f"data {self.where}: image {index} has the label {label}; labels must be whole numbers from "
                f"0, below {MOST_CLASSES:,}"
            )
        return label


def resized(picture: Any, size: Size) -> np.ndarray:
    """A PIL picture at (H, W), bicubic."""
    height, width = size
    resized = picture.resize((width, height), resample=_BICUBIC)
    return np.asarray(resized)
