"""`Shards`: a split of images that are read in pieces and decoded when they are needed."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from rankfold.errors import InputError, first_line
from rankfold.training.decoder import MOST_CLASSES, Decoder
from rankfold.training.source import numbered
from rankfold.training.sources import columns_of, local_files
from rankfold.training.splits import SPLITS, TEST_SPLITS, Size, first_of

SAMPLED_SHARDS = 64  # from which a sample is drawn, as each that is touched is read whole
# Bytes at the end of a file that tell it from others; Parquet keeps its table of contents there.
_FOOTER = 1 << 16


@dataclass(frozen=True, slots=True)
class Shard:
    """Images that are read at once.

    Attributes:
        file: that holds them.
        group: the row group of a Parquet file; None: the file is an image itself.
        rows: how many images.
        size: bytes to be read for them.
        label: of an image file.
    """

    file: str
    group: int | None
    rows: int
    size: int
    label: int = 0


Row = tuple[bytes, Any]  # an encoded image and its label, as they were read


@dataclass(frozen=True)
class Shards:
    """The images of a split, in the order of their shards.

    Attributes:
        shards: all of them.
        decoder: what makes arrays of their images.
        classes: how many classes there are.
    """

    shards: tuple[Shard, ...]
    decoder: Decoder
    classes: int

    def __len__(self) -> int:
        return int(self.first[-1])

    @cached_property
    def first(self) -> np.ndarray:
        """(shards + 1,) the place of the first image of each shard, and the number of images."""
        return np.concatenate([[0], np.cumsum([shard.rows for shard in self.shards])])

    def read(self, number: int) -> list[Row]:
        """The rows of a shard.

        Raises:
            InputError: they cannot be read.
        """
        shard = self.shards[number]
        try:
            if shard.group is None:
                return [(Path(shard.file).read_bytes(), shard.label)]
            return self._of_parquet(shard)
        except InputError:
            raise
        except (OSError, ValueError, KeyError) as error:  # of files, pages of Parquet, columns
            raise InputError(
                f"data {self.decoder.where}: {shard.file} cannot be read ({first_line(error)}); repair or "
                "replace the file"
            ) from error

    def _of_parquet(self, shard: Shard) -> list[Row]:
        import pyarrow.parquet as parquet

        decoder = self.decoder
        with parquet.ParquetFile(shard.file) as file:
            table = file.read_row_group(shard.group, columns=[decoder.image, decoder.label])
        pictures = table.column(decoder.image).to_pylist()
        labels = table.column(decoder.label).to_pylist()
        rows = []
        for picture, label in zip(pictures, labels, strict=True):
            content = picture.get("bytes") if isinstance(picture, dict) else None
            if picture is not None and content is None:
                raise InputError(
                    f"data {decoder.where}: {shard.file} names image files instead of holding them; give "
                    "shards with the images in them"
                )
            # An image that is missing is refused by its place, when it is decoded.
            rows.append((content or b"", label))
        return rows

    def decoded(self, row: Row, place: int) -> tuple[np.ndarray, int]:
        """The pixels (H, W, C) uint8 and the label of a row, which is at `place` in the split.

        Raises:
            InputError: the image is corrupt, or of another size than the first, or the label is no class.
        """
        content, label = row
        pixels = self.decoder.opened(content, place)
        own = self.decoder.checked_label(label, place)
        if not 0 <= own < self.classes:
            raise InputError(
                f"data {self.decoder.where}: image {place} has the label {own}, which does not fit its "
                f"{self.classes} classes"
            )
        return pixels, own

    def sample(self, count: int, seed: int) -> np.ndarray:
        """Places of `count` images (all, if there are fewer), from few shards, in the split's order.

        All shards are equally likely, and each gives about as many: to draw images from all of them would
        read the whole split.
        """
        draw = np.random.default_rng(seed)
        share = -(-count // SAMPLED_SHARDS)
        chosen: list[np.ndarray] = []
        left = min(count, len(self))
        for number in draw.permutation(len(self.shards)):
            rows = self.shards[number].rows
            taken = draw.permutation(rows)[: min(share, left)]
            chosen.append(self.first[number] + taken)
            left -= len(taken)
            if left == 0:
                return np.sort(np.concatenate(chosen))
        # There are too few shards to be choosy.
        return np.sort(draw.permutation(len(self))[:count])

    def images_at(self, places: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Images uint8 (n, H, W, C) and labels int64 (n,) at ascending places.

        Raises:
            InputError: one cannot be read or decoded.
        """
        images: list[np.ndarray] = []
        labels: list[int] = []
        numbers = np.searchsorted(self.first, places, side="right") - 1
        for number in np.unique(numbers):
            rows = self.read(number)
            for place in places[numbers == number]:
                pixels, label = self.decoded(rows[place - self.first[number]], int(place))
                if images:
                    self.decoder.check_alike(pixels, images[0], int(place))
                images.append(pixels)
                labels.append(label)
        return np.stack(images), np.asarray(labels, np.int64)


