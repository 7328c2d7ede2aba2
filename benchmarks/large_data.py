"""A data set too large to be decoded at once, trained on: memory and images/s, against decoded images.

    python benchmarks/large_data.py FOLDER [--images 131072] [--train 131072] [--decoded 4096] [--threads 2]

Makes, in the empty FOLDER, Parquet shards of JPEG images of 224x224 that would be 20 GB when decoded (under
2 GB on the disk: 64 pictures again and again), reads a whole epoch of them, and trains a tiny network on an
epoch or a part of it; then on `--decoded` images of the same kind, once decoded while training and once from
the cache. Each part is a process of its own, whose peak memory is told. FOLDER is removed at the end.
"""

from __future__ import annotations

import argparse
import io
import os
import resource
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path

SIZE, ROWS, SHARD, BATCH = 224, 128, 4096, 64
PICTURES = 64


def pictures() -> list[bytes]:
    """JPEG files of about 15 KB: smooth shapes under some noise."""
    import numpy as np
    from PIL import Image

    draw = np.random.default_rng(0)
    files = []
    for _ in range(PICTURES):
        coarse = draw.integers(0, 256, (8, 8, 3), dtype=np.uint8)
        smooth = Image.fromarray(coarse).resize((SIZE, SIZE), resample=Image.Resampling.BICUBIC)
        noisy = np.asarray(smooth) + draw.normal(0, 6, (SIZE, SIZE, 3))
        buffer = io.BytesIO()
        Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(buffer, "jpeg", quality=85)
        files.append(buffer.getvalue())
    return files


def make(folder: Path, images: int) -> int:
    """Write a training split and a small test split; bytes on the disk."""
    import datasets
    import pyarrow as arrow
    import pyarrow.parquet as parquet

    names = datasets.ClassLabel(names=[str(number) for number in range(10)])
    schema = datasets.Features({"image": datasets.Image(), "label": names}).arrow_schema
    known = pictures()
    folder.mkdir(parents=True)
    sizes = {"train": images, "test": 2 * ROWS}
    for split, count in sizes.items():
        for first in range(0, count, SHARD):
            rows = range(first, min(first + SHARD, count))
            content = {
                "image": [{"bytes": known[row % PICTURES], "path": None} for row in rows],
                "label": [row % PICTURES % 10 for row in rows],
            }
            table = arrow.Table.from_pydict(content, schema=schema)
            # Plain, as files of different images would be.
            file = folder / f"{split}-{first:07}.parquet"
            parquet.write_table(table, file, row_group_size=ROWS, use_dictionary=False, compression="none")
    return sum(path.stat().st_size for path in folder.iterdir())


def train(folder: Path, stream: bool, images: int) -> None:
    """Train on so many images of an epoch, and print how fast and in how much memory."""
    import torch
    from torch import nn
    from torch.nn import functional as F

    from rankfold.training.load import load_data
    from rankfold.training.recipe import Recipe

    start = time.perf_counter()
    data = load_data(folder, cache=folder.parent / "cache", stream=stream)
    opened = time.perf_counter() - start
    layers = [nn.Conv2d(3, 8, 7, stride=8), nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(1)]
    model = nn.Sequential(*layers, nn.Flatten(), nn.Linear(8, 10))
    sgd = torch.optim.SGD(model.parameters(), lr=0.05)
    epoch = data.training_batches(Recipe(batch_size=BATCH), torch.device("cpu")).epoch()
    seen = 0
    start, before = time.perf_counter(), time.process_time()
    for x, y in islice(epoch, images // BATCH):
        sgd.zero_grad()
        F.cross_entropy(model(x), y).backward()
        sgd.step()
        seen += len(y)
    seconds, busy = time.perf_counter() - start, time.process_time() - before
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    way = "decoded while training" if stream else "from the cache"
    print(
        f"{way}: {seen:,} of {data.train_images:,} images "
        f"({seen / data.train_images:.0%} of an epoch), {seen / seconds:.0f} images/s, "
        f"{1000 * busy / seen:.2f} ms of processor time an image, opened in {opened:.1f} s, peak memory "
        f"{peak / 1e9:.2f} GB",
        flush=True,
    )


def read(folder: Path) -> None:
    """Go through a whole epoch without decoding anything, and print how fast and in how much memory."""
    import numpy as np
    import torch

    from rankfold.training.load import load_data
    from rankfold.training.recipe import Recipe

    data = load_data(folder, stream=True)
    batches = data.training_batches(Recipe(batch_size=BATCH), torch.device("cpu"))
    pools = batches.pools(torch.Generator().manual_seed(0))
    start = time.perf_counter()
    with ThreadPoolExecutor(1) as thread:
        rows = batches.rows(pools, 0, thread)
        order = np.concatenate(pools)
        for first in range(0, len(order), BATCH):
            rows.take(order[first : first + BATCH])
    seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(
        f"read alone: {len(order):,} images in {len(pools)} pools, {len(order) / seconds:.0f} images/s, peak "
        f"memory {peak / 1e9:.2f} GB",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--images", type=int, default=131_072)
    parser.add_argument("--train", type=int, default=131_072)
    parser.add_argument("--decoded", type=int, default=4096)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--part", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.part:
        import torch

        torch.set_num_threads(options.threads)
        if options.part == "read":
            read(options.folder)
            return
        train(options.folder, options.part == "stream", options.train)
        return
    if options.folder.exists() and any(options.folder.iterdir()):
        parser.error(f"{options.folder} is not empty; name a new folder")
    try:
        parts = [("large", part, options.images, options.train) for part in ("read", "stream")]
        parts += [("small", part, options.decoded, options.decoded) for part in ("stream", "cache")]
        for name, part, images, trained in parts:
            folder = options.folder / name
            if not folder.exists():
                size = make(folder, images)
                decoded = images * SIZE * SIZE * 3
                print(
                    f"{images:,} images: {size / 1e9:.2f} GB of JPEG, {decoded / 1e9:.1f} GB decoded",
                    flush=True,
                )
            command = [sys.executable, __file__, str(folder), "--part", part, "--train", str(trained)]
            subprocess.run([*command, "--threads", str(options.threads)], check=True, env=os.environ)
    finally:
        shutil.rmtree(options.folder, ignore_errors=True)


if __name__ == "__main__":
    main()
