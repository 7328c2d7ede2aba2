"""Chooses what every layer becomes under a budget: candidates with their costs, an exact choice, the whole front."""

from rankfold.planner.candidate import (
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
from rankfold.planner.dominance import pareto, without_hopeless
from rankfold.planner.front import Front, front
from rankfold.planner.knapsack import Solution, in_units, solve, total

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
