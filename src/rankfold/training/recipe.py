"""How a network is trained: every number that the result depends on, in one frozen record."""

from __future__ import annotations

import math
from dataclasses import dataclass

from rankfold.errors import InputError
from rankfold.training.batches import AUGMENTATIONS

PRECISIONS = ("auto", "float32", "bfloat16")


@dataclass(frozen=True)
class Recipe:
    """One-cycle SGD (Smith & Topin 2018) with linear ramps, Nesterov momentum and label smoothing.

    Attributes:
        epochs: passes over the training split; 0 leaves the network as it is.
        batch_size: images per step.
        peak_rate: learning rate at the top of the cycle.
        warmup: share of the steps in which the rate rises; then it falls linearly to nearly zero.
        momentum: Nesterov momentum.
        weight_decay: applied to weights of two or more dimensions only (not to batch norm, biases, step sizes).
        label_smoothing: share of the target spread over all classes.
        augment: `crop-flip`, `crop` or `none`.
        precision: `float32`, `bfloat16` (autocast), or `auto`: bfloat16 where the processor computes it natively.
        compiled: run the training steps through `torch.compile` (needs a C++ compiler on a CPU; the first epoch waits for it).
        seed: fixes the order of images, augmentation and freshly drawn weights.
    """

    epochs: int = 10
    batch_size: int = 128
    peak_rate: float = 0.1
    warmup: float = 0.15
    momentum: float = 0.9
    weight_decay: float = 5e-4
    label_smoothing: float = 0.05
    augment: str = "crop-flip"
    precision: str = "auto"
    compiled: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size", "seed"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int):
                raise InputError(f"{name} (={value}) must be a whole number")
        for name, value, good, rule in (
            ("epochs", self.epochs, self.epochs >= 0, "0 or more"),
            ("batch_size", self.batch_size, self.batch_size >= 2, "at least 2, as batch norm needs"),
            ("peak_rate", self.peak_rate, 0 < self.peak_rate < math.inf, "a positive number"),
            ("warmup", self.warmup, 0 < self.warmup < 1, "a share between 0 and 1"),
            ("momentum", self.momentum, 0 < self.momentum < 1, "between 0 and 1"),
            ("weight_decay", self.weight_decay, 0 <= self.weight_decay < math.inf, "0 or more"),
            ("label_smoothing", self.label_smoothing, 0 <= self.label_smoothing < 1, "at least 0 and below 1"),
            ("augment", self.augment, self.augment in AUGMENTATIONS, f"one of {', '.join(AUGMENTATIONS)}"),
            ("precision", self.precision, self.precision in PRECISIONS, f"one of {', '.join(PRECISIONS)}"),
            ("seed", self.seed, 0 <= self.seed < 2**31, "between 0 and 2147483647"),
        ):
            if not good:
                raise InputError(f"{name} (={value}) must be {rule}")
