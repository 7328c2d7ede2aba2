"""`Scaling`: how the pixels of images become what a network was trained with."""

from __future__ import annotations

import math
from dataclasses import dataclass

from rankfold.errors import InputError

IMAGENET = "imagenet"
NONE = "none"


@dataclass(frozen=True)
class Scaling:
    """(pixel / 255 - mean) / deviation of each channel.

    Attributes:
        mean: of each channel, of pixels in [0, 1]; one for all.
        std: the same of the deviation.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __post_init__(self) -> None:
        numbers = (*self.mean, *self.std)
        good = bool(self.mean) and bool(self.std) and all(map(math.isfinite, numbers))
        if not good or min(self.std) <= 0:
            raise InputError(
                f"normalisation (={self}) needs finite means and deviations above 0, of pixels in [0, 1]"
            )

    def __str__(self) -> str:
        return "/".join(",".join(f"{number:g}" for number in numbers) for numbers in (self.mean, self.std))

    @classmethod
    def parse(cls, text: str) -> Scaling:
        """From `0.485,0.456,0.406/0.229,0.224,0.225`, `imagenet` (the same), or `none` (pixels in [0, 1]).

        Raises:
            InputError: it is none of these.
        """
        known = {IMAGENET: "0.485,0.456,0.406/0.229,0.224,0.225", NONE: "0/1"}
        mean, _, std = known.get(text, text).partition("/")
        try:
            numbers = _numbers(mean), _numbers(std)
        except ValueError:
            raise InputError(
                f"normalisation (={text}) must be MEAN/DEVIATION of each channel, such as "
                "0.485,0.456,0.406/0.229,0.224,0.225, or imagenet, or none"
            ) from None
        return cls(*numbers)

    def of(self, channels: int, name: str) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Mean and deviation of each channel of some data.

        Raises:
            InputError: it is for another number of them.
        """
        spread = []
        for numbers in (self.mean, self.std):
            if len(numbers) not in (1, channels):
                raise InputError(
                    f"normalisation (={self}) is for {len(numbers)} channels, and the images of {name} have "
                    f"{channels}"
                )
            spread.append(numbers * (channels // len(numbers)))
        mean, std = spread
        return mean, std


def _numbers(text: str) -> tuple[float, ...]:
    return tuple(float(part) for part in text.split(","))
