"""`KindCandidates`: how a layer may become one of a kind, and what is predicted to be lost then."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from rankfold.arguments import shown
from rankfold.errors import InputError
from rankfold.mapping.window_cover import AnyWindow
from rankfold.mapping.window_matrix import window_shape
from rankfold.plan import LayerPlan, support_to_text
from rankfold.plan.kinds import LayerKind, has_part, kinds, part_of
from rankfold.planning.exact.candidate import Need
from rankfold.planning.exact.slots import LayerSlot
from rankfold.planning.kinds.stored import Stored, StoredWeight
from rankfold.planning.kinds.study import PIXEL, LayerStudy
from rankfold.workload import ConvShape
from rankfold.workload.shape import Pair

if TYPE_CHECKING:
    from rankfold.calibration.sensitivity import LayerSensitivity

STEP = "candidates"  # what this step is called where kinds are registered

Supports = Mapping[int, np.ndarray]  # e -> (C_in, kh*kw) booleans


@dataclass(frozen=True)
class ChosenSupport:
    """Kernel positions that were chosen for a layer.

    Attributes:
        entries: e, positions of each input channel.
        text: the positions (see `plan.support`).
    """

    entries: int
    text: str


class KindCandidates(ABC):
    """What planning knows of a kind of layer.

    Attributes:
        stages: matrices that a layer of the kind stores. Kinds of fewer come first, and of candidates
            that are equal in all that counts the first one stays.
        on_supports: whether it may have candidates on supports. They take long to choose, and are left out
            where no kind that a layer may become asks for them.
        on_bypasses: whether it asks which layers some way through the network goes around
            (`LayerSlot.bypassed`), which is found out by a run of its own.
        on_channels: whether it asks which channels one layer alone reads (`LayerSlot.given`), likewise.
        on_linear: whether fully connected layers may become it, where they are planned.
        on_depthwise: whether depthwise convolutions may, which keep the weights of the channels that are
            left, so that nothing has to be known of them.
        on_unstudied: whether layers may of whose weights nothing is known (`LayerSlot.is_unstudied`).
    """

    stages: int = 1
    on_supports: bool = True
    on_bypasses: bool = False
    on_channels: bool = False
    on_linear: bool = False
    on_depthwise: bool = False
    on_unstudied: bool = False

    @abstractmethod
    def entries(self, slot: LayerSlot, support: ChosenSupport | None) -> Iterator[LayerPlan]:
        """What a layer may become as this kind: its entries in plans, before their costs or losses are known.

        Args:
            slot: the layer.
            support: only those on just these kernel positions are asked for; None: those on all.
        """

    def reads(self, slot: LayerSlot) -> tuple[ConvShape, ...]:
        """Other patches of the layer's inputs than its own, as shapes of convolutions that read them, whose
        moments `loss` asks for (`LayerStudy.second_of`).
        """
        return ()

    def windows(self, slot: LayerSlot) -> tuple[AnyWindow, ...]:
        """Windows (a, b) of output pixels, or of parts of the plane, of which `loss` asks how sensitive the
        network is to their matrices (`LayerStudy.window`).
        """
        return ()

    def linked(self, slot: LayerSlot, kind: LayerKind) -> tuple[int | None, Need | None]:
        """How many of the channels that it alone reads a layer reads as this, None for all; and what has to
        be true of another layer (`planning.exact.linked`).
        """
        return None, None

    def made_for(self, kind: LayerKind) -> tuple[AnyWindow, ...]:
        """The windows whose inputs a layer of the kind has its weights made for, of each of its matrices; of
        one pixel these are the layer's own patches.
        """
        return (PIXEL,)

    def settled(self, kind: LayerKind, study: LayerStudy) -> LayerKind:
        """The kind with everything that is chosen on data, such as a support, for its loss and for the plan.

        Only asked for what is left after costs alone have dropped candidates.

        Args:
            kind: what the layer becomes, from one of `entries`.
            study: the layer, with what is computed once for all that it may become.
        """
        return kind

    @abstractmethod
    def loss(self, kind: LayerKind, study: LayerStudy, sensitivity: LayerSensitivity) -> float:
        """The predicted increase of the loss, in nats per image, where a layer becomes this.

        Args:
            kind: what it becomes, from one of `entries`, settled.
            study: the layer, with what is computed once for all that it may become.
            sensitivity: of the loss to the layer's weight.
        """

    def stored(self, kind: LayerKind, study: LayerStudy, sensitivity: LayerSensitivity) -> tuple[Stored, ...]:
        """What a layer stores as this, for each part of its plane, to predict what rounding it loses.

        Args:
            kind: what it becomes, from one of `entries`, settled.
            study: the layer, with what is computed once for all that it may become.
            sensitivity: of the loss to errors of the layer's weight that nothing has made small.

        Raises:
            InputError: the kind does not say.
        """
        raise InputError(
            f"{kind.name} layers do not say what rounding costs them; give all layers the same bits, or name "
            "other kinds"
        )


class WeightCandidates(KindCandidates):
    """A kind whose layers stand for a dense one with another weight: it says what is lost."""

    def loss(self, kind: LayerKind, study: LayerStudy, sensitivity: LayerSensitivity) -> float:
        """That of the change of the weight."""
        # Here, not above: it brings torch, which candidates and their costs do without.
        from rankfold.calibration.sensitivity import predicted_loss

        return predicted_loss(study.weight, self.replacement(kind, study), sensitivity)

    def stored(self, kind: LayerKind, study: LayerStudy, sensitivity: LayerSensitivity) -> tuple[Stored, ...]:
        """The replacement, in one matrix."""
        return (StoredWeight(study.weight, sensitivity, self.replacement(kind, study)),)

    @abstractmethod
    def replacement(self, kind: LayerKind, study: LayerStudy) -> np.ndarray:
        """The weight that stands in for a layer's own when its loss is predicted.

        Args:
            kind: what the layer becomes, from one of `entries`.
            study: the layer, with what is computed once for all that it may become.

        Returns:
            (m, C_in/G, kh, kw).
        """


def single_pixel(slot: LayerSlot) -> tuple[Pair, ...]:
    """The window of one pixel, whose inputs are the layer's own patches; none where kernels are dilated.

    There the box of a pixel has inputs between those of the patch, which the layer's moments know nothing of.
    """
    if window_shape(slot.shape, PIXEL).n != slot.shape.n:
        return ()
    return (PIXEL,)


def candidates_of(kind: LayerKind | type[LayerKind]) -> KindCandidates:
    """What planning knows of a kind.

    Raises:
        InputError: it is not registered, or not for planning.
    """
    return part_of(kind, STEP, KindCandidates)  # type: ignore[type-abstract]


def windows_made_for(kind: LayerKind) -> tuple[AnyWindow, ...]:
    """Those whose matrices a layer of this kind consists of; (1, 1) alone: its own weight."""
    if has_part(type(kind), STEP):
        return candidates_of(kind).made_for(kind)
    return (PIXEL,)


def labels() -> tuple[str, ...]:
    """What the kinds that planning knows are called, such as `low-rank`, beside dense."""
    return tuple(_label(kind) for kind in kinds() if has_part(kind, STEP) and kind.changes_weight)


def chosen_labels(names: Iterable[str] | None) -> frozenset[str] | None:
    """The kinds that layers may become beside dense; None: all.

    Raises:
        InputError: there are no such kinds.
    """
    if names is None:
        return None
    allowed = ", ".join(labels())
    if isinstance(names, str) or not isinstance(names, Iterable):
        raise InputError(f"kinds must be names of kinds, some of {allowed}, not {shown(names)}")
    chosen = list(names)
    for name in chosen:
        if name not in labels():
            raise InputError(f"kinds has {name!r:.60}, which no plan chooses; there are {allowed}")
    return frozenset(chosen)


def _label(kind: type[LayerKind]) -> str:
    return kind.variant or kind.name


def uses_supports(slot: LayerSlot) -> bool:
    """Whether anything that the layer may become lies on a support."""
    return any(part.on_supports for part in _parts(slot))


def uses_channels(slot: LayerSlot) -> bool:
    """Whether anything that the layer may become asks which channels one layer alone reads."""
    return any(part.on_channels for part in _parts(slot))


def uses_bypasses(slot: LayerSlot) -> bool:
    """Whether anything that the layer may become asks what goes around it."""
    return any(part.on_bypasses for part in _parts(slot))


def patches_read(slot: LayerSlot) -> tuple[ConvShape, ...]:
    """The patches beside the layer's own that any of its candidates needs the moments of, each once."""
    shapes: dict[ConvShape, None] = {}
    for part in _parts(slot):
        shapes.update(dict.fromkeys(part.reads(slot)))
    return tuple(shapes)


