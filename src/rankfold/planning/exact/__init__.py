"""Chooses what every layer becomes under a budget: candidates with their costs, an exact choice, the whole front."""

from rankfold.planning.exact.candidate import (
    ARRAYS,
    CYCLES,
    ENERGY,
    LOSS,
    QUANTITIES,
    Candidate,
    LayerChoices,
    holds,
    structure_in_words,
)
from rankfold.planning.exact.dominance import pareto, without_hopeless
from rankfold.planning.exact.front import Front, front
from rankfold.planning.exact.knapsack import Solution, in_units, solve, total

__all__ = [
    "ARRAYS",
    "CYCLES",
    "ENERGY",
    "LOSS",
    "QUANTITIES",
    "Candidate",
    "Front",
    "LayerChoices",
    "Solution",
    "front",
    "holds",
    "in_units",
    "pareto",
    "solve",
    "structure_in_words",
    "total",
    "without_hopeless",
]
