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
    model = load_model("resnet20", classes=10)
    weights = Path(shipped("resnet20-cifar10-float").weights)
    apply_weights(model, read_weights(weights), str(weights))
    return model.eval()


def add_options(parser: argparse.ArgumentParser, *, threads: int = 1, test: int | None = 10_000) -> None:
    """Let a script take its data, threads, and how many test images are measured; `test` None: all."""
    parser.add_argument("--data", required=True, help="folder of CIFAR-10")
    parser.add_argument("--threads", type=int, default=threads)
    if test is not None:
        parser.add_argument("--test", type=int, default=test, help="how many test images, the first ones")


def subject(options: argparse.Namespace) -> Subject:
    """What these options say is measured, with torch on their number of threads."""
    torch.set_num_threads(options.threads)
    data = load_images(options.data)
    if shipped_baseline("resnet20", data.classes, data.input_size) is None:
        raise SystemExit(f"{options.data}: the data must be CIFAR-10, which the shipped weights are for")
    if "test" in options:
        data = replace(data, test=first_images(data.test, options.test))
    dense = shipped_resnet20()
    return Subject(dense, trace(dense, data.input_size, "resnet20"), data)


def first_images(split: ImageSplit, count: int) -> ImageSplit:
    """The images that come first, with their labels."""
    return ImageSplit(split.images[:count], split.labels[:count])
