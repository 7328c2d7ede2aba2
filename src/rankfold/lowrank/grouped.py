"""A dense weight as that of a grouped convolution: which channels belong together, and the best weight then.

Blocks b = 1 ... G partition the input channels in sets C_b and the outputs in sets O_b, all of one size.
Outputs of O_b read C_b alone. With the output's weight w_i (n,), S = E[x x^T] plus a ridge (see
`regression`), what an error of the output counts p_i, and T_b the kernel positions of C_b, the least cost is

    J = sum_b sum_(i in O_b) p_i e_i(T_b),    e_i(T) = w_i S w_i^T - w_i S_:T S_TT^-1 S_T: w_i^T.

**Outputs.** Given the C_b, J is a sum of costs of single outputs in single blocks, as many in each: an
assignment problem, solved exactly (Crouse 2016, `scipy.optimize.linear_sum_assignment`, each block once for
each of its outputs).

**Inputs.** Given the O_b, e_i is no sum over channels, since others make up for one that is missing. What
channel c is worth to block b beside the block's own others is: if it is there, what dropping it would cost;
if not, what adding it would gain. With H = S_TT^-1, W = w_T the refit, and R = w S - W S_T: what T leaves
unexplained,

    drop: sum_(i in O_b) p_i W_ic (H_cc)^-1 W_ic^T,
    add:  sum_(i in O_b) p_i R_ic (S_cc - S_cT H S_Tc)^-1 R_ic^T.

The assignment of most worth is the next choice, and it is taken only if J falls once outputs are assigned
anew; else two channels are swapped, of the few pairs that promise most the first that lowers J. So J falls
in every step, and the last choice is no worse than where it started from: of two beginnings, channels as
they come, and those that alternating assignments find for the costs without refits (where both halves are
exact), the better one is returned. It is a local search, which may miss the least J.

Order channels by block, and the weight is block-diagonal. Reading inputs and outputs in another order is
wiring.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from collections.abc import Mapping as Map
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from scipy.linalg.blas import dtrsm
from scipy.optimize import linear_sum_assignment

from rankfold.errors import InputError
from rankfold.lowrank.grouping import Grouping, contiguous
from rankfold.lowrank.regression import (
    RIDGE,
    Regression,
    check_moments,
    factor,
    inverse_triangle,
    solve_right,
)

STEPS = 20  # of the search, each of which lowers J
SWAPS = 4  # pairs of channels that are tried in a step
WIDE = 1152  # inputs of a convolution group above which channels are worth what they are without refits
LEAST_GAIN = 1e-9  # of J, below which a step is rounding


def choose_grouping(
    weight: np.ndarray,
    conv_groups: int,
    blocks: int,
    second: np.ndarray | None = None,
    importance: np.ndarray | None = None,
    ridge: float = RIDGE,
    *,
    problems: Sequence[Regression] | None = None,
) -> Grouping:
    """Channels in blocks so that the best weight of a grouped convolution loses little; see above.

    Args:
        weight: (m, C_in/G, kh, kw).
        conv_groups: G; the blocks of each of them are chosen by themselves.
        blocks: in each convolution group.
        second: (G, n, n) E[x x^T] of the patches of each group; None: the nearest weight is looked for.
        importance: (m,) what errors of each output count; None: all alike.
        ridge: see `regression`.
        problems: those of the groups, where they are known; moments and ridge are theirs then.

    Returns:
        G * blocks blocks, those of one convolution group after another.

    Raises:
        InputError: the blocks do not divide the channels, or the moments do not fit the weight.
    """
    dense = _grouped(weight, conv_groups, blocks, second)
    share = np.ones(len(weight)) if importance is None else importance
    inputs, outputs = [], []
    for group, counted in enumerate(share.reshape(conv_groups, -1)):
        regression = _problem(dense, second, group, ridge, problems)
        found = _Search(regression, counted, weight.shape[1], blocks).best()
        inputs.append(found.inputs + group * blocks)
        outputs.append(found.outputs + group * blocks)
    return Grouping(np.concatenate(inputs), np.concatenate(outputs))


def refit_grouped(
    weight: np.ndarray,
    conv_groups: int,
    grouping: Grouping,
    second: np.ndarray | None = None,
    ridge: float = RIDGE,
    *,
    problems: Sequence[Regression] | None = None,
) -> np.ndarray:
    """The weight of a grouped convolution that keeps the layer's output best: W S_:T S_TT^-1 in each block.

    Args:
        weight: (m, C_in/G, kh, kw).
        conv_groups: G.
        grouping: of its channels, in G * blocks blocks.
        second: as of `choose_grouping`; None: what the blocks keep stays as it is.
        ridge: see `regression`.
        problems: likewise.

    Returns:
        (m, C_in/G, kh, kw) in float64, zero where an output reads no channel of another block.

    Raises:
        InputError: see `choose_grouping`.
    """
    blocks = len(np.unique(grouping.inputs)) // conv_groups
    dense = _grouped(weight, conv_groups, blocks, second)
    kept = grouping.mask(conv_groups)
    if second is None and problems is None:
        return np.where(kept[:, :, None, None], weight.astype(np.float64), 0.0)
    positions = weight.shape[2] * weight.shape[3]
    by_column = np.repeat(kept, positions, axis=1).reshape(dense.shape)  # (G, m/G, n)
    refitted = np.zeros(dense.shape)
    for group in range(conv_groups):
        regression = _problem(dense, second, group, ridge, problems)
        # Outputs of one block read the same columns.
        patterns, member = np.unique(by_column[group], axis=0, return_inverse=True)
        for number, pattern in enumerate(patterns):
            rows, columns = np.flatnonzero(member.reshape(-1) == number), np.flatnonzero(pattern)
            pull = regression.pull[np.ix_(rows, columns)]
            lower = factor(regression.moments[np.ix_(columns, columns)], in_place=True)
            refitted[group][np.ix_(rows, columns)] = solve_right(pull, lower)
    return refitted.reshape(weight.shape)


def _problem(
    dense: np.ndarray,
    second: np.ndarray | None,
    group: int,
    ridge: float,
    known: Sequence[Regression] | None,
) -> Regression:
    """That of one convolution group of a weight (G, m/G, n)."""
    if known is not None:
        return known[group]
    moments = np.eye(dense.shape[2]) if second is None else second[group]
    return Regression.of(dense[group], moments, None, ridge)


def _grouped(weight: np.ndarray, conv_groups: int, blocks: int, second: np.ndarray | None) -> np.ndarray:
    """The weight as (G, m/G, n), after checks."""
    outputs, channels = len(weight) // conv_groups, weight.shape[1]
    if blocks < 1 or outputs % blocks or channels % blocks or not np.isfinite(weight).all():
        raise InputError(
            f"a weight of shape {weight.shape} has no {blocks} blocks in each of {conv_groups} groups: they "
            "must divide its outputs and input channels, and it must be finite"
        )
    check_moments(weight.shape, conv_groups, second, None)
    return weight.astype(np.float64).reshape(conv_groups, outputs, -1)


@dataclass(frozen=True, eq=False)
class _Part:
    """A block of input channels, and what every output could be from it.

    Attributes:
        columns: T, rising indices.
        lower: (|T|, |T|) L of S_TT = L L^T.
        seen: (|T|, m) L^-1 S_T: w^T.
        costs: (m,) p_i e_i(T).
        worths: (C,) what each channel is worth to it, by its outputs, (m,) booleans as bytes.
    """

    columns: np.ndarray
    lower: np.ndarray
    seen: np.ndarray
    costs: np.ndarray
    worths: dict[bytes, np.ndarray] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class _Choice:
    """A grouping with its J, and its blocks of inputs by the channels that they have."""

    cost: float
    grouping: Grouping
    parts: dict[bytes, _Part]


@dataclass(frozen=True)
class _Search:
    """The search of one convolution group.

    Attributes:
        regression: of its outputs.
        share: (m,) p, what errors of each output count.
        channels: C.
        blocks: in the group.
    """

    regression: Regression
    share: np.ndarray
    channels: int
    blocks: int

    def best(self) -> Grouping:
        """The better end of both beginnings."""
        outputs = len(self.share)
        begun = contiguous(self.channels, outputs, self.blocks)
        ends = [self._improved(start) for start in (self._without_refits(begun), begun)]
        _, found = min(ends, key=lambda end: end[0])
        return found

    def _improved(self, start: Grouping) -> tuple[float, Grouping]:
        """J and the grouping where no step lowers it any more."""
        best = self._with_outputs(start.inputs, {})
        if self.regression.moments.shape[0] > WIDE:
            return best.cost, best.grouping
        for _ in range(STEPS):
            worths = self._worths(best)
            trials = (_assigned(worths, self.blocks), *_swapped(worths, best.grouping.inputs))
            lower = next(self._lower(trials, best), None)
            if lower is None:
                break
            best = lower
        return best.cost, best.grouping

    def _lower(self, trials: Iterable[np.ndarray], best: _Choice) -> Iterator[_Choice]:
        """The choices for those blocks of inputs that lower J."""
        for inputs in trials:
            # A swap leaves all other blocks as they are.
            found = self._with_outputs(inputs, best.parts)
            if found.cost < best.cost * (1 - LEAST_GAIN):
                yield found

    def _with_outputs(self, inputs: np.ndarray, known: Map[bytes, _Part]) -> _Choice:
        """The choice of the best outputs for some blocks of inputs, of which some may be known already."""
        parts: dict[bytes, _Part] = {}
        for block in range(self.blocks):
            there = inputs == block
            name = there.tobytes()
            parts[name] = known[name] if name in known else self._part(there)
        costs = np.stack([part.costs for part in parts.values()], axis=1)  # (m, G)
        outputs = _assigned(-costs, self.blocks)
        cost = float(costs[np.arange(len(outputs)), outputs].sum())
        return _Choice(cost, Grouping(inputs, outputs), parts)

    def _part(self, channels: np.ndarray) -> _Part:
        """A block of some channels, (C,) booleans."""
        columns = self._columns(channels)
        lower = factor(self.regression.moments[np.ix_(columns, columns)], in_place=True)
        pull = self.regression.pull[:, columns].T  # turned, as BLAS has columns in a row
        seen = dtrsm(1.0, lower, pull, lower=1, overwrite_b=1)  # (|T|, m)
        # Rounding may leave less than nothing of an output that needs no other channel.
        left = np.maximum(self._powers - np.einsum("tm,tm->m", seen, seen), 0.0)
        return _Part(columns, lower, seen, self.share * left)

    def _worths(self, choice: _Choice) -> np.ndarray:
        """(C, G) what each channel is worth to each block; see above."""
        worths = np.empty((self.channels, self.blocks))
        for block, part in enumerate(choice.parts.values()):
            rows = choice.grouping.outputs == block
            name = rows.tobytes()
            # A swap leaves most blocks as they were, with the outputs that they had.
            if name not in part.worths:
                part.worths[name] = self._worth(part, rows)
            worths[:, block] = part.worths[name]
        return worths

    def _worth(self, part: _Part, rows: np.ndarray) -> np.ndarray:
        """(C,) what each channel is worth to a block with some outputs, (m,) booleans.

        With S_TT = L L^T and Y = L^-1 S_T:, S_cT H S_Tc = Y_c^T Y_c; and W = (L^-1 S_T: w^T)^T L^-1.
        """
        positions, columns = self.positions, part.columns
        seen = part.seen[:, rows].T  # (m/G, |T|)
        # Y: turned, as BLAS has columns in a row.
        across = self.regression.moments[columns]
        across = dtrsm(1.0, part.lower, across.T, side=1, lower=1, trans_a=1, overwrite_b=1).T  # (|T|, n)
        left = self.regression.pull[rows] - seen @ across  # (m/G, n) R
        rest = self._own - _squared(across, positions)  # (C, K, K)
        inverted = inverse_triangle(part.lower)
        left[:, columns] = seen @ inverted  # W
        rest[columns[::positions] // positions] = _squared(inverted, positions)  # H_cc
        values = left.reshape(len(left), -1, positions).swapaxes(0, 1)  # (C, m/G, K)
        solved = np.linalg.solve(rest, values.swapaxes(1, 2))  # (C, K, m/G)
        each: np.ndarray = np.einsum("cmk,ckm->cm", values, solved) @ self.share[rows]
        return each

    def _without_refits(self, start: Grouping) -> Grouping:
        """The end of alternating assignments by what each channel alone gives each output."""
        given = self._powers_of_channels  # (m, C)
        found, kept = Grouping(self._spread_inputs(), start.outputs), -math.inf
        while True:
            outputs = _assigned(_by_block(given, found.inputs, self.blocks), self.blocks)
            inputs = _assigned(_by_block(given.T, outputs, self.blocks), self.blocks)
            total = float(given[outputs[:, None] == inputs].sum())
            if total <= kept * (1 + LEAST_GAIN):
                return found
            found, kept = Grouping(inputs, outputs), total

    def _spread_inputs(self) -> np.ndarray:
        """(C,) blocks of channels that are read by like outputs: neighbours in the first singular vectors of
        the scaled powers, as in spectral co-clustering (Dhillon 2001).

        These are constant on each block where nothing is read across, but in any basis: of their sum, each
        with a weight of its own, all blocks then have other values.
        """
        given = self._powers_of_channels
        tiny = np.finfo(float).tiny
        rows, columns = (np.sqrt(np.maximum(given.sum(axis=axis), tiny)) for axis in (1, 0))
        _, _, right = np.linalg.svd(given / rows[:, None] / columns, full_matrices=False)
        first = right[: self.blocks]
        place = 1 / np.arange(1, len(first) + 1) @ first / columns
        order = np.argsort(place, kind="stable")
        blocks = np.empty(self.channels, int)
        blocks[order] = np.arange(self.channels) * self.blocks // self.channels
        return blocks

    def _columns(self, channels: np.ndarray) -> np.ndarray:
        """Indices of the columns of some channels, (C,) booleans."""
        return np.flatnonzero(np.repeat(channels, self.positions))

    @property
    def positions(self) -> int:
        """kh * kw."""
        return len(self.regression.moments) // self.channels

    @cached_property
    def _powers(self) -> np.ndarray:
        """(m,) w_i S w_i^T."""
        powers: np.ndarray = np.einsum("mn,mn->m", self.regression.target, self.regression.pull)
        return powers

    @cached_property
    def _own(self) -> np.ndarray:
        """(C, K, K) S_cc."""
        places = np.arange(len(self.regression.moments)).reshape(-1, self.positions)
        return self.regression.moments[places[:, :, None], places[:, None]]

    @cached_property
    def _powers_of_channels(self) -> np.ndarray:
        """(m, C) p_i w_ic S_cc w_ic^T."""
        by_channel = self.regression.target.reshape(len(self.share), -1, self.positions)  # (m, C, K)
        powers = np.einsum("mca,cab,mcb->mc", by_channel, self._own, by_channel, optimize=True)
        given: np.ndarray = self.share[:, None] * powers
        return given


def _squared(columns: np.ndarray, positions: int) -> np.ndarray:
    """(C, K, K) A_c^T A_c of each channel's K columns of A (t, C K)."""
    by_channel = columns.reshape(len(columns), -1, positions).swapaxes(0, 1)  # (C, t, K)
    squared: np.ndarray = by_channel.swapaxes(1, 2) @ by_channel
    return squared


