"""All choices of a planning problem, for brute force: what each of them costs."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Mapping, Sequence

import numpy as np

from rankfold.planning.exact import Candidate
from rankfold.planning.exact.candidate import is_largest


def totals(candidates: Sequence[Sequence[Candidate]], quantity: str) -> np.ndarray:
    """What a network costs under every choice of a candidate for each layer, in the order of products."""
    combine = np.maximum if is_largest(quantity) else np.add
    costs = [np.array([one.cost(quantity) for one in layer], dtype=float) for layer in candidates]
    return functools.reduce(combine.outer, costs).ravel()


def within(candidates: Sequence[Sequence[Candidate]], limits: Mapping[str, float]) -> np.ndarray:
    """Whether each choice keeps all limits, and is allowed."""
    kept = [totals(candidates, quantity) <= limit for quantity, limit in limits.items()]
    return np.logical_and.reduce([allowed(candidates), *kept])


def allowed(candidates: Sequence[Sequence[Candidate]]) -> np.ndarray:
    """Whether no layer of a choice reads more than another one needs it to, in the order of products."""
    found = []
    for chosen in itertools.product(*candidates):
        reads = {one.entry.name: one.reads for one in chosen}
        needs = [one.needs for one in chosen if one.needs is not None]
        found.append(all(reads[need.layer] <= need.most for need in needs))
    return np.array(found)
