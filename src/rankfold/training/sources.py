"""Where images come from: the digits of scikit-learn, and whatever Hugging Face `datasets` reads."""

from __future__ import annotations

import io
import logging
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from rankfold.errors import InputError, MissingDependencyError, first_line
from rankfold.training.source import numbered

DIGITS = "digits"
SPLITS = ("train", "test")
IMAGE_COLUMNS = ("img", "image")
LABEL_COLUMNS = ("label", "labels", "fine_label")
TEST_SPLITS = ("test", "validation", "val")
KINDS = ("parquet", "imagefolder")  # of folders that can be read in shards, as `datasets` calls them
IMAGE_SUFFIXES = frozenset(
    {".png", ".jpg", ".jpeg", ".bmp", ".webp", ".ppm", ".pgm", ".tif", ".tiff", ".gif"}
)
HELD_OUT = 5  # of images without labels every so many-th is measured on
MOST_CLASSES = 1_000_000  # above those of any data set; guards against labels that are no classes
_BICUBIC = 3  # as PIL numbers it

Arrays = tuple[np.ndarray, np.ndarray]  # images uint8 (N, H, W, C), labels int64 (N,)
Size = tuple[int, int]


@dataclass(frozen=True)
class Decoded:
    """All images of a source.

    Attributes:
        classes: class names, in label order; none of images without labels.
        splits: the images and labels of `train` and of `test`.
    """

    classes: list[str]
    splits: dict[str, Arrays]


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
        return _unlabelled(source, unlabelled, size)
    return _read_datasets(source, size)


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


def _unlabelled(source: str, files: Mapping[str, Sequence[Path]], size: Size | None) -> Decoded:
    """Images without classes; their labels are all 0 and mean nothing."""
    splits: dict[str, Arrays] = {}
    first: np.ndarray | None = None
    for split, paths in files.items():
        images = []
        for path in paths:
            decoder = Decoder(f"{source}, {path.name}", "", "", size)
            pixels = decoder.opened(_content(path), 0)
            if first is None:
                first = pixels
            decoder.check_alike(pixels, first, 0)
            images.append(pixels)
        splits[split] = np.stack(images), np.zeros(len(images), np.int64)
    return Decoded([], splits)


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from error


def _digits(size: Size | None) -> Decoded:
    """The 1,797 8x8 digits of scikit-learn, every fifth image of a class held out for testing."""
    from PIL import Image
    from sklearn.datasets import load_digits

    bunch = load_digits()
    images = np.rint(bunch.images * (255 / 16)).astype(np.uint8)  # (N, 8, 8), of levels 0 to 16
    if size is not None:
        pictures = [Image.fromarray(image) for image in images]
        images = np.stack([_resized(picture, size) for picture in pictures])
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


def first_of(names: Iterable[str], there: Mapping[str, Any]) -> str | None:
    """The first of some names that is there."""
    for name in names:
        if name in there:
            return name
    return None


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
            is_grey = picture.mode in ("1", "L")
            picture = picture.convert("L" if is_grey else "RGB")
            if self.size is None:
                pixels = np.asarray(picture)
            else:
                pixels = _resized(picture, self.size)
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


def _resized(picture: Any, size: Size) -> np.ndarray:
    """A PIL picture at (H, W), bicubic."""
    height, width = size
    resized = picture.resize((width, height), resample=_BICUBIC)
    return np.asarray(resized)
