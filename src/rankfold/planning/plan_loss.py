"""`PlanLosses`: the predicted loss of any plan whose layers have matrices to compare, whoever made it.

The planner predicts what each candidate of a layer loses before it chooses; here a plan is given, and what is
predicted is the loss of the network as surgery makes it: of each layer that changes, of W, its weight or the
shifted copies of it that a window starts from, and M, what became of it,

    1/2 E[<W - M, G>^2]        (see `calibration.sensitivity`),

summed over the layers; skipped ones lose what their outputs tell (`calibration.skipping`), and outputs that
nothing reads lose nothing. What rounding costs is not counted. So plans of other planners, settings by hand
and pruned networks stand on one scale with those of the planner.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from torch import Tensor, nn

from rankfold.calibration.blocked import WHY, blocked
from rankfold.calibration.branches import branches
from rankfold.calibration.outputs import OutputModel
from rankfold.calibration.readers import sole_readers
from rankfold.calibration.sensitivity import predicted_loss
from rankfold.errors import InputError
from rankfold.mapping.window_cover import AnyWindow, PlanePart
from rankfold.mapping.window_matrix import window_weight
from rankfold.models.device import device_of
from rankfold.plan import LayerPlan, Plan, TrimmedLayer
from rankfold.plan.channels import text_to_channels
from rankfold.planning.accuracy import MeasureSettings, PlanAccuracy
from rankfold.planning.data import PlanningData, default_images, planning_data
from rankfold.planning.kinds import PIXEL, windows_made_for
from rankfold.planning.request import check_samples
from rankfold.planning.statistics import LayerStatistics, layer_statistics
from rankfold.surgery.kinds import surgery_of
from rankfold.training.data import ImageData
from rankfold.training.loaders import LoaderData


class PlanLosses:
    """Predicts the losses of plans of one network, all from one calibration.

    Args:
        networks: makes what plans say of the dense network, which it has.
        known: what calibration found of the layers that plans change, and of their windows.
    """

    def __init__(self, networks: PlanAccuracy, known: LayerStatistics) -> None:
        self._networks, self._known = networks, known

    @classmethod
    def on(
        cls,
        model: nn.Module,
        data: ImageData | LoaderData | Iterable[Any] | PlanningData,
        plans: Sequence[Plan],
        *,
        images: int | None = None,
        seed: int = 0,
        outputs: OutputModel | str | None = None,
    ) -> PlanLosses:
        """For some plans, calibrated on data.

        Args:
            model: the dense network with its trained weights; it stays as it is.
            data: as for `best_plan`; targets are not needed.
            plans: those that `of` will be asked for; calibration gathers what their layers need.
            images: samples to calibrate on; None: 512, or 32 where images are larger than 64x64.
            seed: of the images that are drawn.
            outputs: as for `best_plan`.

        Raises:
            InputError: there are no images, or no such seed; a plan gives other layers other sizes, so that
                none is comparable with the dense one; or see `layer_statistics`.
        """
        check_samples(images, seed=seed)
        samples = planning_data(data, device_of(model))
        images = images or default_images(samples)
        windows = planned_windows(plans)
        batches = samples.calibration(images, seed)
        found = blocked(model, batches, list(windows))
        for name in [name for name in windows if name in found]:
            raise InputError(f"layer {name}: {WHY}, so that what changing it loses cannot be predicted")
        skipped = [layer.name for plan in plans for layer in plan.layers if not layer.kind.computes]
        skippable = list(dict.fromkeys(skipped))
        # Not of skipped layers alone: what feeds them loses nothing more, whatever it becomes.
        bypasses = branches(model, batches, list(windows)) if skippable else None
        known = layer_statistics(
            model,
            batches,
            list(windows),
            seed,
            None,
            windows,
            skippable=skippable,
            bypasses=bypasses,
            outputs=outputs,
        )
        trimmed = any(isinstance(layer.kind, TrimmedLayer) for plan in plans for layer in plan.layers)
        if trimmed:
            known = replace(known, readers=sole_readers(model, batches, list(windows)))
        return cls.of_statistics(model, samples, known, images=images, seed=seed)

    @classmethod
    def of_statistics(
        cls, model: nn.Module, samples: PlanningData, known: LayerStatistics, *, images: int, seed: int
    ) -> PlanLosses:
        """From what calibration on so many of these samples found, under a seed."""
        settings = MeasureSettings(seed=seed, calibrated=images)
        networks = PlanAccuracy(model, samples, settings, known.moments, known.window_moments)
        return cls(networks, known)

    @property
    def unit(self) -> str:
        """Of losses."""
        return self._known.unit

    def of(self, plan: Plan) -> float:
        """The predicted loss of one of the plans, per image before any training, in `unit`.

        Raises:
            InputError: it is for another network, or another layer reads constant outputs of a trimmed one
                that stays a convolution.
        """
        return sum(self.by_layer(plan).values())

    def by_layer(self, plan: Plan) -> dict[str, float]:
        """The same of each layer that changes, by name."""
        network = self.network(plan)
        losses = {}
        idle = {layer.name for layer in plan.layers if not layer.kind.computes}
        feeding = self._known.bypasses.feeding
        for layer in plan.changed:
            # What feeds an idle layer alone loses nothing more.
            if any(layer.name in feeding.get(other, ()) for other in idle):
                losses[layer.name] = 0.0
                continue
            if layer.name in idle:
                losses[layer.name] = self._known.skipping[layer.name]
                continue
            matrices = _matrices(layer, network.get_submodule(layer.name))
            unread = self._unread(layer, plan)
            of_windows = zip(windows_made_for(layer.kind), matrices, strict=True)
            losses[layer.name] = sum(self._of_matrix(layer, *one, unread) for one in of_windows)
        return losses

    def measuring(self, settings: MeasureSettings) -> PlanAccuracy:
        """What measures the accuracy of the plans, on samples that nothing here was calibrated on.

        Args:
            settings: how; what they say was calibrated on is this calibration.
        """
        own = self._networks.settings
        return self._networks.under(replace(settings, seed=own.seed, calibrated=own.calibrated))

    def network(self, plan: Plan) -> nn.Module:
        """The dense network with the weights of every layer's choice in it; nothing is quantised."""
        return self._networks.compressed(plan)

    def _unread(self, layer: LayerPlan, plan: Plan) -> np.ndarray | None:
        """(m,) booleans, the outputs of a trimmed layer that are constants and that nothing reads; None: of
        any other layer.

        Raises:
            InputError: something reads constant outputs of a convolution, whose share no matrix has.
        """
        if not isinstance(layer.kind, TrimmedLayer):
            return None
        groups, of_group, _ = self._known.sensitivities[layer.name].gradient.shape
        outputs = groups * of_group
        constant = ~text_to_channels(layer.kind.gives, outputs)
        unread = constant & ~self._read(layer.name, outputs, plan)
        if layer.kind.window is None and np.any(constant & ~unread):
            raise InputError(
                f"layer {layer.name} has no predicted loss: it is trimmed and has constant outputs that "
                "others read; give it windows, or trim the layer that reads them"
            )
        return unread

    def _read(self, name: str, outputs: int, plan: Plan) -> np.ndarray:
        """(m,) booleans, the outputs of a layer that anything may read."""
        if name not in self._known.readers:
            return np.ones(outputs, bool)
        reader = plan.layer(self._known.readers[name]).kind
        if isinstance(reader, TrimmedLayer):
            return text_to_channels(reader.reads, outputs)
        return np.full(outputs, reader.computes)

    def _of_matrix(
        self, layer: LayerPlan, window: AnyWindow, matrix: Tensor, unread: np.ndarray | None
    ) -> float:
        """What the matrix of a window of a layer loses against shifted copies of the layer's weight."""
        name = layer.name
        conv = self._networks.model.get_submodule(name)
        assert isinstance(conv.weight, Tensor)  # plans change convolutions and linear layers only
        before = _array(conv.weight)
        if window == PIXEL:
            after = _array(matrix).reshape(before.shape)
            sensitivity = self._known.sensitivities[name]
            if surgery_of(layer.kind).brings_bias:
                sensitivity = self._known.as_biased(name)
            return predicted_loss(before, _kept(after, before, unread), sensitivity)
        assert isinstance(conv, nn.Conv2d)  # others have no windows
        pixels = window.window if isinstance(window, PlanePart) else window
        stride = conv.stride[0], conv.stride[1]
        dilation = conv.dilation[0], conv.dilation[1]
        copies = window_weight(before, conv.groups, stride, dilation, pixels)
        after = _kept(_array(matrix), copies, unread)
        return predicted_loss(copies, after, self._known.windows[name][window])


