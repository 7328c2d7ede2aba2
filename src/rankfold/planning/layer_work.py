"""`LayerWork`: all that it takes to find what one layer may become, with costs and predicted losses."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from concurrent.futures import CancelledError
from dataclasses import dataclass, replace
from threading import Event

import numpy as np

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
from rankfold.planning.kinds import Supports, candidates_of, layer_entries, uses_supports
from rankfold.planning.layer_losses import LayerLosses, UnstudiedLosses
from rankfold.planning.statistics import LayerStatistics


@dataclass(frozen=True)
class LayerWork:
    """One layer, with all that it takes to find what it may become.

    Attributes:
        slot: the layer.
        weight: its own (`dense_weight`); None for one that stays dense, with its bits.
        known: what calibration found of it.
        costing: prices what it may become.
        budgeted: the quantities that count.
    """

    slot: LayerSlot
    weight: np.ndarray | None
    known: LayerStatistics
    costing: Costing
    budgeted: tuple[str, ...]

    def choices(self, stopping: Event | None = None) -> LayerChoices:
        """What the layer may become.

        Args:
            stopping: set when it shall stop; None: it never does.

        Raises:
            CancelledError: it shall stop.
        """
        finder = _ChoiceFinder(self.costing, self.budgeted, stopping or Event())
        # A layer that keeps its weight has no moments and needs none.
        if self.weight is None:
            losses: LayerLosses | UnstudiedLosses = UnstudiedLosses.of_layer(self.slot, self.known)
        else:
            losses = LayerLosses.on(self.slot, self.weight, self.known)
        return finder.choices(self.slot, losses)


@dataclass(frozen=True)
class _ChoiceFinder:
    """Finds what layers may become.

    Attributes:
        costing: prices what layers may become.
        budgeted: the quantities that count.
        stopping: set when all shall stop.
    """

    costing: Costing
    budgeted: tuple[str, ...]
    stopping: Event

    def choices(self, slot: LayerSlot, losses: LayerLosses | UnstudiedLosses) -> LayerChoices:
        """What one layer may become.

        Raises:
            CancelledError: all shall stop.
        """
        dense = self.costing.candidate(slot.entry, self.budgeted)
        families: tuple[dict[int, np.ndarray], ...] = ()
        if isinstance(losses, LayerLosses) and not slot.why_dense and uses_supports(slot):
            families = losses.study.families
        left = self._worth_a_loss(slot, families)
        (dense,) = self._priced([dense], losses)
        # And what another one beats in its loss as well.
        best = pareto(self._priced(left, losses), self.budgeted)
        return LayerChoices(slot.shape, dense, best, slot.why_dense, slot.why_bits)

    def _worth_a_loss(self, slot: LayerSlot, families: Sequence[Supports]) -> tuple[Candidate, ...]:
        """The candidates that their costs alone do not rule out, of all bits that the layer may have."""
        if slot.widths is None:
            own = self._costed(slot, self._entries(slot, families), ())
            return self._left([one for (one,) in own])
        found: list[Candidate] = []
        for variant in slot.variants(self.costing.array):
            found.extend(self._of_inputs(variant, self._entries(variant, families), slot.widths.inputs))
        return self._left(found)

    def _entries(self, slot: LayerSlot, families: Sequence[Supports]) -> list[LayerPlan]:
        """All that a layer may become, under all mappings."""
        return self.costing.with_windows(layer_entries(slot, families), self.budgeted)

    def _of_inputs(
        self, slot: LayerSlot, every: Sequence[LayerPlan], widths: Sequence[int]
    ) -> list[Candidate]:
        """Those of weights of one width, under inputs of each of some rising widths.

        Fewer bits of inputs cost no more. Where the fewest cost as much as the most, those between do, too.
        """
        costed = self._costed(slot, every, widths)
        narrow, wide = [costs[0] for costs in costed], [costs[-1] for costs in costed]
        if all(self._cost_alike(*pair) for pair in zip(narrow, wide, strict=True)):
            return list(self._left(wide))
        found = [*self._left(narrow), *self._left(wide)]
        for number in range(1, len(widths) - 1):
            found.extend(self._left([costs[number] for costs in costed]))
        return found

    def _costed(
        self, slot: LayerSlot, entries: Iterable[LayerPlan], widths: Sequence[int]
    ) -> list[list[Candidate]]:
        """Each entry under inputs of each of some bits; of none: of its own."""
        costed = []
        for entry in entries:
            if self.stopping.is_set():
                raise CancelledError
            channels, needs = candidates_of(entry.kind).linked(slot, entry.kind)
            found = self.costing.candidates(entry, widths or (entry.input_bits,), self.budgeted)
            costed.append([replace(one, channels=channels, needs=needs) for one in found])
        return costed

    def _cost_alike(self, one: Candidate, other: Candidate) -> bool:
        return all(one.cost(quantity) == other.cost(quantity) for quantity in self.budgeted)

    def _left(self, candidates: Sequence[Candidate]) -> tuple[Candidate, ...]:
        """Those that their costs do not rule out."""
        # Costs are known at once, losses take a decomposition each: what no loss could save goes first.
        # Before all else what saves nothing, so that layers stay as they are where that costs as much.
        return without_hopeless(cheaper_than_lossless(candidates, self.budgeted), self.budgeted)

    def _priced(
        self, candidates: Sequence[Candidate], losses: LayerLosses | UnstudiedLosses
    ) -> tuple[Candidate, ...]:
        """The candidates with their predicted losses."""
        # Kind by kind, as several mappings and bits of one lose the same but for rounding.
        by_kind: dict[LayerKind, list[int]] = {}
        for number, candidate in enumerate(candidates):
            by_kind.setdefault(candidate.entry.kind, []).append(number)
        priced = list(candidates)
        for kind, numbers in by_kind.items():
            if self.stopping.is_set():
                raise CancelledError
            found = losses.of(kind)
            for number in numbers:
                entry = candidates[number].entry
                settled = replace(entry, kind=found.kind)
                priced[number] = replace(candidates[number], entry=settled, loss=found.loss(entry))
        return tuple(priced)
