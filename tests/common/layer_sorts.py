"""A network with one layer of every sort that uniform plans treat in their own way."""

from __future__ import annotations

from rankfold.mapping import ArraySpec
from rankfold.plan import LowRank, Plan, uniform_plan
from rankfold.workload import ConvShape, Network

ARRAY = ArraySpec(64, 32)
AROUND = (1, 1, 1, 1)  # padding


def every_sort() -> Network:
    """Seven weights, one of them run twice."""
    return Network(
        "small",
        (3, 8, 8),
        (
            ConvShape("stem", 3, 16, (3, 3), (8, 8), padding=AROUND),
            ConvShape("body", 16, 16, (3, 3), (8, 8), padding=AROUND),
            ConvShape("body#2", 16, 16, (3, 3), (4, 4), padding=AROUND, weight="body"),
            ConvShape("deep", 16, 16, (3, 3), (4, 4), padding=AROUND, groups=16),
            ConvShape("point", 16, 32, (1, 1), (4, 4)),
            ConvShape("parts", 32, 32, (3, 3), (4, 4), padding=AROUND, groups=2),
            ConvShape("hidden", 32, 32, (1, 1), (1, 1), kind="linear"),
            ConvShape("head", 32, 10, (1, 1), (1, 1), kind="linear"),
        ),
    )


def low_rank_plan() -> Plan:
    """Two groups of an eighth of the outputs, 4 bits."""
    return uniform_plan(every_sort(), ARRAY, LowRank(groups=2, rank="1/8", force=True), bits=4)