def _by_block(given: np.ndarray, blocks: np.ndarray, count: int) -> np.ndarray:
    """(A, G) sums of the columns (A, B) of each block."""
    return given @ np.eye(count)[blocks]


def _swapped(worths: np.ndarray, blocks: np.ndarray) -> Iterator[np.ndarray]:
    """(A,) the blocks with two things swapped, those first that gain most of their worths (A, G)."""
    things = np.arange(len(blocks))
    given = worths[things[:, None], blocks]  # (A, A) in the other's block
    own = worths[things, blocks]
    gain = given + given.T - own - own[:, None]
    gain[blocks[:, None] == blocks] = -math.inf
    first, second = np.triu_indices(len(blocks), 1)
    for pair in np.argsort(-gain[first, second], kind="stable")[:SWAPS]:
        swapped = blocks.copy()
        swapped[[first[pair], second[pair]]] = blocks[[second[pair], first[pair]]]
        yield swapped


def _assigned(worths: np.ndarray, blocks: int) -> np.ndarray:
    """(A,) the block of each of A things so that their worths (A, G) are greatest, as many in each block."""
    if blocks == 2:
        # Those go to the second block that are worth most there beside the first.
        order = np.argsort(worths[:, 1] - worths[:, 0], kind="stable")
        found = np.zeros(len(worths), int)
        found[order[len(order) // 2 :]] = 1
        return found
    places = len(worths) // blocks
    rows, columns = linear_sum_assignment(np.repeat(worths, places, axis=1), maximize=True)
    found = np.empty(len(worths), int)
    found[rows] = columns // places
    return found
