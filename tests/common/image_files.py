"""Images in files, as data sets have them."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import datasets
import numpy as np
from PIL import Image


def pictures(count: int, height: int = 6, width: int = 5, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, height, width, 3), dtype=np.uint8)


def png(pixels: np.ndarray) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


def class_folder(root: Path, splits: Sequence[str] = ("train", "test")) -> Path:
    """Images as `root/split/class/k.png`.

    Image k of class c in split s is `pictures(3, seed=10 * s + c)[k]`.
    """
    for s, split in enumerate(splits):
        for c, name in enumerate(("cat", "dog")):
            (root / split / name).mkdir(parents=True)
            for k, pixels in enumerate(pictures(3, seed=10 * s + c)):
                (root / split / name / f"{k}.png").write_bytes(png(pixels))
    return root


def shards(
    root: Path,
    images: dict[str, Sequence[bytes]],
    labels: Sequence[int],
    columns: tuple[str, str] = ("img", "label"),
    names: Sequence[str] | None = ("cat", "dog"),
    parts: int = 2,
) -> Path:
    """Parquet shards in the Hugging Face layout: `root/data/train-00000-of-00002.parquet` and so on."""
    (root / "data").mkdir(parents=True)
    kind = datasets.Value("int64") if names is None else datasets.ClassLabel(names=list(names))
    features = datasets.Features({columns[0]: datasets.Image(), columns[1]: kind})
    for split, files in images.items():
        content = {columns[0]: [{"bytes": file, "path": None} for file in files], columns[1]: list(labels)}
        table = datasets.Dataset.from_dict(content, features=features)
        for part in range(parts):
            target = root / "data" / f"{split}-{part:05d}-of-{parts:05d}.parquet"
            table.shard(parts, part, contiguous=True).to_parquet(str(target))
    return root


def both(files: Sequence[bytes]) -> dict[str, Sequence[bytes]]:
    return {"train": files, "test": files}
