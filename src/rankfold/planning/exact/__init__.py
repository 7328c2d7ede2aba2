"""What every layer becomes under a budget: candidates with their costs, the exact choice, the whole front."""

from rankfold.planning.exact.budget import Budget
from rankfold.planning.exact.candidate import (
    ARRAYS,
    CYCLES,
    ENERGY,
    LOSS,
    QUANTITIES,
    Candidate,
    LayerChoices,
    total,
)
from rankfold.planning.exact.dominance import cheaper_than_lossless, pareto, without_hopeless
from rankfold.planning.exact.front import Front, front
from rankfold.planning.exact.knapsack import Solution, solve
from rankfold.planning.exact.units import in_units

__all__ = [
    "ARRAYS",
    "CYCLES",
    "ENERGY",
    "LOSS",
    "QUANTITIES",
    "Budget",
    "Candidate",
    "Front",
    "LayerChoices",
    "Solution",
    "cheaper_than_lossless",
    "front",
    "in_units",
    "pareto",
    "solve",
    "total",
    "without_hopeless",
]
