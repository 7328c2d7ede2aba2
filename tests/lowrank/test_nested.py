"""Best weights on nested sets of columns from one factorisation: those of each set by itself."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from common.strategies import SEEDS
from rankfold.lowrank.nested import NestedRefits
from rankfold.lowrank.regression import RIDGE, Regression, power


@given(SEEDS, st.integers(1, 4), st.sets(st.integers(1, 9), min_size=1))
def test_each_set_has_its_own_best_weight(seed: int, outputs: int, sizes: set[int]) -> None:
    random = np.random.default_rng(seed)
    values = random.standard_normal((20, 9))
    problem = Regression.of(random.standard_normal((outputs, 9)), values.T @ values / 20, None, RIDGE)
    order = random.permutation(9)
    sets = {size: np.isin(np.arange(9), order[:size]) for size in sizes}
    found = NestedRefits.of(problem.pull, problem.moments, sets.values())
    reached = []
    for size, refit in found.refits():
        columns = np.flatnonzero(sets[size])
        wanted = np.zeros((outputs, 9))
        wanted[:, columns] = problem.target_on(columns)
        np.testing.assert_allclose(refit.placed(refit.weight, 9), wanted, rtol=1e-8, atol=1e-10)
        np.testing.assert_allclose(np.trace(refit.gram), power(wanted, problem.moments), rtol=1e-8)
        reached.append(size)
    assert reached == sorted(sizes)
