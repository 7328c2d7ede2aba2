"""What the scripts beside this one begin with: the shipped float ResNet-20, and images to measure it on."""

from __future__ import annotations

import argparse
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import nn

from rankfold import load_images, load_model, trace
from rankfold.models.load import apply_weights, read_weights
from rankfold.models.pretrained import shipped, shipped_baseline
from rankfold.training.data import ImageData, ImageSplit
from rankfold.workload import Network

# Classes and weights of each.
NETWORKS = {"resnet20": (10, "resnet20-cifar10-float"), "wrn16-4": (100, "wrn16-4-cifar100-float")}


@dataclass(frozen=True)
class Subject:
    """What is measured.

    Attributes:
        dense: the shipped network, in eval mode.
        network: its layers.
        data: CIFAR-10, with the test images that are looked at.
    """

    dense: nn.Module
    network: Network
    data: ImageData


def shipped_resnet20() -> nn.Module:
    """ResNet-20 for CIFAR-10 with the float weights of the package, in eval mode."""
    return shipped_network("resnet20")


def shipped_network(name: str) -> nn.Module:
    """One of `NETWORKS` with the float weights of the package, in eval mode."""
    classes, weights = NETWORKS[name]
    model = load_model(name, classes=classes)
    path = Path(shipped(weights).weights)
    apply_weights(model, read_weights(path), str(path))
    return model.eval()


def add_options(parser: argparse.ArgumentParser, *, threads: int = 1, test: int | None = 10_000) -> None:
    """Let a script take its data, threads, and how many test images are measured; `test` None: all."""
    parser.add_argument("--data", required=True, help="folder of CIFAR-10; of CIFAR-100 for WRN16-4")
    parser.add_argument("--threads", type=int, default=threads)
    if test is not None:
        parser.add_argument("--test", type=int, default=test, help="how many test images, the first ones")


def subject(options: argparse.Namespace) -> Subject:
    """What these options say is measured, with torch on their number of threads: ResNet-20, or another one
    where there is an option `network`.
    """
    torch.set_num_threads(options.threads)
    name = getattr(options, "network", "resnet20")
    data = load_images(options.data)
    if shipped_baseline(name, data.classes, data.input_size) is None:
        raise SystemExit(f"{options.data}: the shipped weights of {name} are for other data")
    if "test" in options:
        data = replace(data, test=first_images(data.test, options.test))
    dense = shipped_network(name)
    return Subject(dense, trace(dense, data.input_size, name), data)


def first_images(split: ImageSplit, count: int) -> ImageSplit:
    """The images that come first, with their labels."""
    return ImageSplit(split.images[:count], split.labels[:count])
