"""Where images come from: the digits of scikit-learn, and whatever Hugging Face `datasets` reads."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from rankfold.errors import InputError, MissingDependencyError, first_line
from rankfold.training.decoder import Decoder, resized
from rankfold.training.image_folder import decode_images, image_files
from rankfold.training.source import numbered
from rankfold.training.splits import DIGITS, SPLITS, TEST_SPLITS, Arrays, Decoded, Size, first_of

IMAGE_COLUMNS = ("img", "image")
LABEL_COLUMNS = ("label", "labels", "fine_label")
KINDS = ("parquet", "imagefolder")  # of folders that can be read in shards, as `datasets` calls them


def decode(source: str, size: Size | None) -> Decoded:
    """Decode all images of a source, resized to (H, W) where it is given.

    Raises:
        InputError: the source has no usable columns or splits, or holds a corrupt image.
        MissingDependencyError: the package that reads it is not installed.
    """
    if source == DIGITS:
        return _digits(size)
    unlabelled = image_files(source)
    if unlabelled is not None:
        return Decoded([], decode_images(source, unlabelled, size))
    return _read_datasets(source, size)


def _digits(size: Size | None) -> Decoded:
    """The 1,797 8x8 digits of scikit-learn, every fifth image of a class held out for testing."""
    from PIL import Image
    from sklearn.datasets import load_digits

    bunch = load_digits()
    images = np.rint(bunch.images * (255 / 16)).astype(np.uint8)  # (N, 8, 8), of levels 0 to 16
    if size is not None:
        pictures = [Image.fromarray(image) for image in images]
        images = np.stack([resized(picture, size) for picture in pictures])
    images = images[..., None]  # (N, H, W, 1)
    labels = bunch.target.astype(np.int64)
    held_out = np.zeros(len(labels), bool)
    for label in range(10):
        places = np.flatnonzero(labels == label)
        held_out[places[::5]] = True
    kept = ~held_out
    splits = {
        "train": (images[kept], labels[kept]),
        "test": (images[held_out], labels[held_out]),
    }
    return Decoded(list(numbered(10)), splits)


def _read_datasets(source: str, size: Size | None) -> Decoded:
    opened = _open(source)
    test = first_of(TEST_SPLITS, opened)
    if "train" not in opened or test is None:
        raise InputError(
            f"data {source} has the splits {sorted(opened)}; it needs `train` "
            f"and one of {', '.join(TEST_SPLITS)}"
        )
    features = opened["train"].features or {}  # None where the format does not say
    image, label = columns_of(source, features)
    splits = {}
    for name, theirs in zip(SPLITS, ("train", test), strict=True):
        decoder = Decoder(f"{source}, split {theirs}", image, label, size)
        splits[name] = decoder.decode(opened[theirs])
    classes = getattr(features[label], "names", None)
    if not classes:
        # Labels that are plain numbers: the training split shows how many there are.
        _, labels = splits["train"]
        classes = numbered(int(labels.max()) + 1)
    _check_splits(source, splits, len(classes))
    return Decoded(list(classes), splits)


def _open(source: str) -> Mapping[str, Any]:
    """The splits of a source by name, nothing of which is read yet."""
    datasets = _datasets()
    try:
        # Its own cache holds nothing but locks for data that is streamed; the user's home may be read-only.
        with _without_notices("huggingface_hub"), tempfile.TemporaryDirectory() as locks:
            return datasets.load_dataset(source, streaming=True, cache_dir=locks)
    except Exception as error:  # `datasets` raises a dozen unrelated types for an unreadable source
        raise _unreadable(source, error) from error


def _datasets() -> Any:
    try:
        import datasets
    except ImportError as error:
        raise MissingDependencyError(
            "reading this data needs the package `datasets`: pip install datasets"
        ) from error
    return datasets


def _unreadable(source: str, error: Exception) -> InputError:
    return InputError(
        f"data {source} cannot be read: {first_line(error)}; "
        "give a folder of Parquet shards or of images by class"
    )


@contextmanager
def _without_notices(name: str) -> Iterator[None]:
    """Keep a library's notices (missing dataset card, each of its retries) to itself; errors still arrive."""
    logger = logging.getLogger(name)
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)


def columns_of(source: str, features: Mapping[str, Any]) -> tuple[str, str]:
    """The columns of images and of labels.

    Raises:
        InputError: there are none.
    """
    image = first_of(IMAGE_COLUMNS, features)
    label = first_of(LABEL_COLUMNS, features)
    # What `datasets` finds where all images lie in folders of one name.
    if list(features) == [image] and Path(source).is_dir():
        raise InputError(
            f"data {source} has images of one class alone; give folders of two classes or more "
            "(train/cat/1.png, train/dog/2.png), or images without labels (1.png, 2.png)"
        )
    if image is None or label is None:
        raise InputError(
            f"data {source} has the columns {sorted(features)}; it needs an image column "
            f"({' or '.join(IMAGE_COLUMNS)}) and a label column ({', '.join(LABEL_COLUMNS)})"
        )
    return image, label


def local_files(source: str) -> tuple[str, dict[str, list[str]]]:
    """What a folder holds, `parquet` or `imagefolder`, and its files, split by split; nothing is read.

    Raises:
        InputError: it holds anything else.
        MissingDependencyError: the package that looks at it is not installed.
    """
    datasets = _datasets()
    try:
        with _without_notices("huggingface_hub"), tempfile.TemporaryDirectory() as locks:
            builder = datasets.load_dataset_builder(source, cache_dir=locks)
    except Exception as error:  # as for `_open`
        raise _unreadable(source, error) from error
    found = {str(split): list(map(str, names)) for split, names in (builder.config.data_files or {}).items()}
    kind = str(builder.name)
    tables = [name for names in found.values() for name in names if Path(name).stem == "metadata"]
    if kind not in KINDS or tables:
        what = "a table of labels (metadata)" if tables else f"{kind} files"
        raise InputError(
            f"data {source} holds {what}, which is decoded at once; give Parquet shards or images by class"
        )
    return kind, found


def _check_splits(source: str, splits: dict[str, Arrays], classes: int) -> None:
    first, _ = splits["train"]
    size = first.shape[1:]  # (H, W, C)
    for name, (images, labels) in splits.items():
        is_outside = (labels < 0) | (labels >= classes)
        outside = labels[is_outside]
        if len(outside):
            raise InputError(
                f"data {source}, split {name}: label {outside[0]} does not fit its {classes} classes"
            )
        if images.shape[1:] != size:
            raise InputError(
                f"data {source}: the splits differ in image size; pass image_size=(H, W) to resize them"
            )