def planned_windows(plans: Iterable[Plan]) -> dict[str, tuple[AnyWindow, ...]]:
    """The layers that plans change, with the windows of several pixels whose matrices they become.

    Raises:
        InputError: a plan takes channels out of layers.
    """
    found: dict[str, dict[AnyWindow, None]] = {}
    for plan in plans:
        for layer in plan.changed:
            _check_comparable(layer)
            found.setdefault(layer.name, {}).update(dict.fromkeys(windows_made_for(layer.kind)))
    return {name: tuple(one for one in windows if one != PIXEL) for name, windows in found.items()}


def _kept(after: np.ndarray, before: np.ndarray, unread: np.ndarray | None) -> np.ndarray:
    """The matrix (m*a*b, ...) of a window with its outputs that nothing reads as they were."""
    if unread is None:
        return after
    own = np.tile(unread, len(after) // len(unread)).reshape(-1, *[1] * (after.ndim - 1))
    return np.where(own, before, after)


def _matrices(layer: LayerPlan, module: nn.Module) -> tuple[Tensor, ...]:
    """What a layer became, as matrices to compare with its dense weight.

    Raises:
        InputError: it has none.
    """
    try:
        return surgery_of(layer.kind).matrices(module)
    except InputError as error:
        raise InputError(f"layer {layer.name} has no predicted loss: {error}") from None


def _check_comparable(layer: LayerPlan) -> None:
    if surgery_of(layer.kind).resizes_others:
        raise InputError(
            f"layer {layer.name} loses channels with those around it, so that no loss is predicted for it; "
            "give plans whose layers keep their sizes"
        )


def _array(weight: Tensor) -> np.ndarray:
    """In float64 on the processor."""
    return np.asarray(weight.detach().cpu().double().numpy())
