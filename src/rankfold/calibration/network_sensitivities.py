"""The sensitivities of a network's layers, of the windows of their planes, and what skipping them loses.

All come from the same runs over data, forward and backward: see `calibration.sensitivity` for what they mean,
and `calibration.skipping`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from torch import nn

from rankfold.calibration.backward import Backward, LayerRun
from rankfold.calibration.layer_moments import layers_of
from rankfold.calibration.output_choice import output_loss
from rankfold.calibration.output_losses import OutputLoss, ScoreLoss
from rankfold.calibration.outputs import OutputModel
from rankfold.calibration.samples import Inputs, size_of
from rankfold.calibration.sensitivity import TEMPERATURE, LayerSensitivity
from rankfold.calibration.sensitivity_targets import (
    CentredTarget,
    CentredWindowTarget,
    SensitivityTarget,
    WindowTarget,
)
from rankfold.calibration.side_by_side import side_by_side, threads_for
from rankfold.calibration.skipping import SkippedOutputs
from rankfold.calibration.window_moments import WindowMoments
from rankfold.errors import InputError
from rankfold.mapping.window_cover import AnyWindow


def sensitivities(
    model: nn.Module,
    batches: Iterable[Inputs],
    names: Sequence[str],
    seed: int = 0,
    temperature: float = TEMPERATURE,
    *,
    outputs: OutputModel | str | None = None,
) -> dict[str, LayerSensitivity]:
    """Run `model` forward and backward over calibration data and gather the sensitivity of some layers.

    Of scores the gradients are those of the cross entropy with labels drawn from the network's own softened
    distribution, softmax(z / T): their second moment is the Gauss-Newton matrix (at T = 1 the Fisher
    information) and needs no labels. At T = 1 only the few images count of which the network is unsure; but
    the errors of a compressed network are not small, and make it unsure of others, too. Other outputs have a
    loss of their own (see `calibration.output_losses`).

    Args:
        model: any network; in eval mode while it runs, then as before.
        batches: inputs of the model, on its device; gone through twice.
        names: of convolutions and linear layers.
        seed: of the labels drawn; torch's own random state is left alone.
        temperature: T of scores, above 0.
        outputs: what the outputs are taken for, such as `scores:2`; None: as of `output_loss`.

    Raises:
        InputError: there is no batch, a layer never runs or is none of these, or the outputs are not what
            they are taken for, or not finite.
    """
    kept = list(batches)
    if not kept:
        raise InputError("data is empty; give at least one batch")
    loss = output_loss(model, kept, outputs)
    return network_sensitivities(model, kept, names, {}, seed=seed, temperature=temperature, loss=loss).layers


@dataclass(frozen=True)
class NetworkSensitivities:
    """Those of layers, and of the matrices that compute windows of their output planes.

    Attributes:
        layers: by name.
        windows: by name and window, (a, b) or a part of the plane: how sensitive the loss is to the window's
            matrix of N m outputs (see `mapping.window_matrix`). Inputs count without their means there, as a
            bias for each pixel takes a constant error back; outputs beyond the plane do not count.
        centred: by name, of layers whose constant errors are taken back: inputs count without their means,
            for errors that no refit has kept small where inputs are large.
        uncentred: by name and window, of layers whose constant errors nothing takes back: as `windows`, but
            inputs count with their means, for errors that no bias was made for.
        skipping: what is predicted to be lost where single layers are skipped, per image, by name.
    """

    layers: dict[str, LayerSensitivity]
    windows: dict[str, dict[AnyWindow, LayerSensitivity]]
    centred: dict[str, LayerSensitivity]
    uncentred: dict[str, dict[AnyWindow, LayerSensitivity]]
    skipping: dict[str, float]


def network_sensitivities(
    model: nn.Module,
    batches: Iterable[Inputs],
    names: Sequence[str],
    windows: Mapping[str, Sequence[AnyWindow]],
    *,
    seed: int = 0,
    temperature: float = TEMPERATURE,
    centred: Collection[str] = (),
    uncentred: Collection[str] = (),
    skippable: Sequence[str] = (),
    loss: OutputLoss | None = None,
) -> NetworkSensitivities:
    """As `sensitivities`, those of windows, and what skipping layers loses, all from the same gradients.

    A window's matrix is a weight like any other: its patches are the boxes that windows read, its output
    gradients those of a window's pixels side by side.

    Args:
        model: see `sensitivities`.
        batches: likewise.
        names: likewise.
        windows: (a, b) output pixels of some of these layers, which are convolutions, or parts of planes.
        seed: see `sensitivities`.
        temperature: likewise.
        centred: those of the layers whose sensitivity is wanted without the means of their inputs, too.
        uncentred: those of the layers whose windows' sensitivities are wanted with these means, too.
        skippable: convolutions of which it is wanted what is lost without them, among `names` or not.
        loss: what errors of the outputs cost; None: as of scores (B, classes).

    Raises:
        InputError: see `sensitivities`.
    """
    if not temperature > 0:
        raise InputError(f"temperature (={temperature:g}) must be above 0")
    kept = list(batches)  # gone through for the moments and E[g g^T], and for the power in their basis
    every = tuple(dict.fromkeys((*names, *skippable)))
    backward = Backward(model, kept, every, seed, temperature, loss=loss or ScoreLoss())
    images = sum(size_of(inputs) for inputs in kept)
    layers = layers_of(model, names)
    seen = {name: WindowMoments(layer, windows.get(name, ())) for name, layer in layers.items()}
    targets = _targets(seen, windows, centred, uncentred)
    skipped = {name: SkippedOutputs() for name in skippable}
    threads = threads_for(model, layers.values())
    with side_by_side(threads) as begin:
        for name, runs, size in backward:
            if name in skipped:
                skipped[name].add(runs, size)
            if name in seen:
                begin(name, _see, seen[name], targets[name], runs, size)
        for name in names:
            begin(name, _settle, name, seen[name], targets[name])
    if names:
        with side_by_side(threads) as begin:
            for name, runs, size in replace(backward, names=names):
                begin(name, _add_power, targets[name], runs, size)
    return NetworkSensitivities(
        {name: targets[name].layer.sensitivity(images) for name in names},
        {name: _found(targets[name].windows, images) for name in names},
        {name: own.sensitivity(images) for name in names if (own := targets[name].centred) is not None},
        {name: _found(targets[name].uncentred, images) for name in names if name in uncentred},
        {name: own.loss() for name, own in skipped.items()},
    )


def _see(seen: WindowMoments, targets: _LayerTargets, runs: Sequence[LayerRun], images: int) -> None:
    """Gather the moments of a layer's patches and gradients in one batch."""
    for run in runs:
        seen.add(run.inputs)
    for target in targets.every:
        target.see(runs, images)