@dataclass(frozen=True)
class Sharded:
    """A source that is read in shards.

    Attributes:
        classes: class names, in label order.
        splits: the shards of `train` and of `test`.
        digest: tells the source from others: a hash of names, sizes and ends of its files.
    """

    classes: tuple[str, ...]
    splits: dict[str, Shards]
    digest: str


def open_shards(source: str, size: Size | None) -> Sharded:
    """The shards of a folder of Parquet files, or of images by class; nothing is decoded.

    Args:
        source: the folder.
        size: (H, W) that images are resized to; None: they are taken as they are.

    Raises:
        InputError: it is no such folder, or has no usable columns or splits.
    """
    kind, files = local_files(source)
    test = first_of(TEST_SPLITS, files)
    if "train" not in files or test is None:
        raise InputError(
            f"data {source} has the splits {sorted(files)}; it needs `train` and one of "
            f"{', '.join(TEST_SPLITS)}"
        )
    names = {"train": files["train"], "test": files[test]}
    if kind == "parquet":
        image, label, classes, shards = _in_parquet(source, names)
    else:
        image, label, classes, shards = _in_folders(names)
    splits = {}
    for split in SPLITS:
        decoder = Decoder(f"{source}, split {split}", image, label, size)
        splits[split] = Shards(shards[split], decoder, len(classes))
        if not shards[split]:
            raise InputError(f"data {source}, split {split} holds no images")
    every = [file for split in SPLITS for file in names[split]]
    return Sharded(classes, splits, _digest(source, every, kind == "parquet"))


Found = tuple[str, str, tuple[str, ...], dict[str, tuple[Shard, ...]]]


def _in_parquet(source: str, files: Mapping[str, Sequence[str]]) -> Found:
    """The columns, class names and shards of Parquet files: a shard for each row group."""
    import datasets
    import pyarrow.parquet as parquet

    shards: dict[str, tuple[Shard, ...]] = {}
    features = None
    for split, names in files.items():
        found = []
        for name in names:
            try:
                with parquet.ParquetFile(name) as file:
                    schema, content = file.schema_arrow, file.metadata
            except (OSError, ValueError) as error:
                raise InputError(
                    f"data {source}: {name} cannot be read ({first_line(error)}); repair or replace it"
                ) from error
            features = features or datasets.Features.from_arrow_schema(schema)
            for number in range(content.num_row_groups):
                group = content.row_group(number)
                if group.num_rows:
                    found.append(Shard(name, number, group.num_rows, group.total_byte_size))
        shards[split] = tuple(found)
    image, label = columns_of(source, features or {})
    classes = getattr((features or {})[label], "names", None)
    if not classes:
        # Labels that are plain numbers: the training split shows how many there are.
        highest = max(_highest(source, name, label) for name in files["train"])
        classes = numbered(highest + 1)
    return image, label, tuple(classes), shards


def _highest(source: str, name: str, label: str) -> int:
    """The highest of the labels in a Parquet file, which has to be a class.

    Raises:
        InputError: it cannot be, or labels are missing or no whole numbers.
    """
    import pyarrow
    import pyarrow.parquet as parquet

    try:
        labels = parquet.read_table(name, columns=[label]).column(label)
    except (OSError, ValueError, KeyError) as error:
        raise InputError(
            f"data {source}: {name} cannot be read ({first_line(error)}); repair or replace it"
        ) from error
    if not pyarrow.types.is_integer(labels.type) or labels.null_count:
        kind = f"labels of type {labels.type}"
        if labels.null_count:
            kind = f"{labels.null_count} rows without a label"
        raise InputError(f"data {source}: {name} has {kind}; labels must be whole numbers from 0")
    highest = int(labels.to_numpy().max(initial=0))
    if highest >= MOST_CLASSES:
        raise InputError(
            f"data {source}: {name} has the label {highest}; labels must be whole numbers from 0, below "
            f"{MOST_CLASSES:,}"
        )
    return highest


def _in_folders(files: Mapping[str, Sequence[str]]) -> Found:
    """The same of image files: a shard for each, its class the name of its folder."""
    classes = sorted({Path(name).parent.name for names in files.values() for name in names})
    number = {name: place for place, name in enumerate(classes)}
    shards: dict[str, tuple[Shard, ...]] = {}
    for split, names in files.items():
        found = []
        for name in names:
            label = number[Path(name).parent.name]
            found.append(Shard(name, None, 1, Path(name).stat().st_size, label))
        shards[split] = tuple(found)
    return "image", "label", tuple(classes), shards


def _digest(source: str, files: Sequence[str], with_ends: bool) -> str:
    """A hash of the files' names in the source, their sizes and, of large files, how they end."""
    content = hashlib.sha256(b"shards")
    root = Path(source).resolve()
    for name in files:
        path = Path(name)
        size = path.stat().st_size
        # By its own name: where a file is a link, what it leads to may lie outside the source.
        content.update(f"{os.path.relpath(path, root)} {size}\n".encode())
        if with_ends:
            with path.open("rb") as file:
                file.seek(max(0, size - _FOOTER))
                content.update(file.read())
    return content.hexdigest()
