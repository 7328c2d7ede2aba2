"""The cache of decoded images: one folder for each source and image size, which training maps into memory."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from rankfold.c_libraries import LIBRARIES
from rankfold.errors import InputError
from rankfold.files import cache_folder
from rankfold.training.sources import decode
from rankfold.training.splits import SPLITS, Arrays, Decoded, Size

KEY = re.compile(r"[0-9a-f]{20}")  # what an entry is called
STRAY = re.compile(rf"\.{KEY.pattern}\..+")  # and what it is called while it is filled
_VERSION = 1  # of the layout below; another one is another entry


@dataclass(frozen=True)
class Entry:
    """The decoded images of one source at one size: `train-images.npy` and its like, and `meta.json`.

    Attributes:
        folder: holds all of them, or is not there yet.
    """

    folder: Path

    @property
    def _meta(self) -> Path:
        return self.folder / "meta.json"

    @property
    def is_filled(self) -> bool:
        """Whether the images are there."""
        return self._meta.is_file()

    def meta(self) -> dict[str, Any]:
        """`classes`, `mean` and `std` by channel, `digest`, and the `source` they are of."""
        return json.loads(self._meta.read_text(encoding="utf-8"))

    def arrays(self, split: str) -> Arrays:
        """The images of a split, mapped from its file, and its labels."""
        images = np.load(_images_file(self.folder, split), mmap_mode="r")
        labels = np.load(_labels_file(self.folder, split))
        return images, labels

    def fill(self, source: str, image_size: Size | None) -> None:
        """Decode `source` into a folder beside the entry, which then takes its name.

        A process that is killed so leaves no entry that is half full.

        Raises:
            InputError: the source cannot be read, or the cache cannot be written.
        """
        parent = self.folder.parent
        try:
            parent.mkdir(parents=True, exist_ok=True)
            prefix = f".{self.folder.name}."
            working = Path(tempfile.mkdtemp(prefix=prefix, dir=parent))
        except OSError as error:
            raise InputError(
                f"cannot write the image cache {parent}: {error.strerror}; "
                "set RANKFOLD_CACHE to a writable folder"
            ) from error
        try:
            _write(decode(source, image_size), source, working)
            self._take(working)
        except OSError as error:
            raise InputError(
                f"cannot fill the image cache {parent}: {error.strerror or error}; "
                "free some space or set RANKFOLD_CACHE"
            ) from error
        finally:
            shutil.rmtree(working, ignore_errors=True)

    def _take(self, working: Path) -> None:
        try:
            working.rename(self.folder)
        except OSError:
            # Another process finished the same entry first; its content is the same.
            if not self.is_filled:
                raise


def entry_of(source: str, image_size: Size | None, cache: Path | None) -> Entry:
    """The entry of `source` at `image_size`, in the folder `cache` or the usual one.

    Raises:
        InputError: the source is an empty folder.
    """
    if cache is None:
        cache = cache_folder()
    # The size as well: each has its own decoded images.
    identity = json.dumps([_VERSION, *_identity(source), image_size])
    key = hashlib.sha256(identity.encode()).hexdigest()[:20]
    return Entry(cache / key)


@dataclass(frozen=True)
class Cached:
    """What is kept of one data set at one image size.

    Attributes:
        folder: of the files.
        source: the data set, as it was given.
        images: their number and size, such as `60,000 of 32x32`.
        size: bytes on the disk.
    """

    folder: Path
    source: str
    images: str
    size: int


def cached(cache: Path | None = None) -> tuple[Cached, ...]:
    """What the cache holds, the largest first; folders that are no entries of it are passed over."""
    found = []
    for entry in _entries(cache or cache_folder()):
        try:
            source = str(entry.meta()["source"])
            counts, sizes = [], set()
            for split in SPLITS:
                # Only the header is read: the images stay on the disk.
                images = np.load(_images_file(entry.folder, split), mmap_mode="r")
                counts.append(len(images))
                sizes.add("x".join(map(str, images.shape[1:3])))
            words = f"{sum(counts):,} of {' or '.join(sorted(sizes))}"
        except (OSError, ValueError, KeyError, TypeError):
            source, words = "damaged", "?"
        found.append(Cached(entry.folder, source, words, _bytes_in(entry.folder)))
    return tuple(sorted(found, key=lambda one: one.size, reverse=True))


def clear_cache(cache: Path | None = None) -> int:
    """Remove all decoded images, and what killed processes left of them; the bytes that are free now.

    Compiled kernels go, too, and nothing else. Processes that use any of it keep it until they end.

    Raises:
        InputError: an entry cannot be removed.
    """
    folder = cache or cache_folder()
    freed = 0
    strays = [Entry(path) for path in _folders(folder) if STRAY.fullmatch(path.name)]
    images = [entry.folder for entry in (*_entries(folder), *strays)]
    for path in (*images, *folder.glob(f"{LIBRARIES}*")):
        try:
            if path.is_dir():
                size = _bytes_in(path)
                shutil.rmtree(path)
            else:
                size = path.lstat().st_size
                path.unlink()
        except OSError as error:
            raise InputError(
                f"cannot clear {path}: {error.strerror}; remove it by hand, or set RANKFOLD_CACHE"
            ) from error
        freed += size
    return freed


def _entries(cache: Path) -> list[Entry]:
    """The entries of a cache, by what they are called and hold: the folder may have other things in it."""
    entries = [Entry(path) for path in _folders(cache) if KEY.fullmatch(path.name)]
    return [entry for entry in entries if entry.is_filled]


def _folders(cache: Path) -> list[Path]:
    if not cache.is_dir():
        return []
    return sorted(path for path in cache.iterdir() if path.is_dir() and not path.is_symlink())


def _bytes_in(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.iterdir() if path.is_file())


def _identity(source: str) -> list[Any]:
    """What tells one data set from another: its name; of a folder, every file's path, size and time."""
    folder = Path(source)
    if not folder.is_dir():
        return [source]
    files = []
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            files.append(path)
    if not files:
        raise InputError(f"data folder {source} is empty; expected Parquet shards or images by class")
    stats = []
    for path in files:
        status = path.stat()
        # Without the content, which may be gigabytes.
        inside = str(path.relative_to(folder))
        stats.append((inside, status.st_size, status.st_mtime_ns))
    return [str(folder.resolve()), stats]