def windows_computed(slot: LayerSlot) -> tuple[AnyWindow, ...]:
    """The windows of output pixels that any of the layer's candidates computes at once, each once."""
    windows: dict[AnyWindow, None] = {}
    for part in _parts(slot):
        windows.update(dict.fromkeys(part.windows(slot)))
    return tuple(windows)


def layer_entries(slot: LayerSlot, families: Iterable[Supports]) -> Iterator[LayerPlan]:
    """All that a layer may become: as it is or decomposed, then everything on each support.

    Args:
        slot: the layer.
        families: supports of each number of positions, in each way that they were chosen; none for a
            layer that has no positions to choose from.
    """
    parts = _parts(slot)
    for part in parts:
        yield from part.entries(slot, None)
    for supports in families:
        for entries, support in sorted(supports.items()):
            if entries >= support.shape[1]:
                continue  # a support of all positions is none
            chosen = ChosenSupport(entries, support_to_text(support))
            for part in parts:
                yield from part.entries(slot, chosen)


def _parts(slot: LayerSlot) -> list[KindCandidates]:
    """Of all kinds that the layer may become."""
    parts = []
    for kind in kinds():
        if not has_part(kind, STEP):
            continue
        if kind.changes_weight and slot.kinds is not None and _label(kind) not in slot.kinds:
            continue
        part = candidates_of(kind)
        if kind.changes_weight and slot.why_dense and not _offered_as_it_is(part, slot):
            continue  # its mapping may still be chosen
        if kind.changes_weight and slot.shape.is_linear and not part.on_linear:
            continue
        parts.append(part)
    # Sorting is stable: kinds of as many stages stay in the order in which they were registered.
    return sorted(parts, key=lambda part: part.stages)


def _offered_as_it_is(part: KindCandidates, slot: LayerSlot) -> bool:
    """Whether a layer that keeps its weight may become one of a kind all the same."""
    depthwise = slot.is_depthwise and part.on_depthwise
    return depthwise or (slot.is_unstudied and part.on_unstudied)
