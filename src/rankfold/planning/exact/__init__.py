"""What every layer becomes under a budget: candidates with their costs, the exact choice, the whole front."""

from rankfold.planning.exact.budget import Budget
from rankfold.planning.exact.candidate import LOSS, Candidate, LayerChoices, is_largest, total
from rankfold.planning.exact.dominance import (
    cheaper_than_lossless,
    pareto,
    without_hopeless,
)
from rankfold.planning.exact.front import Front, front
from rankfold.planning.exact.knapsack import cheapest, solve
from rankfold.planning.exact.quantities import (
    AREA,
    ARRAY_CYCLES,
    ARRAYS,
    CONVERSIONS,
    CYCLES,
    ENERGY,
    INTERVAL,
    LATENCY,
    QUANTITIES,
    USUAL,
    WEIGHTS,
    is_priced,
)
from rankfold.planning.exact.surface import Surface, surface
from rankfold.planning.exact.units import in_units
from rankfold.planning.exact.within_sums import Solution

__all__ = [
    "AREA",
    "ARRAYS",
    "ARRAY_CYCLES",
    "CONVERSIONS",
    "CYCLES",
    "ENERGY",
    "INTERVAL",
    "LATENCY",
    "LOSS",
    "QUANTITIES",
    "USUAL",
    "WEIGHTS",
    "Budget",
    "Candidate",
    "Front",
    "LayerChoices",
    "Solution",
    "Surface",
    "cheaper_than_lossless",
    "cheapest",
    "front",
    "in_units",
    "is_largest",
    "is_priced",
    "pareto",
    "solve",
    "surface",
    "total",
    "without_hopeless",
]
