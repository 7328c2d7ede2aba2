"""What each layer of a network may become, with its costs and the loss predicted from calibration data."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from threadpoolctl import threadpool_limits
from torch import nn

from rankfold.lowrank import nested_supports, shared_supports
from rankfold.lowrank.blocks import SWEEPS, BlockProblem, joined
from rankfold.lowrank.regression import RIDGE, Regression
from rankfold.lowrank.support import columns_of
from rankfold.nn.moments import PatchMoments
from rankfold.nn.sensitivity import LayerSensitivity, predicted_loss
from rankfold.plan import DENSE, LayerPlan, text_to_support
from rankfold.planner import ENERGY, LayerChoices, pareto, without_hopeless
from rankfold.planner.costing import Costing
from rankfold.planner.entries import LayerSlot, layer_entries

WIDE = 1152  # inputs of a group, above which pairs of several groups are judged before their factors have settled
WIDE_SWEEPS = 3  # over their blocks: the ranking needs no more, and `compress` makes the chosen ones anew


def layer_choices(
    slots: Sequence[LayerSlot],
    model: nn.Module,
    sensitivities: Mapping[str, LayerSensitivity],
    moments: Mapping[str, PatchMoments],
    costing: Costing,
    budgeted: Sequence[str],
    done: Callable[[str], None],
    threads: int,
) -> tuple[LayerChoices, ...]:
    """The candidates of every layer that an optimum may need, with their losses.

    Args:
        slots: the layers.
        model: the dense network.
        sensitivities: of the layers that may be compressed.
        moments: of their inputs, those that the factors are made for.
        costing: prices what they may become.
        budgeted: the quantities that budgets are kept on, or that are to be small.
        done: hears of each layer that is ready.
        threads: layers at a time, each on one thread.
    """

    def choices(slot: LayerSlot) -> LayerChoices:
        name = slot.entry.name
        dense = costing.candidate(slot.entry, ENERGY in budgeted)
        if slot.why_dense:
            layer = None
        else:
            weight = model.get_submodule(name).weight
            assert isinstance(weight, nn.Parameter)
            layer = _Layer(slot, weight.detach().cpu().double().numpy(), moments[name], sensitivities[name])
        entries = layer_entries(slot, layer.families if layer else {})
        candidates = without_hopeless([costing.candidate(entry, ENERGY in budgeted) for entry in entries], budgeted)
        if layer:
            candidates = tuple(replace(one, loss=layer.loss(one.entry)) for one in candidates)
        return LayerChoices(slot.shape, dense, pareto(candidates, budgeted), slot.why_dense)

    # One thread of the BLAS for each layer: most factorisations are small, and more threads would only wait for each other.
    # The widest layers, which take longest, begin first, so that all threads end at much the same time.
    with threadpool_limits(1, "blas"), ThreadPoolExecutor(threads) as pool:
        running = {pool.submit(choices, slot): slot for slot in sorted(slots, key=lambda slot: slot.shape.n, reverse=True)}
        for future in as_completed(running):
            future.result()
            done(running[future].entry.name)
    found = {slot: future.result() for future, slot in running.items()}
    return tuple(found[slot] for slot in slots)


@dataclass(frozen=True)
class _Support:
    """Columns that a layer may use, and the best weight on them.

    Attributes:
        text: its name in plans; None: all columns.
        kept: (G, n) booleans.
        targets: for each convolution group (m/G, |T|).
    """

    text: str | None
    kept: np.ndarray
    targets: list[np.ndarray]


class _Layer:
    """One layer that may be compressed: replaced as its entries say, each structure once."""

    def __init__(self, slot: LayerSlot, weight: np.ndarray, moments: PatchMoments, sensitivity: LayerSensitivity) -> None:
        self._shape, self._weight, self._moments, self._sensitivity = slot.shape, weight, moments, sensitivity
        self._losses: dict[tuple[int | None, int | None, str | None], float] = {(None, None, None): 0.0}
        self._last_support: _Support | None = None
        self._last_problems: tuple[tuple[str | None, int], list[BlockProblem]] | None = None
        groups = slot.shape.groups
        self.families = (
            {how.__name__: how(weight, groups, moments.second) for how in (nested_supports, shared_supports)}
            if slot.spatial
            else {}
        )

    def loss(self, entry: LayerPlan) -> float:
        """The predicted loss of an entry."""
        key = entry.groups, entry.rank, entry.support
        if entry.kind != DENSE and key not in self._losses:
            self._losses[key] = predicted_loss(self._weight, self._replacement(entry), self._sensitivity)
        return self._losses[key]

    def _replacement(self, entry: LayerPlan) -> np.ndarray:
        support = self._support(entry.support)
        if entry.groups is None or entry.rank is None:
            assert entry.support is not None  # every layer that is neither dense nor low-rank has one here
            found = np.zeros((self._shape.groups, self._shape.m // self._shape.groups, self._weight[0].size))
            for group, kept, target in zip(found, support.kept, support.targets, strict=True):
                group[:, kept] = target
            return found.reshape(self._weight.shape)
        sweeps = WIDE_SWEEPS if self._weight[0].size > WIDE else SWEEPS
        blocks = [problem.solve(entry.rank, sweeps) for problem in self._problems(support, entry.groups)]
        return np.concatenate([joined(group) for group in blocks]).reshape(self._weight.shape)

    def _support(self, text: str | None) -> _Support:
        """A support with the refit on it, kept until another is asked for: candidates on the same support follow each other."""
        if self._last_support is None or self._last_support.text != text:
            kept = np.ones((self._shape.groups, self._weight[0].size), bool)
            if text is not None:
                kept = columns_of(text_to_support(text, self._shape), self._weight.shape, self._shape.groups)
            targets = [one.target_on(np.flatnonzero(there)) for one, there in zip(self._regressions, kept, strict=True)]
            self._last_support = _Support(text, kept, targets)
        return self._last_support

    def _problems(self, support: _Support, groups: int) -> list[BlockProblem]:
        """Those of each convolution group, kept in the same way: the ranks of one structure follow each other."""
        if self._last_problems is None or self._last_problems[0] != (support.text, groups):
            each = zip(self._regressions, support.kept, support.targets, strict=True)
            problems = [BlockProblem.of(problem, kept, groups, target).single() for problem, kept, target in each]
            self._last_problems = (support.text, groups), problems
        return self._last_problems[1]

    @cached_property
    def _regressions(self) -> list[Regression]:
        """Those of each convolution group."""
        weights = self._weight.reshape(self._shape.groups, -1, self._weight[0].size)
        return [Regression.of(dense, second, None, RIDGE) for dense, second in zip(weights, self._moments.second, strict=True)]
