"""Trimmed layers: fewer channels between two layers of which one alone reads what the other one gives."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import product
from typing import TYPE_CHECKING, cast

import numpy as np

from rankfold.mapping.window_matrix import window_shape
from rankfold.plan import LayerPlan, TrimmedLayer, support_to_text
from rankfold.plan.channels import channels_in, channels_to_text
from rankfold.plan.kinds import LayerKind
from rankfold.planning.exact.candidate import Need
from rankfold.planning.exact.slots import Channels, LayerSlot
from rankfold.planning.kinds.channel_counts import given_window, largest_window
from rankfold.planning.kinds.dense import MAPPINGS
from rankfold.planning.kinds.kind import ChosenSupport, KindCandidates
from rankfold.planning.kinds.study import PIXEL, LayerStudy
from rankfold.planning.kinds.window import MAPPING
from rankfold.workload.shape import Pair

if TYPE_CHECKING:
    from rankfold.calibration.sensitivity import LayerSensitivity


class TrimmedCandidates(KindCandidates):
    """The first so many of the channels that it gives, of those that it reads, or of both: as a convolution,
    and by windows of k row tiles.

    What it gives less, the layer behind it must not read (`exact.linked`).
    """

    on_supports = False
    on_channels = True
    on_depthwise = True

    def entries(self, slot: LayerSlot, support: ChosenSupport | None) -> Iterator[LayerPlan]:
        """By falling numbers of channels."""
        if support is not None:
            return
        if slot.is_depthwise:
            yield from _of_depthwise(slot)
            return
        if slot.given is not None:
            for count in slot.given.counts:
                whole = TrimmedLayer(gives=_first(slot.given, count))
                yield from _of_channels(slot, whole, given_window(slot, count))
        if slot.read is not None:
            for count in slot.read.counts:
                whole = TrimmedLayer(reads=_first(slot.read, count))
                yield from _of_channels(slot, whole, largest_window(slot))
        if slot.given is not None and slot.read is not None:
            for read, given in product(slot.read.counts, slot.given.counts):
                both = TrimmedLayer(_first(slot.read, read), _first(slot.given, given))
                yield from _of_channels(slot, both, given_window(slot, given))

    def linked(self, slot: LayerSlot, kind: LayerKind) -> tuple[int | None, Need | None]:
        """The numbers of channels."""
        trimmed = cast(TrimmedLayer, kind)
        channels, needs = None, None
        if slot.read is not None and trimmed.reads is not None:
            channels = channels_in(trimmed.reads)
        if slot.given is not None and trimmed.gives is not None:
            needs = Need(slot.given.reader, channels_in(trimmed.gives))
        return channels, needs

    def windows(self, slot: LayerSlot) -> tuple[Pair, ...]:
        """Those of all numbers of channels."""
        found: dict[Pair | None, None] = {}
        if slot.given is not None:
            found.update(dict.fromkeys(given_window(slot, count) for count in slot.given.counts))
        if slot.read is not None:
            found[largest_window(slot)] = None
        return tuple(window for window in found if window not in (None, PIXEL))

    def made_for(self, kind: LayerKind) -> tuple[Pair]:
        """Its own, or a single pixel."""
        return (cast(TrimmedLayer, kind).window or PIXEL,)

    def settled(self, kind: LayerKind, study: LayerStudy) -> LayerKind:
        """With the inputs of windows that are worth most."""
        trimmed = cast(TrimmedLayer, kind)
        if trimmed.rows is None:
            return trimmed
        return replace(trimmed, support=support_to_text(study.trimmed.fitted(trimmed).support))

    def loss(self, kind: LayerKind, study: LayerStudy, sensitivity: LayerSensitivity) -> float:
        """That of the change of what it still gives: nobody reads the rest."""
        return study.trimmed.loss(cast(TrimmedLayer, kind))


def _of_depthwise(slot: LayerSlot) -> Iterator[LayerPlan]:
    """By falling numbers of channels, which it reads and gives alike."""
    if slot.given is not None:
        for count in slot.given.counts:
            channels = _first(slot.given, count)
            yield from _of_channels(slot, TrimmedLayer(channels, channels), None)


def _of_channels(slot: LayerSlot, whole: TrimmedLayer, window: Pair | None) -> Iterator[LayerPlan]:
    """A convolution of some channels, and windows of it by rising row tiles; of all inputs at last."""
    for mapping in MAPPINGS:
        yield replace(slot.entry, kind=whole, mapping=mapping)
    if window is None:
        return
    step, inputs = slot.array.rows, window_shape(whole.trimmed(slot.shape), window).n
    for rows in (*range(step, inputs, step), None):
        yield replace(slot.entry, kind=replace(whole, window=window, rows=rows), mapping=MAPPING)


def _first(channels: Channels, count: int) -> str:
    """The first so many; of those whose order is not known yet any, which costs as much."""
    kept = np.zeros(max(channels.order, default=count) + 1, bool)
    kept[list(channels.order[:count] or range(count))] = True
    return channels_to_text(kept)


PART = TrimmedCandidates()
