"""`ArrayAccuracy`: what a network keeps on the arrays that its energy is counted for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from rankfold.mapping import ArraySpec

NOT_SIMULATED = "not simulated"
ACCURACY = "accuracy"
AGREEMENT = "agreement"  # with the quantised network, of images without labels


@dataclass(frozen=True, kw_only=True)
class ArrayAccuracy:
    """The accuracy of a network as its arrays compute it.

    Attributes:
        accuracy: on the arrays, 0 to 1.
        ideal: of the same network on the same images where arrays are exact, 0 to 1.
        images: test images.
        seed: under which they were drawn.
        measured: what these shares are; of images without labels `agreement`, with the quantised network.
    """

    accuracy: float
    ideal: float
    images: int
    seed: int
    measured: str = ACCURACY

    @property
    def note(self) -> str:
        """What stands behind the share, see `note_of`."""
        return note_of(self.measured)

    @property
    def drop(self) -> float:
        """What the arrays take, 0 to 1; negative where they happen to classify better."""
        return self.ideal - self.accuracy

    def describe(self) -> str:
        """The share, and of what it is."""
        return (
            f"{self.accuracy:.1%}{self.note} ({self.ideal:.1%} where arrays are exact; "
            f"{self.images:,} test images, seed {self.seed})"
        )

    @classmethod
    def from_json(cls, content: Mapping[str, Any] | None) -> ArrayAccuracy | None:
        """The accuracy in a file; None: not simulated."""
        if content is None:
            return None
        return cls(**content)


def note_of(measured: str) -> str:
    """What stands behind a share that is no accuracy; nothing behind one."""
    if measured == ACCURACY:
        return ""
    return f" {measured}"


def accuracy_in_words(found: ArrayAccuracy | None) -> str:
    """The accuracy on the arrays, or that nobody simulated it."""
    if found is None:
        return NOT_SIMULATED
    return found.describe()


def accuracy_to_json(found: ArrayAccuracy | None) -> dict[str, Any] | str:
    """The entry of `--json`: the accuracy, or `not simulated`."""
    if found is None:
        return NOT_SIMULATED
    return asdict(found)


def simulation_options(array: ArraySpec, adc_bits: int) -> str:
    """The options of `rankfold simulate` that ask for these arrays."""
    options = {
        "cell-bits": array.cell_bits,
        "coding": array.coding,
        "converts": array.converts,
        "dac-bits": array.dac_bits,
        "input-coding": array.to_json().get("input_coding"),
        "rows-driven": array.rows_driven,
        "adc-bits": adc_bits,
    }
    # Not the size, which is that of the plan.
    return " ".join(f"--{name} {value}" for name, value in options.items() if value is not None)
