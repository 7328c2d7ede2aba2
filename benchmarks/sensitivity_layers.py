"""What a layer of ResNet-20 may become in random plans, made for data: for sensitivity.py beside it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from rankfold import ArraySpec
from rankfold.calibration.sensitivity import LayerSensitivity
from rankfold.lowrank import (
    LowRankFactors,
    decompose_for_data,
    full_rank,
    nested_supports,
    reconstruct,
    refit,
    row_sparse,
)
from rankfold.lowrank.rows import fitted_rows
from rankfold.mapping import map_layer, map_low_rank
from rankfold.mapping.window_matrix import window_cycles
from rankfold.plan import WindowLayer, support_to_text
from rankfold.planning.exact.slots import LayerSlot
from rankfold.planning.kinds import PIXEL, LayerStudy, candidates_of
from rankfold.workload import ConvShape
from rankfold.workload.shape import Pair

ARRAY = ArraySpec(64, 64)


@dataclass(frozen=True)
class Candidate:
    """What a layer may become: (g, r), a support of e positions, or both; or a window of so many inputs."""

    groups: int | None = None
    rank: int | None = None
    entries: int | None = None
    window: WindowLayer | None = None

    def __str__(self) -> str:
        if self.window is not None:
            return self.window.short().replace(" ", "")
        return ("" if self.groups is None else f"g{self.groups}r{self.rank}") + (
            "" if self.entries is None else f"e{self.entries}"
        )

    def parameters(self, shape: ConvShape) -> int:
        """Weights that are kept."""
        if self.window is not None:
            a, b = self.window.window
            return shape.m * a * b * self.window.rows
        inputs = shape.n if self.entries is None else shape.in_channels * self.entries
        return shape.m * inputs if self.groups is None else self.rank * (inputs + shape.m * self.groups)


def candidates(shape: ConvShape) -> list[Candidate]:
    """All that save parameters."""
    pairs = [(g, shape.m // part) for g in (1, 2, 4, 8) for part in (2, 4, 8, 16)]
    pairs = [(g, r) for g, r in pairs if r <= full_rank(shape, g)]
    found = [Candidate(g, r) for g, r in pairs] + [Candidate(entries=e) for e in range(1, 9)]
    found += [Candidate(g, r, e) for g, r in pairs if g in (1, 4) and r > shape.m // 16 for e in (2, 4, 6)]
    return [one for one in found if one.parameters(shape) < shape.parameters]


def window_candidates(slot: LayerSlot) -> list[Candidate]:
    """All window layers of whole row tiles that the planner knows, but those of all inputs."""
    entries = candidates_of(WindowLayer).entries(slot, None)
    return [Candidate(window=entry.kind) for entry in entries if entry.kind.rows is not None]


@dataclass(frozen=True)
class Replacement:
    """A candidate made for the data.

    Attributes:
        before: the weight that it replaces: the layer's own, or the matrix of its window.
        weight: the weight that it stands for.
        sensitivity: of the loss to `before`.
        factors: if it has any.
        kind: of a window layer, with its rows.
        cycles: on the arrays.
    """

    before: np.ndarray
    weight: np.ndarray
    sensitivity: LayerSensitivity
    factors: LowRankFactors | None
    kind: WindowLayer | None
    cycles: int


@dataclass(frozen=True)
class Layer:
    """One convolution: slot, weight and sensitivities, that of a window of one pixel being the weight's; and
    everything it may become, made once when first wanted.
    """

    slot: LayerSlot
    weight: np.ndarray
    sensitivity: LayerSensitivity
    windows: dict[Pair, LayerSensitivity]

    @property
    def shape(self) -> ConvShape:
        """Its shape."""
        return self.slot.shape

    @cached_property
    def supports(self) -> dict[int, np.ndarray]:
        """By number of positions."""
        return nested_supports(self.weight, 1, self.sensitivity.moments.second)

    @cached_property
    def made(self) -> dict[tuple[Candidate, bool], Replacement]:
        """What has been made so far."""
        return {}

    @cached_property
    def study(self) -> LayerStudy:
        """Its windows, with their rows."""
        windows = {PIXEL: self.sensitivity, **self.windows}
        return LayerStudy(self.slot, self.weight, self.sensitivity.moments.second, None, windows)

    def become(self, candidate: Candidate, plain: bool = False) -> Replacement:
        """The layer as this candidate; with `plain` rows chosen as if errors of all outputs counted alike."""
        if (candidate, plain) not in self.made:
            self.made[candidate, plain] = self._make(candidate, plain)
        return self.made[candidate, plain]

    def _make_window(self, window: WindowLayer, plain: bool) -> Replacement:
        problem = self.study.window(window.window)
        fitted = problem.fitted(window.rows)
        if plain:
            second = problem.sensitivity.moments.centred().second
            fitted = fitted_rows(problem.copies, 1, second, window.rows)
        kind = window.with_support(support_to_text(fitted.support))
        cycles = window_cycles(self.shape, window.window, ARRAY, window.rows)
        return Replacement(problem.copies, fitted.weight, problem.sensitivity, None, kind, cycles)

    def _make(self, candidate: Candidate, plain: bool) -> Replacement:
        if candidate.window is not None:
            return self._make_window(candidate.window, plain)
        second, groups, rank = self.sensitivity.moments.second, candidate.groups, candidate.rank
        if groups is None or rank is None:
            support = self.supports[candidate.entries]
            cycles = map_layer(self.shape, ARRAY, "best", support).cycles
            return self._standing_in(refit(self.weight, 1, second, support), None, cycles)
        support = None
        if candidate.entries is None:
            factors = decompose_for_data(self.weight, 1, groups, rank, second)
        else:
            factors, support = row_sparse(self.weight, 1, groups, rank, second, candidate.entries)
        cycles = map_low_rank(self.shape, ARRAY, groups, rank, "best", support).cycles
        return self._standing_in(reconstruct(factors, 1, groups).reshape(self.weight.shape), factors, cycles)

    def _standing_in(self, weight: np.ndarray, factors: LowRankFactors | None, cycles: int) -> Replacement:
        return Replacement(self.weight, weight, self.sensitivity, factors, None, cycles)
