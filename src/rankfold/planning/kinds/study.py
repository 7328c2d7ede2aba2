"""`LayerStudy`: one layer with what is computed once for all that it may become."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from rankfold.lowrank import FittedSupport, fitted_supports
from rankfold.lowrank.blocks import Block, BlockProblem
from rankfold.lowrank.regression import RIDGE, Inverses, Regression, add_ridge_
from rankfold.mapping.window_cover import AnyWindow, PlanePart
from rankfold.plan import support_to_text
from rankfold.planning.exact.slots import LayerSlot
from rankfold.planning.kinds.trimmed_study import TrimmedStudy
from rankfold.planning.kinds.window_study import WindowStudy
from rankfold.workload import ConvShape

if TYPE_CHECKING:
    from rankfold.calibration.sensitivity import LayerSensitivity

PIXEL = (1, 1)  # the window of a layer's own patches


class LayerStudy:
    """A layer that may be compressed; what several of its replacements need is made once.

    Attributes:
        slot: the layer.
        weight: (m, C_in/G, kh, kw) its dense weight.
        moments: (G, n, n) E[x x^T] of the patches of each group that replacements are made for, with the
            ridge that they add to it (`regression.with_ridge`).

    Args:
        slot: the layer.
        weight: its dense weight.
        second: the moments, without a ridge.
        others: the same of other patches that its candidates read, by the shapes that read them.
        windows: how sensitive the loss is to the matrices of its windows, by (a, b) or part of the plane;
            that of (1, 1) is the sensitivity to its weight where the layer has a bias, or a norm behind it.
        rounded: likewise, to errors that nothing has made small, such as those of rounding; None: as
            `windows`.
        skipping_loss: what is predicted to be lost where the layer is skipped, in nats per image; infinite
            where that is not known.
    """

    def __init__(
        self,
        slot: LayerSlot,
        weight: np.ndarray,
        second: np.ndarray,
        others: Mapping[ConvShape, np.ndarray] | None = None,
        windows: Mapping[AnyWindow, LayerSensitivity] | None = None,
        rounded: Mapping[AnyWindow, LayerSensitivity] | None = None,
        *,
        skipping_loss: float = math.inf,
    ) -> None:
        self.slot, self.weight = slot, weight
        self.skipping_loss = skipping_loss
        self.moments = np.array(second, np.float64)  # a copy, the only one
        for of_group in self.moments:
            add_ridge_(of_group, RIDGE)
        self._others = dict(others or {})
        self._sensitive_windows = dict(windows or {})
        self._rounded_windows = self._sensitive_windows if rounded is None else dict(rounded)
        self._windows: dict[AnyWindow, WindowStudy] = {}
        self._inverses = Inverses()
        # The problems of the last structure: its ranks follow each other, and all of them use these.
        self._last_structure: tuple[int, str | None] | None = None
        self._last_problems: list[BlockProblem] = []
        # And the blocks of the last rank: its loss and that of rounding it follow each other.
        self._last_rank: tuple[int, str | None, int, int] | None = None
        self._last_blocks: list[list[Block]] = []

    @property
    def inputs(self) -> int:
        """n = C_in/G * kh * kw, the inputs of one output."""
        return self.weight[0].size

    def second_of(self, shape: ConvShape) -> np.ndarray:
        """(G, n, n) E[x x^T] of the patches that a convolution of another shape reads of the layer's inputs,
        one of those that a kind's `reads` gave.
        """
        return self._others[shape]

    def window(self, window: AnyWindow) -> WindowStudy:
        """The matrix of one of the windows that a kind's `windows` gave, or of a single pixel."""
        if window not in self._windows:
            sensitivity = self._sensitive_windows[window]
            pixels = window.window if isinstance(window, PlanePart) else window
            # Other windows have moments of their own, which nothing else begins with.
            inverses = self._inverses if window == PIXEL else Inverses()
            self._windows[window] = WindowStudy(
                self.slot, self.weight, pixels, sensitivity, self.moments, inverses
            )
        return self._windows[window]

    @property
    def as_biased(self) -> LayerSensitivity:
        """How sensitive the loss is to the layer's weight, for replacements that bring a bias."""
        return self._sensitive_windows[PIXEL]

    def to_rounding(self, window: AnyWindow) -> LayerSensitivity:
        """How sensitive the loss is to errors of a window's matrix that nothing has made small."""
        return self._rounded_windows[window]

    @cached_property
    def trimmed(self) -> TrimmedStudy:
        """The layer of fewer channels."""
        return TrimmedStudy(self)

    @cached_property
    def families(self) -> tuple[dict[int, np.ndarray], ...]:
        """Supports (C_in, kh*kw) of each number of positions: free ones, and ones that all channels share."""
        families = []
        for family in self._fitted_families:
            supports = {}
            for entries, fitted in family.items():
                supports[entries] = fitted.support
            families.append(supports)
        return tuple(families)

    def fitted(self, support: str | None) -> FittedSupport:
        """The best weight on a support.

        Args:
            support: one of `families`, as text; None: all positions, with the dense weight.
        """
        return self._fitted_by_text[support]

    def block_problems(self, groups: int, support: str | None) -> list[BlockProblem]:
        """The problem of g low-rank blocks in each convolution group, of any rank.

        Args:
            groups: g.
            support: one of `families`, as text; None: all positions.
        """
        structure = groups, support
        if structure != self._last_structure:
            self._last_problems = []  # freed before others take as much memory
            self._last_problems = self._new_problems(groups, self.fitted(support))
            self._last_structure = structure
        return self._last_problems

    def solved_blocks(self, groups: int, support: str | None, rank: int, sweeps: int) -> list[list[Block]]:
        """The blocks of each convolution group.

        Args:
            groups: g, see `block_problems`.
            support: likewise.
            rank: r.
            sweeps: the most over the blocks, until they have settled.
        """
        asked = groups, support, rank, sweeps
        if asked != self._last_rank:
            problems = self.block_problems(groups, support)
            self._last_blocks = [problem.solve(rank, sweeps) for problem in problems]
            self._last_rank = asked
        return self._last_blocks

    def _new_problems(self, groups: int, fitted: FittedSupport) -> list[BlockProblem]:
        conv_groups = self.slot.shape.groups
        supports = fitted.support.reshape(conv_groups, -1)  # (G, n)
        # The best weight on the support is known from the elimination that chose it.
        targets = np.split(fitted.kept, conv_groups)  # (m/G, |T|) each
        problems = []
        for regression, kept, target in zip(self.regressions, supports, targets, strict=True):
            # Single numbers are enough to compare candidates, in half the time.
            problems.append(BlockProblem.of(regression, kept, groups, target, single=True))
        return problems

    @cached_property
    def regressions(self) -> list[Regression]:
        """The problem of each convolution group, with its moments as they are."""
        conv_groups = self.slot.shape.groups
        weights = self.weight.reshape(conv_groups, -1, self.inputs)  # (G, m/G, n)
        regressions = []
        for dense, moments in zip(weights, self.moments, strict=True):
            regressions.append(Regression.of(dense, moments, None, 0.0))
        return regressions

    @cached_property
    def _fitted_families(self) -> tuple[dict[int, FittedSupport], ...]:
        if not self.slot.spatial:
            return ()  # a kernel of one position has nothing to choose from
        groups = self.slot.shape.groups
        return fitted_supports(self.weight, groups, self.moments, ridge=0.0, inverses=self._inverses)

    @cached_property
    def _fitted_by_text(self) -> dict[str | None, FittedSupport]:
        _, channels, height, width = self.weight.shape
        inputs = channels * self.slot.shape.groups
        everything = np.ones((inputs, height * width), bool)  # (C_in, kh*kw)
        by_text: dict[str | None, FittedSupport] = {}
        by_text[None] = FittedSupport.of(everything, self.weight)
        for family in self._fitted_families:
            for fitted in family.values():
                by_text[support_to_text(fitted.support)] = fitted
        return by_text
