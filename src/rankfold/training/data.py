"""Image data: any source that Hugging Face `datasets` reads, decoded once into a memory-mapped uint8 cache."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from rankfold.errors import InputError, MissingDependencyError, first_line

IMAGE_COLUMNS = ("img", "image")
LABEL_COLUMNS = ("label", "labels", "fine_label")
TEST_SPLITS = ("test", "validation", "val")
_CACHE_VERSION = 1


@dataclass(frozen=True)
class ImageSplit:
    """Decoded images of one split: `images` uint8 (N, H, W, C), `labels` int64 (N,)."""

    images: np.ndarray
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.labels)

    def sample(self, count: int, seed: int, skip: int = 0) -> ImageSplit:
        """`count` images drawn without replacement (all, if there are fewer), in the split's order.

        With `skip`, they are others than the first `skip` that `seed` draws.
        """
        chosen = np.sort(np.random.default_rng(seed).permutation(len(self))[skip : skip + count])
        return ImageSplit(self.images[chosen], self.labels[chosen])


@dataclass(frozen=True)
class ImageData:
    """A data set ready for training.

    Attributes:
        name: what the user called it.
        classes: class names, in label order.
        train: training split.
        test: test split, used for evaluation only.
        mean: per-channel mean of the training pixels scaled to [0, 1].
        std: per-channel standard deviation of the same.
        mirror: whether a mirrored image still belongs to its class (false for digits).
        digest: hash of the decoded content, to recognise the same data again.
    """

    name: str
    classes: tuple[str, ...]
    train: ImageSplit
    test: ImageSplit
    mean: tuple[float, ...]
    std: tuple[float, ...]
    mirror: bool
    digest: str

    @property
    def input_size(self) -> tuple[int, int, int]:
        """(C, H, W) of every image."""
        height, width, channels = self.train.images.shape[1:]
        return channels, height, width


def load_images(source: str, image_size: tuple[int, int] | None = None, cache: Path | None = None) -> ImageData:
    """Load a data set, decoding it into the cache the first time.

    Args:
        source: `digits` (shipped with scikit-learn), a folder of Parquet shards in the Hugging Face layout, a folder of
            images by split and class (`train/cat/1.png`, `test/cat/2.png`), or a hub id where there is a network.
        image_size: (H, W) to resize every image to (bicubic); needed when the images differ in size.
        cache: folder of decoded images; default `$RANKFOLD_CACHE`, else `~/.cache/rankfold`.

    Raises:
        InputError: the folder is missing or empty, has no usable columns or splits, or holds a corrupt image.
    """
    folder = Path(source)
    if not source.strip():
        raise InputError("data (=) is empty; give a folder, `digits`, or a hub id such as owner/name")
    if image_size is not None and min(image_size) < 1:
        raise InputError(f"image size (={image_size[0]}x{image_size[1]}) must be at least 1x1")
    if source != "digits" and not folder.is_dir() and not _may_be_hub_id(source):
        raise InputError(
            f"data folder {source} does not exist; give a folder of Parquet shards or of images by class, `digits`, "
            "or a hub id such as owner/name"
        )
    key = hashlib.sha256(json.dumps([_CACHE_VERSION, *_identity(source), image_size]).encode()).hexdigest()[:20]
    entry = (cache or _default_cache()) / key
    if not (entry / "meta.json").is_file():
        _fill_cache(source, image_size, entry)
    meta = json.loads((entry / "meta.json").read_text(encoding="utf-8"))
    splits = {
        name: ImageSplit(np.load(entry / f"{name}-images.npy", mmap_mode="r"), np.load(entry / f"{name}-labels.npy"))
        for name in ("train", "test")
    }
    return ImageData(
        source, tuple(meta["classes"]), splits["train"], splits["test"],
        tuple(meta["mean"]), tuple(meta["std"]), source != "digits", meta["digest"],
    )  # fmt: skip


def _may_be_hub_id(source: str) -> bool:
    """Whether `source` looks like owner/name, and not like a path into a folder that is there."""
    owner, slash, name = source.partition("/")
    return bool(slash and owner and name) and "/" not in name and source[0] not in "./~" and not Path(owner).exists()


def _default_cache() -> Path:
    return Path(os.environ.get("RANKFOLD_CACHE") or Path.home() / ".cache" / "rankfold")


def _identity(source: str) -> list[Any]:
    """What tells one data set from another: the name, and for a folder every file's path, size and time of change."""
    folder = Path(source)
    if not folder.is_dir():
        return [source]
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    if not files:
        raise InputError(f"data folder {source} is empty; expected Parquet shards or images by class")
    stats = [(str(path.relative_to(folder)), path.stat().st_size, path.stat().st_mtime_ns) for path in files]
    return [str(folder.resolve()), stats]


