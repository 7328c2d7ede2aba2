"""What each layer of a network may become, with its costs and the loss predicted from calibration data."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import CancelledError, ThreadPoolExecutor, as_completed
from dataclasses import replace
from functools import cached_property
from threading import Event

import numpy as np
from threadpoolctl import threadpool_limits
from torch import nn

from rankfold.calibration.moments import PatchMoments
from rankfold.calibration.sensitivity import LayerSensitivity, predicted_loss
from rankfold.lowrank import FittedSupport, fitted_supports
from rankfold.lowrank.blocks import SWEEPS, BlockProblem, joined
from rankfold.lowrank.regression import RIDGE, Regression
from rankfold.plan import DENSE, LayerPlan, support_to_text
from rankfold.planning.exact import ENERGY, LayerChoices, pareto, without_hopeless
from rankfold.planning.exact.costing import Costing
from rankfold.planning.exact.entries import LayerSlot, layer_entries

WIDE = 1152  # inputs of a convolution group, above which pairs of g > 1 blocks are judged before their factors have settled
WIDE_SWEEPS = 3  # over the blocks: the ranking needs no more, and `compress` makes the chosen ones anew


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
        done: called with the name of each layer when it is ready.
        threads: layers at a time, each on one thread.
    """

    stopping = Event()

    def choices(slot: LayerSlot) -> LayerChoices:
        name = slot.entry.name
        dense = costing.candidate(slot.entry, ENERGY in budgeted)
        if slot.why_dense:
            layer = None
        else:
            weight = model.get_submodule(name).weight
            assert isinstance(weight, nn.Parameter)
            layer = _Layer(slot, weight.detach().cpu().double().numpy(), moments[name], sensitivities[name])
        entries = layer_entries(slot, layer.families if layer else ())
        candidates = without_hopeless([costing.candidate(entry, ENERGY in budgeted) for entry in entries], budgeted)
        if layer:
            priced = []
            for one in candidates:
                if stopping.is_set():
                    raise CancelledError
                priced.append(replace(one, loss=layer.loss(one.entry)))
            candidates = tuple(priced)
        return LayerChoices(slot.shape, dense, pareto(candidates, budgeted), slot.why_dense)

    # One thread of the BLAS for each layer: most factorisations are small, and more threads would only wait for each other.
    # What takes longest begins first, so that all threads end at much the same time.
    order = sorted(slots, key=lambda slot: (slot.why_dense != "", -slot.shape.n))
    with threadpool_limits(1, "blas"), ThreadPoolExecutor(threads) as pool:
        running = {pool.submit(choices, slot): slot for slot in order}
        try:
            for future in as_completed(running):
                future.result()
                done(running[future].entry.name)
        finally:
            # After Ctrl-C, or an error in one layer: a wide one would go on for minutes.
            stopping.set()
            pool.shutdown(wait=False, cancel_futures=True)
    found = {slot.entry.name: future.result() for future, slot in running.items()}
    return tuple(found[slot.entry.name] for slot in slots)


class _Layer:
    """One layer that may be compressed: replaced as its entries say, each structure once."""

    def __init__(self, slot: LayerSlot, weight: np.ndarray, moments: PatchMoments, sensitivity: LayerSensitivity) -> None:
        self._shape, self._weight, self._moments, self._sensitivity = slot.shape, weight, moments, sensitivity
        self._losses: dict[tuple[int | None, int | None, str | None], float] = {(None, None, None): 0.0}
        self._last: tuple[tuple[int, str | None], list[BlockProblem]] | None = None
        # (C_in, kh*kw): all columns, as a support.
        everything = np.ones((weight.shape[1] * slot.shape.groups, weight[0, 0].size), bool)
        self._fitted: dict[str | None, FittedSupport] = {None: FittedSupport(everything, weight)}
        self.families: list[dict[int, np.ndarray]] = []
        for family in fitted_supports(weight, slot.shape.groups, moments.second) if slot.spatial else ():
            self.families.append({entries: fitted.support for entries, fitted in family.items()})
            self._fitted |= {support_to_text(fitted.support): fitted for fitted in family.values()}

    def loss(self, entry: LayerPlan) -> float:
        """The predicted loss of an entry."""
        key = entry.groups, entry.rank, entry.support
        if entry.kind != DENSE and key not in self._losses:
            self._losses[key] = predicted_loss(self._weight, self._replacement(entry), self._sensitivity)
        return self._losses[key]

    def _replacement(self, entry: LayerPlan) -> np.ndarray:
        if entry.groups is None or entry.rank is None:
            assert entry.support is not None  # every layer that is neither dense nor low-rank has one here
            return self._fitted[entry.support].weight
        sweeps = WIDE_SWEEPS if self._weight[0].size > WIDE else SWEEPS
        blocks = [problem.solve(entry.rank, sweeps) for problem in self._problems(entry.groups, entry.support)]
        return np.concatenate([joined(group) for group in blocks]).reshape(self._weight.shape)

    def _problems(self, groups: int, text: str | None) -> list[BlockProblem]:
        """Those of each convolution group; the last ones are kept, as the ranks of one structure follow each other."""
        if self._last is None or self._last[0] != (groups, text):
            fitted, conv_groups = self._fitted[text], self._shape.groups
            kept = fitted.support.reshape(conv_groups, -1)
            weights = fitted.weight.reshape(conv_groups, -1, kept.shape[1])
            each = zip(self._regressions, kept, weights, strict=True)
            problems = [BlockProblem.of(one, there, groups, weight[:, there]).in_float32() for one, there, weight in each]
            self._last = (groups, text), problems
        return self._last[1]

    @cached_property
    def _regressions(self) -> list[Regression]:
        """Those of each convolution group."""
        weights = self._weight.reshape(self._shape.groups, -1, self._weight[0].size)
        return [Regression.of(dense, second, None, RIDGE) for dense, second in zip(weights, self._moments.second, strict=True)]
