"""How a network is trained: every number that the result depends on, in one frozen record."""

from __future__ import annotations

import math
from dataclasses import KW_ONLY, dataclass

from rankfold.arguments import NUMBER, SWITCH, TEXT, WHOLE, check_fields
from rankfold.errors import InputError
from rankfold.training.batches import AUGMENTATIONS

PRECISIONS = ("auto", "float32", "bfloat16")
_HIGHEST_SEED = 2**31 - 1


@dataclass(frozen=True)
class Recipe:
    """One-cycle SGD (Smith & Topin 2018) with linear ramps, Nesterov momentum and label smoothing.

    Attributes:
        epochs: passes over the training split; 0 leaves the network as it is.
        batch_size: images per step.
        peak_rate: learning rate at the top of the cycle.
        warmup: share of the steps in which the rate rises; then it falls linearly to nearly zero.
        momentum: Nesterov momentum.
        weight_decay: applied to weights of two or more dimensions only (not to batch norm, biases, steps).
        label_smoothing: share of the target spread over all classes.
        augment: `crop-flip`, `crop` or `none`.
        precision: `float32`, `bfloat16` (autocast), or `auto`: bfloat16 where the processor computes it
            natively.
        compiled: run the training steps through `torch.compile` (needs a C++ compiler on a CPU; the first
            epoch waits for it).
        seed: fixes the order of images, augmentation and freshly drawn weights.
    """

    epochs: int = 10
    batch_size: int = 128
    peak_rate: float = 0.1
    warmup: float = 0.15
    momentum: float = 0.9
    _: KW_ONLY
    weight_decay: float = 5e-4
    label_smoothing: float = 0.05
    augment: str = "crop-flip"
    precision: str = "auto"
    compiled: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        # Before any comparison, which a text would not stand.
        for name in ("epochs", "batch_size", "seed"):
            value = getattr(self, name)
            if not WHOLE.fits(value):
                raise InputError(f"{name} (={value}) must be a whole number")
        reals = ("peak_rate", "warmup", "momentum", "weight_decay", "label_smoothing")
        check_fields(self, **dict.fromkeys(reals, NUMBER))
        check_fields(self, augment=TEXT, precision=TEXT, compiled=SWITCH)
        self._require(self.epochs >= 0, "epochs", "0 or more")
        self._require(self.batch_size >= 2, "batch_size", "at least 2, as batch norm needs")
        self._require(0 < self.peak_rate < math.inf, "peak_rate", "a positive number")
        self._require(0 < self.warmup < 1, "warmup", "a share between 0 and 1")
        self._require(0 < self.momentum < 1, "momentum", "between 0 and 1")
        self._require(0 <= self.weight_decay < math.inf, "weight_decay", "0 or more")
        self._require(0 <= self.label_smoothing < 1, "label_smoothing", "at least 0 and below 1")
        self._require(self.augment in AUGMENTATIONS, "augment", _one_of(AUGMENTATIONS))
        self._require(self.precision in PRECISIONS, "precision", _one_of(PRECISIONS))
        self._require(0 <= self.seed <= _HIGHEST_SEED, "seed", f"between 0 and {_HIGHEST_SEED}")

    def check_images(self, count: int) -> None:
        """Refuse a training split of fewer images than a batch has.

        Raises:
            InputError: a batch is larger.
        """
        if count < self.batch_size:
            raise InputError(
                f"batch size (={self.batch_size}) is larger than the {count} training images; "
                "lower batch_size"
            )

    def _require(self, good: bool, name: str, rule: str) -> None:
        if not good:
            value = getattr(self, name)
            raise InputError(f"{name} (={value}) must be {rule}")


def _one_of(words: tuple[str, ...]) -> str:
    return f"one of {', '.join(words)}"
