"""A small space and a small network, for points that take no time."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

from rankfold.explore.space import Space
from rankfold.explore.space_file import space_from_json
from rankfold.workload import ConvShape, Network

SPACE: dict[str, Any] = {
    "_type": "rankfold.space",
    "_version": 1,
    "chip": "rram-22nm",
    "plans": [{"bits": 4}, {"method": "low-rank", "groups": 2, "rank": 4, "bits": 4}],
    "vary": {
        "hardware/array": ["32x32", "64x64"],
        "hardware/adc/bits": [4, 5],
        "cores/count": {"from": 2, "to": 8, "times": 2},
        "buffer": [
            {"size": {"value": 1, "unit": "KiB"}, "energy": 50, "area": 0.002},
            {"size": {"value": 32, "unit": "KiB"}, "energy": 136, "area": 0.052},
        ],
    },
}


def small_network(name: str = "small") -> Network:
    """Three convolutions of which one may become low-rank."""

    def layer(name: str, channels: int, out: int) -> ConvShape:
        return ConvShape(name, channels, out, (3, 3), input=(8, 8), padding=(1, 1, 1, 1))

    return Network(name, (3, 8, 8), (layer("first", 3, 16), layer("second", 16, 32), layer("third", 32, 32)))


def edited(**changes: Any) -> dict[str, Any]:
    """The content of the space with other values at its top level."""
    return {**deepcopy(SPACE), **changes}


def small_space(**changes: Any) -> Space:
    """The space, with other values at its top level."""
    return space_from_json(edited(**changes), "space.yaml")
