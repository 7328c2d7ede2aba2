"""What each layer of a network may become, with its costs and the loss predicted from calibration data."""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import (
    FIRST_COMPLETED,
    CancelledError,
    Executor,
    Future,
    ThreadPoolExecutor,
    wait,
)
from contextlib import closing
from dataclasses import dataclass, replace
from threading import Event
from typing import Protocol, TypeVar

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
from rankfold.planning.kinds import PIXEL, LayerStudy, Supports, candidates_of, layer_entries, uses_supports
from rankfold.planning.rounding import LayerRounding, RoundingLosses
from rankfold.planning.statistics import LayerStatistics
from rankfold.progress import Progress

Found = TypeVar("Found")

# (n, n) matrices for each group of a layer of n inputs: moments, their inverse, what is eliminated, blocks.
MATRICES = 8
MEMORY = 2 << 30  # bytes that layers may take together; the widest two of ResNet-50 would take more


def layer_choices(
    slots: Sequence[LayerSlot],
    model: nn.Module,
    known: LayerStatistics,
    costing: Costing,
    budgeted: Sequence[str],
    *,
    progress: Progress,
    threads: int,
    runner: LayerRunner | None = None,
) -> tuple[LayerChoices, ...]:
    """The candidates of every layer that an optimum may need, with their losses.

    Args:
        slots: the layers.
        model: the dense network.
        known: what calibration found of the layers that may be compressed.
        costing: prices what they may become.
        budgeted: the quantities that budgets are kept on, or that are to be small.
        progress: hears of each layer that is ready.
        threads: layers at a time, each on one thread; fewer where they are so wide that they would take more
            than 2 GiB together.
        runner: finds the layers elsewhere, such as `cluster.RayLayers`; None: threads of this process do.
    """

    def work(slot: LayerSlot) -> LayerWork:
        weight = None
        if _work(slot):
            weight = dense_weight(model.get_submodule(slot.name))
        return LayerWork(slot, weight, known.of(slot.name), costing, tuple(budgeted))

    # What takes longest begins first, so that all threads end at much the same time.
    # The factorisations of a layer grow with the cube of its n inputs.
    order = sorted(slots, key=_work, reverse=True)
    choices: dict[str, LayerChoices] = {}
    with closing((runner or LayerThreads(threads))(work, order)) as found:
        for layer in found:
            choices[layer.name] = layer
            progress.advance()
    return tuple(choices[slot.name] for slot in slots)


class LayerRunner(Protocol):
    """Who finds what layers may become, several at a time."""

    def __call__(
        self, work: Callable[[LayerSlot], LayerWork], order: Sequence[LayerSlot]
    ) -> Generator[LayerChoices]:
        """What each layer may become, as it is ready; nothing goes on where it is closed before.

        Args:
            work: on a layer, with all that it needs.
            order: the layers, those first that take longest.
        """


@dataclass(frozen=True)
class LayerThreads:
    """Layers on threads of this process.

    Attributes:
        threads: layers at a time.
    """

    threads: int

    def __call__(
        self, work: Callable[[LayerSlot], LayerWork], order: Sequence[LayerSlot]
    ) -> Generator[LayerChoices]:
        """As `LayerRunner`."""
        stopping = Event()

        def found(slot: LayerSlot) -> LayerChoices:
            return work(slot).choices(stopping)

        # One thread of the BLAS for each layer: most factorisations are small, and more threads would only
        # wait for each other.
        with threadpool_limits(1, "blas"), ThreadPoolExecutor(self.threads) as pool:
            try:
                yield from in_threads(pool, found, order, self.threads)
            finally:
                # After Ctrl-C, or an error in one layer: a wide one would go on for minutes. Those that have
                # begun stop at their next candidate, the others never begin.
                stopping.set()
                pool.shutdown(wait=False, cancel_futures=True)


def in_threads(
    pool: Executor, found: Callable[[LayerSlot], Found], order: Sequence[LayerSlot], threads: int
) -> Iterator[Found]:
    """What is found of layers, as it is ready; so many at a time, and no more than there is memory for.

    A layer that would take too much waits for another wide one to end, while narrow ones go first.
    """
    waiting = list(order)
    running: dict[Future[Found], int] = {}
    while waiting or running:
        for slot in tuple(waiting):
            if len(running) == threads:
                break
            needed = memory_of(slot)
            if not running or sum(running.values()) + needed <= MEMORY:
                running[pool.submit(found, slot)] = needed
                waiting.remove(slot)
        done, _ = wait(running, return_when=FIRST_COMPLETED)
        for future in done:
            del running[future]
            yield future.result()