def _images_file(folder: Path, split: str) -> Path:
    return folder / f"{split}-images.npy"


def _labels_file(folder: Path, split: str) -> Path:
    return folder / f"{split}-labels.npy"


def _write(decoded: Decoded, source: str, folder: Path) -> None:
    hasher = hashlib.sha256()
    for name in SPLITS:
        images, labels = decoded.splits[name]
        np.save(_images_file(folder, name), images)
        np.save(_labels_file(folder, name), labels)
        hasher.update(images.tobytes())
        hasher.update(labels.tobytes())
    images, _ = decoded.splits["train"]
    mean, std = moments(images)
    meta = {
        "source": source,
        "classes": decoded.classes,
        "mean": mean.tolist(),
        "std": std.tolist(),
        "digest": hasher.hexdigest(),
    }
    (folder / "meta.json").write_text(json.dumps(meta), encoding="utf-8")


def moments(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation (C,) of the pixels of images (N, H, W, C), scaled to [0, 1]."""
    # From histograms: exact, and no float copy of the whole data set.
    counts = []
    for channel in range(images.shape[-1]):
        pixels = images[..., channel].ravel()
        counts.append(np.bincount(pixels, minlength=256))
    pixels_a_channel = images.size // images.shape[-1]
    shares = np.stack(counts) / pixels_a_channel  # (C, 256)
    values = np.arange(256) / 255.0
    mean = shares @ values
    variance = shares @ values**2 - mean**2
    return mean, np.sqrt(np.maximum(variance, 1e-12))  # pixels that are all the same are divided by it too
