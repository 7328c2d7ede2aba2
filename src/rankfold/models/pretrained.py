"""Weights that travel with the package."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from rankfold import run_files
from rankfold.files import digest_of, package_data

# Dense float networks, which compression starts from: folders below `weights/` in the package.
BASELINES = ("resnet20-cifar10-float", "wrn16-4-cifar100-float")
SHIPPED = (*BASELINES, "resnet20-cifar10-4bit", "wrn16-4-cifar100-4bit")


@dataclass(frozen=True)
class Shipped:
    """Trained weights in the package.

    Their folder has `model.safetensors`, `plan.json`, `result.json` and a card.
    """

    name: str
    folder: Path

    @property
    def weights(self) -> Path:
        """The safetensors file."""
        return self.folder / run_files.WEIGHTS


def shipped(name: str) -> Shipped:
    """The shipped weights called `name`, one of `SHIPPED`."""
    return Shipped(name, package_data("rankfold.weights") / name)


def run_folder(name: str | Path) -> Path:
    """The folder of a run that a user names: that of shipped weights, or the path itself."""
    if str(name) in SHIPPED:
        return shipped(str(name)).folder
    return Path(name)


def shipped_baseline(
    model: str,
    classes: tuple[str, ...] | int,
    image: tuple[int, int, int],
) -> Shipped | None:
    """Shipped dense float weights of `model` for data with these classes, or so many where nobody names them,
    and (C, H, W); or None.
    """
    for baseline in map(shipped, BASELINES):
        record = json.loads((baseline.folder / run_files.RESULT).read_text())
        # The outputs are in the order of the data set's labels.
        names = tuple(record["data"]["classes"])
        own = len(names) if isinstance(classes, int) else names
        if (record["model"], own, tuple(record["input"])) == (model, classes, image):
            return baseline
    return None


def file_digest(path: Path) -> str:
    """A hash of the file's bytes."""
    return digest_of(path.read_bytes())
