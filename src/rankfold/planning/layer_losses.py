"""The predicted losses of what one layer may become, from calibration data."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from torch import nn

from rankfold.calibration.sensitivity import LayerSensitivity
from rankfold.mapping.window_cover import AnyWindow
from rankfold.plan import LayerPlan
from rankfold.plan.kinds import LayerKind
from rankfold.planning.exact.slots import LayerSlot
from rankfold.planning.kinds import PIXEL, LayerStudy, candidates_of
from rankfold.planning.rounding import LayerRounding, RoundingLosses
from rankfold.planning.statistics import LayerStatistics


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
class KindLosses:
    """The predicted loss of one layer as one thing that it may become.

    Attributes:
        kind: it, with all that is chosen on data.
        change: of the weight that it stands for, in nats per image.
        rounding: what rounding adds, where that is counted.
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
        loss = 0.0 if kind.computes else self.skipping
        return KindLosses(kind, loss, None)


class LayerLosses:
    """The predicted losses of what one layer may become.

    Args:
        study: the layer.
        sensitivity: of the loss to its weight.
        rounding: what is known of rounding it; None: what that costs is not counted.
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