def _fill_cache(source: str, image_size: tuple[int, int] | None, entry: Path) -> None:
    try:
        entry.parent.mkdir(parents=True, exist_ok=True)
        working = Path(tempfile.mkdtemp(prefix=f".{entry.name}.", dir=entry.parent))
    except OSError as error:
        raise InputError(
            f"cannot write the image cache {entry.parent}: {error.strerror}; set RANKFOLD_CACHE to a writable folder"
        ) from error
    try:
        classes, splits = _digits(image_size) if source == "digits" else _read_datasets(source, image_size)
        hasher = hashlib.sha256()
        for name, (images, labels) in splits.items():
            np.save(working / f"{name}-images.npy", images)
            np.save(working / f"{name}-labels.npy", labels)
            hasher.update(images.tobytes())
            hasher.update(labels.tobytes())
        pixels = splits["train"][0]
        # Histogram moments: exact, and no float copy of the whole data set.
        levels = np.arange(256) / 255.0
        counts = np.stack([np.bincount(pixels[..., c].ravel(), minlength=256) for c in range(pixels.shape[-1])])
        share = counts / counts.sum(axis=1, keepdims=True)
        mean = share @ levels
        std = np.sqrt(np.maximum(share @ levels**2 - mean**2, 1e-12))
        meta = {"source": source, "classes": classes, "mean": mean.tolist(), "std": std.tolist(), "digest": hasher.hexdigest()}
        (working / "meta.json").write_text(json.dumps(meta), encoding="utf-8")
        try:
            working.rename(entry)
        except OSError:
            # Another process finished the same entry first; its content is the same.
            if not (entry / "meta.json").is_file():
                raise
    except OSError as error:
        raise InputError(
            f"cannot fill the image cache {entry.parent}: {error.strerror or error}; free some space or set RANKFOLD_CACHE"
        ) from error
    finally:
        shutil.rmtree(working, ignore_errors=True)


Arrays = tuple[np.ndarray, np.ndarray]


def _digits(size: tuple[int, int] | None) -> tuple[list[str], dict[str, Arrays]]:
    """The 1,797 8x8 digits of scikit-learn, every fifth image of a class held out for testing."""
    from PIL import Image
    from sklearn.datasets import load_digits

    bunch = load_digits()
    images = np.rint(bunch.images * (255 / 16)).astype(np.uint8)
    if size is not None:
        images = np.stack([_resized(Image.fromarray(image), size) for image in images])
    images = images[..., None]
    labels = bunch.target.astype(np.int64)
    held_out = np.zeros(len(labels), bool)
    for label in range(10):
        held_out[np.flatnonzero(labels == label)[::5]] = True
    splits = {"train": (images[~held_out], labels[~held_out]), "test": (images[held_out], labels[held_out])}
    return [str(digit) for digit in range(10)], splits


