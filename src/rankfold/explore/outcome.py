"""`Outcome`: what was found of one point."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Figures:
    """A network on the chip of a point.

    Attributes:
        interval: us between images.
        latency: us from an image's coming to its result.
        energy: pJ of an image.
        area: mm2 of the chip.
        loss: predicted loss of the plan per image before any training, which counts neither rounding nor
            converters; None: it was not predicted.
        missing_adc_bits: bits that the ADCs are short of telling all sums of an array apart; 0: none.
        weight_bits: of a weight, on average.
        input_bits: of an input, on average over weights.
        arrays_used: that hold weights and copies.
        utilisation: share of all arrays' time in which they are read.
        mode: how weights are held, in words.
        limit: what sets the interval, in words.
    """

    interval: float
    latency: float
    energy: float
    area: float
    loss: float | None
    missing_adc_bits: int
    weight_bits: float
    input_bits: float
    arrays_used: int
    utilisation: float
    mode: str
    limit: str


@dataclass(frozen=True)
class Outcome:
    """What was found of a point.

    Attributes:
        number: of the point.
        figures: of it; None: it cannot run.
        why: it cannot, in words; empty where it runs.
    """

    number: int
    figures: Figures | None
    why: str = ""

    def to_json(self) -> dict[str, Any]:
        """A line of the records."""
        if self.figures is None:
            return {"point": self.number, "why": self.why}
        return {"point": self.number, **asdict(self.figures)}

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Outcome:
        """From a line of the records that follows `SCHEMA`."""
        given = dict(content)
        number = given.pop("point")
        if "why" in given:
            return cls(number, None, given["why"])
        return cls(number, Figures(**given))


_TYPES = {"float": {"type": "number"}, "int": {"type": "integer"}, "str": {"type": "string"}}
# Of a line of the records, for `records.schema.strict_validator`.
SCHEMA: Mapping[str, Any] = {
    "type": "object",
    "required": ["point"],
    "properties": {"point": {"type": "integer", "minimum": 0}},
    "oneOf": [
        {
            "required": ["why"],
            "properties": {"point": {}, "why": {"type": "string"}},
            "additionalProperties": False,
        },
        {
            "required": [field.name for field in fields(Figures)],
            "properties": {
                "point": {},
                **{
                    field.name: _TYPES.get(str(field.type), {"type": ["number", "null"]})
                    for field in fields(Figures)
                },
            },
            "additionalProperties": False,
        },
    ],
}