def _settle(name: str, seen: WindowMoments, targets: _LayerTargets) -> None:
    """Find the bases of a layer, now that all batches were seen."""
    for target in targets.every:
        target.settle(name)
    seen.forget()


def _add_power(targets: _LayerTargets, runs: Sequence[LayerRun], images: int) -> None:
    """Add a layer's squared gradients of one batch in these bases."""
    for target in targets.every:
        target.add_power(runs, images)


def _found(targets: Mapping[AnyWindow, SensitivityTarget], images: int) -> dict[AnyWindow, LayerSensitivity]:
    return {window: target.sensitivity(images) for window, target in targets.items()}


@dataclass(frozen=True)
class _LayerTargets:
    """What is looked at when a layer runs: itself, its windows, and both with other inputs."""

    layer: SensitivityTarget
    windows: dict[AnyWindow, SensitivityTarget]
    centred: SensitivityTarget | None
    uncentred: dict[AnyWindow, SensitivityTarget]

    @property
    def every(self) -> list[SensitivityTarget]:
        """All of them."""
        found = [self.layer, *self.windows.values(), *self.uncentred.values()]
        if self.centred is not None:
            found.append(self.centred)
        return found


def _targets(
    gathered: Mapping[str, WindowMoments],
    windows: Mapping[str, Sequence[AnyWindow]],
    centred: Collection[str],
    uncentred: Collection[str],
) -> dict[str, _LayerTargets]:
    """For each layer what is looked at when it runs; see `network_sensitivities`."""
    targets: dict[str, _LayerTargets] = {}
    for name, moments in gathered.items():
        own = windows.get(name, ())
        with_means = own if name in uncentred else ()
        centred_target = None
        if name in centred:
            centred_target = CentredTarget(moments, moments.layer)
        targets[name] = _LayerTargets(
            SensitivityTarget(moments, moments.layer),
            {window: CentredWindowTarget(moments, window) for window in own},
            centred_target,
            {window: WindowTarget(moments, window) for window in with_means},
        )
    return targets
