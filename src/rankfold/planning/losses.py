"""What each layer of a network may become, with its costs and the loss predicted from calibration data."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import CancelledError, ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field, replace
from threading import Event

import numpy as np
from threadpoolctl import threadpool_limits
from torch import nn

from rankfold.calibration.sensitivity import LayerSensitivity
from rankfold.mapping.window_cover import AnyWindow
from rankfold.plan import LayerPlan
from rankfold.plan.kinds import LayerKind
from rankfold.planning.exact import (
    Candidate,
    LayerChoices,
    cheaper_than_lossless,
    pareto,
    without_hopeless,
)
from rankfold.planning.exact.costing import Costing
from rankfold.planning.exact.slots import LayerSlot
from rankfold.planning.kinds import PIXEL, LayerStudy, candidates_of, layer_entries, uses_supports
from rankfold.planning.statistics import LayerStatistics
from rankfold.progress import Progress


def layer_choices(
    slots: Sequence[LayerSlot],
    model: nn.Module,
    known: LayerStatistics,
    costing: Costing,
    budgeted: Sequence[str],
    *,
    progress: Progress,
    threads: int,
) -> tuple[LayerChoices, ...]:
    """The candidates of every layer that an optimum may need, with their losses.

    Args:
        slots: the layers.
        model: the dense network.
        known: what calibration found of the layers that may be compressed.
        costing: prices what they may become.
        budgeted: the quantities that budgets are kept on, or that are to be small.
        progress: hears of each layer that is ready.
        threads: layers at a time, each on one thread.
    """
    finder = _ChoiceFinder(model, known, costing, tuple(budgeted))
    # What takes longest begins first, so that all threads end at much the same time.
    # The factorisations of a layer grow with the cube of its n inputs.
    order = sorted(slots, key=_work, reverse=True)
    choices: dict[str, LayerChoices] = {}
    # One thread of the BLAS for each layer: most factorisations are small, and more threads would only wait
    # for each other.
    with threadpool_limits(1, "blas"), ThreadPoolExecutor(threads) as pool:
        running = [pool.submit(finder.choices, slot) for slot in order]
        try:
            for future in as_completed(running):
                layer = future.result()
                choices[layer.name] = layer
                progress.advance()
        finally:
            # After Ctrl-C, or an error in one layer: a wide one would go on for minutes. Those that have
            # begun stop at their next candidate, the others never begin.
            finder.stopping.set()
            pool.shutdown(wait=False, cancel_futures=True)
    return tuple(choices[slot.name] for slot in slots)


def _work(slot: LayerSlot) -> int:
    """Grows with the time that a layer takes; 0 for one that stays dense."""
    if slot.why_dense:
        return 0
    return slot.shape.n


@dataclass(frozen=True)
class _ChoiceFinder:
    """Finds what layers may become, several at a time.

    Attributes:
        model: the dense network.
        known: what calibration found.
        costing: prices what layers may become.
        budgeted: the quantities that count.
        stopping: set when all shall stop.
    """

    model: nn.Module
    known: LayerStatistics
    costing: Costing
    budgeted: tuple[str, ...]
    stopping: Event = field(default_factory=Event)

    def choices(self, slot: LayerSlot) -> LayerChoices:
        """What one layer may become.

        Raises:
            CancelledError: all shall stop.
        """
        dense = self.costing.candidate(slot.entry, self.budgeted)
        # A layer that stays dense has no moments and needs none.
        losses = None
        families: tuple[dict[int, np.ndarray], ...] = ()
        if not slot.why_dense:
            losses = self._losses(slot)
            if uses_supports(slot):
                families = losses.study.families
        candidates = []
        for entry in self.costing.with_windows(layer_entries(slot, families), self.budgeted):
            candidates.append(self.costing.candidate(entry, self.budgeted))
        # Costs are known at once, losses take a decomposition each: what no loss could save goes first.
        # Before all else what saves nothing, so that layers stay as they are where that costs as much.
        left = cheaper_than_lossless(candidates, self.budgeted)
        left = without_hopeless(left, self.budgeted)
        if losses is not None:
            left = self._priced(left, losses)
        # And what another one beats in its loss as well.
        best = pareto(left, self.budgeted)
        return LayerChoices(slot.shape, dense, best, slot.why_dense)

    def _losses(self, slot: LayerSlot) -> _LayerLosses:
        weight = self.model.get_submodule(slot.name).weight
        assert isinstance(weight, nn.Parameter)  # slots of other modules stay dense
        # In float64 on the processor: supports are chosen by differences of nearly equal errors.
        dense = weight.detach().cpu().double().numpy()  # (m, C_in/G, kh, kw)
        moments = self.known.fitted[slot.name]
        others = {shape: found.second for shape, found in self.known.others.get(slot.name, {}).items()}
        sensitivity = self.known.sensitivities[slot.name]
        # A window of one pixel is the layer itself.
        windows: dict[AnyWindow, LayerSensitivity] = {PIXEL: sensitivity}
        windows.update(self.known.windows.get(slot.name, {}))
        study = LayerStudy(slot, dense, moments.second, others, windows)
        return _LayerLosses(study, sensitivity)

    def _priced(self, candidates: Sequence[Candidate], losses: _LayerLosses) -> tuple[Candidate, ...]:
        """The candidates with their predicted losses."""
        priced = []
        for candidate in candidates:
            if self.stopping.is_set():
                raise CancelledError
            entry, loss = losses.of(candidate.entry)
            priced.append(replace(candidate, entry=entry, loss=loss))
        return tuple(priced)


class _LayerLosses:
    """The predicted losses of what one layer may become, each computed once, whatever the mapping.

    Args:
        study: the layer.
        sensitivity: of the loss to its weight.
    """

    def __init__(self, study: LayerStudy, sensitivity: LayerSensitivity) -> None:
        self.study, self._sensitivity = study, sensitivity
        self._settled: dict[LayerKind, tuple[LayerKind, float]] = {}

    def of(self, entry: LayerPlan) -> tuple[LayerPlan, float]:
        """The entry with all that is chosen on data, and its loss in nats per image."""
        kind = entry.kind
        if not kind.changes_weight:
            return entry, 0.0
        # Several mappings of one kind lose the same.
        if kind not in self._settled:
            part = candidates_of(kind)
            settled = part.settled(kind, self.study)
            self._settled[kind] = settled, part.loss(settled, self.study, self._sensitivity)
        settled, loss = self._settled[kind]
        return replace(entry, kind=settled), loss
