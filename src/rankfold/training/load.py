"""`load_data`: images to train on, decoded at once or while networks are trained."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

import numpy as np

from rankfold.errors import InputError
from rankfold.progress import Progress, Silent
from rankfold.training.cache import entry_of
from rankfold.training.data import check_source, load_images
from rankfold.training.image_folder import image_files
from rankfold.training.shards import Sharded, open_shards
from rankfold.training.source import TrainingData
from rankfold.training.splits import DIGITS, Size
from rankfold.training.streaming import StreamedImages
from rankfold.training.unlabelled import ArrayData, is_arrays


def load_data(
    source: str | Path,
    image_size: Size | None = None,
    cache: Path | None = None,
    *,
    stream: bool | None = None,
    digest: str | None = None,
    progress: Progress | None = None,
) -> TrainingData:
    """A data set to train on, decoded at once as by `load_images`, or while networks are trained.

    Args:
        source: see `load_images`, or a .npz or .npy file of a network's inputs without labels (see
            `unlabelled.ArrayData`); folders of Parquet shards, and of images by class, can be streamed.
        image_size: (H, W) to resize every image to.
        cache: folder of decoded images.
        stream: whether to decode while training; None: as `digest` says, and without one where nobody has
            decoded the data yet and the decoded images would be larger than a quarter of this machine's
            memory.
        digest: of the data that a run began with, which is to go on: the two ways have different ones.
        progress: hears where images are decoded while training although `stream` does not say so.

    Raises:
        InputError: see `load_images`; or `stream` asks for what cannot be streamed.
    """
    source = os.fspath(source)
    if is_arrays(source):
        return _arrays(source, image_size, stream)
    check_source(source, image_size)
    is_folder = source != DIGITS and Path(source).is_dir()
    if stream and not is_folder:
        raise InputError(f"data {source} is no folder, and is decoded at once; omit stream")
    if stream is False or not is_folder or image_files(source) is not None:
        return load_images(source, image_size, cache)
    if stream:
        return StreamedImages(source, open_shards(source, image_size))
    is_decoded = entry_of(source, image_size, cache).is_filled
    found = None
    if digest is not None or not is_decoded:
        found = _to_stream(source, image_size, digest)
    if found is None:
        return load_images(source, image_size, cache)
    sharded, why = found
    (progress or Silent()).note(f"data {source}: images are decoded while training, {why}")
    return StreamedImages(source, sharded)


def _arrays(source: str, image_size: Size | None, stream: bool | None) -> ArrayData:
    if image_size is not None:
        raise InputError(f"image_size is of images, and data {source} are arrays; omit it")
    if stream:
        raise InputError(f"data {source} are arrays, which are read at once; omit stream")
    return ArrayData(source)


def _to_stream(source: str, image_size: Size | None, digest: str | None) -> tuple[Sharded, str] | None:
    """The shards of a folder that is decoded while training, and why; None: it is not."""
    try:
        sharded = open_shards(source, image_size)
        if digest is not None:
            return (sharded, "as when the run began") if sharded.digest == digest else None
        size, most = _decoded_bytes(sharded), memory() // 4
    except InputError:
        # Other kinds of folders are decoded at once, which also says what is wrong with this one.
        return None
    if size <= most:
        return None
    return sharded, (
        f"as all of them would be {size / 1e9:.1f} GB, more than a quarter of the memory; their order is "
        "another than that of images decoded before"
    )


def _decoded_bytes(source: Sharded) -> int:
    """Bytes of all images of a source, decoded, by the size of the first."""
    first, _ = source.splits["train"].images_at(np.zeros(1, np.int64))
    return int(first.nbytes) * sum(map(len, source.splits.values()))


def memory() -> int:
    """Bytes of memory that this process may use: the machine's, or its container's where that is less."""
    total = 1 << 62
    with suppress(ValueError, OSError, AttributeError):
        total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    with suppress(ValueError, OSError):  # there is no such file, or it says `max`
        total = min(total, int(Path("/sys/fs/cgroup/memory.max").read_text()))
    return total