def _read_datasets(source: str, image_size: tuple[int, int] | None) -> tuple[list[str], dict[str, Arrays]]:
    try:
        import datasets
    except ImportError as error:
        raise MissingDependencyError("reading this data needs the package `datasets`: pip install datasets") from error

    try:
        # Its own cache holds nothing but locks for data that is streamed; the user's home may be read-only.
        with _without_notices("huggingface_hub"), tempfile.TemporaryDirectory() as locks:
            found = datasets.load_dataset(source, streaming=True, cache_dir=locks)
    except Exception as error:  # `datasets` raises a dozen unrelated types for an unreadable source
        raise InputError(
            f"data {source} cannot be read: {first_line(error)}; give a folder of Parquet shards or of images by class"
        ) from error
    test = next((name for name in TEST_SPLITS if name in found), None)
    if "train" not in found or test is None:
        raise InputError(f"data {source} has the splits {sorted(found)}; it needs `train` and one of {', '.join(TEST_SPLITS)}")
    features = found["train"].features or {}
    image = next((name for name in IMAGE_COLUMNS if name in features), None)
    label = next((name for name in LABEL_COLUMNS if name in features), None)
    if image is None or label is None:
        raise InputError(
            f"data {source} has the columns {sorted(features)}; it needs an image column ({' or '.join(IMAGE_COLUMNS)}) "
            f"and a label column ({', '.join(LABEL_COLUMNS)})"
        )
    splits = {
        name: _decode(found[split], image, label, image_size, f"{source}, split {split}")
        for name, split in (("train", "train"), ("test", test))
    }
    names = getattr(features[label], "names", None)
    classes = list(names) if names else [str(i) for i in range(int(splits["train"][1].max()) + 1)]
    for name, (images, labels) in splits.items():
        outside = labels[(labels < 0) | (labels >= len(classes))]
        if len(outside):
            raise InputError(f"data {source}, split {name}: label {outside[0]} does not fit its {len(classes)} classes")
        if images.shape[1:] != splits["train"][0].shape[1:]:
            raise InputError(f"data {source}: the splits differ in image size; pass --image-size HxW to resize them")
    return classes, splits


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


def _decode(rows: Iterable[Any], image: str, label: str, size: tuple[int, int] | None, where: str) -> Arrays:
    images: list[np.ndarray] = []
    labels: list[int] = []
    for index, row in enumerate(_guarded(rows, where)):
        try:
            picture = row[image]
            if picture.mode.startswith(("I", "F")):
                raise InputError(f"data {where}: image {index} has more than 8 bits a channel; convert it to 8 bits")
            picture = picture.convert("L" if picture.mode in ("1", "L") else "RGB")
            pixels = np.asarray(picture) if size is None else _resized(picture, size)
        except (OSError, AttributeError) as error:
            raise InputError(f"data {where}: image {index} is corrupt ({error}); repair or remove it") from error
        pixels = pixels[..., None] if pixels.ndim == 2 else pixels
        if images and pixels.shape[2] != images[0].shape[2]:
            raise InputError(
                f"data {where}: image {index} has {pixels.shape[2]} channels, the first one {images[0].shape[2]}; "
                "make all of them grey or all of them colour"
            )
        if images and pixels.shape != images[0].shape:
            raise InputError(
                f"data {where}: image {index} is {pixels.shape}, the first one {images[0].shape} (H, W, C); "
                "pass --image-size HxW to resize them"
            )
        images.append(pixels)
        if isinstance(row[label], bool) or not isinstance(row[label], int):
            raise InputError(f"data {where}: image {index} has the label {row[label]!r}; labels must be whole numbers from 0")
        labels.append(row[label])
    if not images:
        raise InputError(f"data {where} holds no images")
    return np.stack(images), np.asarray(labels, np.int64)


def _resized(picture: Any, size: tuple[int, int]) -> np.ndarray:
    """A PIL picture at (H, W), bicubic."""
    return np.asarray(picture.resize((size[1], size[0]), resample=3))  # PIL: (width, height), 3 = bicubic


def _guarded(rows: Iterable[Any], where: str) -> Iterator[Any]:
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
            f"data {where}: image {count} cannot be read ({first_line(error)}); repair or replace the file"
        ) from error
