"""The planning problem of the small network that is trained on digits, and what tests change of it."""

from dataclasses import replace

import torch

from rankfold.mapping import ArraySpec
from rankfold.planning.data import planning_data
from rankfold.planning.exact import ARRAYS, CYCLES, ENERGY, Budget
from rankfold.progress import Silent

ARRAY = ArraySpec(32, 32)
WHOLE = [Budget(quantity, 1.0, share=True) for quantity in (CYCLES, ENERGY, ARRAYS)]


def with_limits(problem, limits, max_drop=None):
    """The problem with other budgets."""
    return replace(problem, budgets=limits, max_drop=max_drop)


def normalised(digits, images=512):
    """The batches that planning makes of the images drawn under seed 0."""
    return list(planning_data(digits, torch.device("cpu")).calibration(images, seed=0))


class Remembers:
    """Accuracies of plans, each measured once for all tests.

    Args:
        measure: it is asked where a plan is new.
    """

    def __init__(self, measure):
        self.measure, self.known = measure, {}

    def __call__(self, plan):
        if plan not in self.known:
            self.known[plan] = self.measure(plan)
        return self.known[plan]

    def __getattr__(self, name):
        return getattr(self.measure, name)


class Counts(Silent):
    """Keeps the parts of the work and how far each came."""

    def __init__(self):
        self.parts = []

    def begin(self, what, total, unit="images"):
        self.parts.append([what, total, unit, 0])

    def advance(self, count=1, detail=""):
        self.parts[-1][3] += count
