"""`Prediction`: what a plan was predicted to lose, and of which decisions that was said."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rankfold.errors import InputError
from rankfold.files import digest_of
from rankfold.plan.layer import LayerPlan

# Units of loss: of outputs that are scores, and of any others (see `calibration.output_losses`).
NATS, RELATIVE_ERROR = "nats", "relative squared error"


@dataclass(frozen=True)
class Prediction:
    """The predicted loss of a plan; what rounding costs is not counted.

    Attributes:
        loss: per image, before any training.
        of: the decisions that it is the loss of, see `decisions`. A plan whose layers become something else,
            such as one that was edited by hand, has no prediction any more.
        weights: digest of the weights of the dense network whose layers these were; None: nobody said.
        data: digest of the data set that it was predicted on; None likewise.
        unit: of the loss, `nats` or `relative squared error`.
    """

    loss: float
    of: str
    weights: str | None = None
    data: str | None = None
    unit: str = NATS

    def __post_init__(self) -> None:
        if not 0 <= self.loss < math.inf:
            raise InputError(f"predicted loss (={self.loss}) must be 0 {self.unit} or more")

    def is_for(self, weights: str, data: str) -> bool:
        """Whether it was made for a dense network with these weights, on these data (digests of both)."""
        return (self.weights, self.data) == (weights, data)

    def to_json(self) -> dict[str, Any]:
        """As plan files have it."""
        content = {"loss": self.loss, "of": self.of, "weights": self.weights, "data": self.data}
        # Only where it is another: older files know of nats alone.
        if self.unit != NATS:
            content["unit"] = self.unit
        return {name: value for name, value in content.items() if value is not None}

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Prediction:
        """From a plan file that follows the schema."""
        return cls(**content)


def decisions(layers: Sequence[LayerPlan]) -> str:
    """A hash of what layers become; bits, mappings, signs and reasons do not count."""
    kinds = {layer.name: layer.kind.to_json() for layer in layers}
    return digest_of(json.dumps(kinds, sort_keys=True).encode())