def memory_of(slot: LayerSlot) -> int:
    """Bytes that a layer takes while its candidates are found, about."""
    return MATRICES * 8 * slot.shape.groups * _work(slot) ** 2


def _work(slot: LayerSlot) -> int:
    """Grows with the time that a layer takes; 0 for one that stays dense, with its bits."""
    if slot.why_dense and slot.widths is None:
        return 0
    return slot.shape.n


def dense_weight(module: nn.Module) -> np.ndarray:
    """(m, C_in/G, kh, kw) what a layer's candidates start from: its weight, on the processor.

    In float64: supports are chosen by differences of nearly equal errors.
    """
    weight = module.weight
    assert isinstance(weight, nn.Parameter)  # slots of other modules stay dense
    values: np.ndarray = weight.detach().cpu().double().numpy()
    if values.ndim == 2:
        # That of a fully connected layer is a kernel of one position.
        values = values[..., None, None]
    return values


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


@dataclass(frozen=True)
class KindLosses:
    """The predicted loss of one layer as one thing that it may become.

    Attributes:
        kind: it, with all that is chosen on data.
        change: of the weight that it stands for, in nats per image.
        rounding: what rounding adds, where layers may have other bits.
    """

    kind: LayerKind
    change: float
    rounding: RoundingLosses | None

    def loss(self, entry: LayerPlan) -> float:
        """Under an entry's bits."""
        if self.rounding is None or entry.weight_bits is None or entry.input_bits is None:
            return self.change
        return self.change + self.rounding.of(entry.weight_bits, entry.input_bits)


@dataclass(frozen=True)
class UnstudiedLosses:
    """The predicted losses of one layer whose weight is kept, if the layer is.

    Attributes:
        skipping: where the network does without it; infinite where that is not known.
    """

    skipping: float

    @classmethod
    def of_layer(cls, slot: LayerSlot, known: LayerStatistics) -> UnstudiedLosses:
        """Those of a layer of a network, of which calibration found this."""
        return cls(known.skipping.get(slot.name, math.inf))

    def of(self, kind: LayerKind) -> KindLosses:
        """The kind, and its loss: none, also of fewer channels, which nobody else reads."""
        return KindLosses(kind, 0.0 if kind.computes else self.skipping, None)


class LayerLosses:
    """The predicted losses of what one layer may become.

    Args:
        study: the layer.
        sensitivity: of the loss to its weight.
        rounding: what is known of rounding it; None: all that it may become has its own bits, and what these
            cost is not counted.
    """

    def __init__(
        self, study: LayerStudy, sensitivity: LayerSensitivity, rounding: LayerRounding | None
    ) -> None:
        self.study, self._sensitivity, self._rounding = study, sensitivity, rounding

    @classmethod
    def on(cls, slot: LayerSlot, weight: np.ndarray, known: LayerStatistics) -> LayerLosses:
        """Those of a layer of a network.

        Args:
            slot: the layer.
            weight: its own (`dense_weight`).
            known: what calibration found.
        """
        others = {shape: found.second for shape, found in known.others.get(slot.name, {}).items()}
        sensitivity, rounding = known.sensitivities[slot.name], known.rounding.get(slot.name)
        # A window of one pixel is the layer itself, with a bias.
        windows: dict[AnyWindow, LayerSensitivity] = {PIXEL: known.as_biased(slot.name)}
        windows.update(known.windows.get(slot.name, {}))
        rounded = None
        if rounding is not None:
            rounded = {PIXEL: rounding.sensitivity, **rounding.windows}
        second = known.fitted(slot.name).second
        study = LayerStudy(
            slot,
            weight,
            second,
            others,
            windows,
            rounded,
            skipping_loss=known.skipping.get(slot.name, math.inf),
        )
        return cls(study, sensitivity, rounding)

    def of(self, kind: LayerKind) -> KindLosses:
        """The kind with all that is chosen on data, and its losses."""
        change = 0.0
        part = candidates_of(kind)
        if kind.changes_weight:
            kind = part.settled(kind, self.study)
            change = part.loss(kind, self.study, self._sensitivity)
        if self._rounding is None:
            return KindLosses(kind, change, None)
        stored = part.stored(kind, self.study, self._rounding.sensitivity)
        return KindLosses(kind, change, RoundingLosses(stored, self._rounding))
