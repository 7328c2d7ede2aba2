"""How much the loss of a network rises when the weight of one layer is replaced, foreseen from its gradients.

Let D = W - M be the error that a replacement M leaves in a weight W of (m, n). To the second order the loss
rises by 1/2 vec(D)^T H vec(D), with the Gauss-Newton matrix H = E[vec(A) vec(A)^T] of the gradients A =
sum_p g_p x_p^T of single images: sums over positions p of output gradients g_p (m,) and patches x_p (n,). H
has (m n)^2 entries, too many to keep. In the basis of the eigenvectors U of E[g g^T] and V of E[x x^T] it
is nearly diagonal, and its diagonal there is exactly

    power_ij = E[(U^T A V)_ij^2],     so that     1/2 vec(D)^T H vec(D) ~ 1/2 sum_ij power_ij (U^T D V)_ij^2

(eigenvalue-corrected Kronecker factors, George et al. 2018). A plain Kronecker product (Martens & Grosse
2015) takes the positions of an image for independent; here errors of neighbouring positions may add up or
cancel.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from torch import Tensor, nn

from rankfold.calibration.backward import Backward, LayerRun
from rankfold.calibration.curvature import Bases, eigenvectors, input_basis, squared_gradients, times
from rankfold.calibration.layer_moments import averages_of, layers_of
from rankfold.calibration.moments import PatchMoments
from rankfold.calibration.output_choice import output_loss
from rankfold.calibration.output_losses import OutputLoss, ScoreLoss
from rankfold.calibration.outputs import OutputModel
from rankfold.calibration.patches import Layer, kernel_positions
from rankfold.calibration.samples import Inputs, size_of
from rankfold.calibration.window_moments import WindowMoments
from rankfold.errors import InputError
from rankfold.mapping.window_cover import AnyWindow

TEMPERATURE = 4.0  # see `sensitivities`


@dataclass(frozen=True)
class LayerSensitivity:
    """The curvature of the loss over the weight of one layer, as an eigenvalue-corrected Kronecker product.

    Attributes:
        moments: of the layer's input patches.
        gradient: (G, m/G, m/G) E[g g^T] over patches, of the loss of one image.
        positions: patches of one image, over all runs of the layer.
        outputs: (G, m/G, m/G) eigenvectors of `gradient`, in columns.
        inputs: (G, n, n) eigenvectors of `moments.second`, in columns; of a convolution of n > 1,152, where
            those would take long to find and to use, two factors of a Kronecker product, (G, C_in/G,
            C_in/G) eigenvectors over channels and (G, kh*kw, kh*kw) over kernel positions.
        power: (G, m/G, n) E over images of the squared entries of outputs^T (sum_p g_p x_p^T) inputs.
    """

    moments: PatchMoments
    gradient: np.ndarray
    positions: float
    outputs: np.ndarray
    inputs: tuple[np.ndarray, ...]
    power: np.ndarray

    @property
    def weighed_moments(self) -> PatchMoments:
        """The moments, with E[g g^T] as what errors of outputs count together (`calibration.importance`)."""
        return replace(self.moments, importance=self.gradient)

    def increase(self, lost: np.ndarray) -> float:
        """1/2 sum_ij power_ij (U^T D V)_ij^2 for D (G, m/G, n)."""
        if len(self.inputs) == 2:
            return self._wide_increase(lost)
        turned = self.outputs.swapaxes(1, 2) @ lost  # U^T D
        rotated = times(turned, self.inputs)  # U^T D V
        return float(np.einsum("gmn,gmn,gmn->", self.power, rotated, rotated)) / 2

    def _wide_increase(self, lost: np.ndarray) -> float:
        """The same for V = A (x) B, in float32: of positive terms, so that nothing cancels."""
        over_channels, over_kernel, outputs, power = self._single
        groups, rows, _ = lost.shape
        channels, positions = over_channels.shape[1], over_kernel.shape[1]
        turned = outputs.swapaxes(1, 2) @ lost.astype(np.float32)  # U^T D
        by_position = turned.reshape(groups, rows, channels, positions).swapaxes(2, 3)
        flat = by_position.reshape(groups, rows * positions, channels)
        product = (flat @ over_channels).reshape(groups, rows, positions, channels)
        rotated = over_kernel.swapaxes(1, 2)[:, None] @ product  # (G, m/G, K, C) U^T D V
        np.square(rotated, out=rotated)
        rotated *= power
        return float(np.sum(rotated, dtype=np.float64)) / 2

    @cached_property
    def _single(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """A, B, U and the power in float32; the latter (G, m/G, K, C), as products come."""
        over_channels, over_kernel = self.inputs
        split = self.power.reshape(*self.power.shape[:2], over_channels.shape[1], over_kernel.shape[1])
        parts = over_channels, over_kernel, self.outputs, split.swapaxes(2, 3)
        first, second, third, fourth = [np.ascontiguousarray(part, np.float32) for part in parts]
        return first, second, third, fourth


def predicted_loss(
    weight: np.ndarray,
    replacement: np.ndarray,
    sensitivity: LayerSensitivity,
) -> float:
    """The expected increase of the loss per image, in its unit, with `replacement` in the place of `weight`.

    It is 1/2 vec(D)^T H vec(D), where D = weight - replacement and H is the curvature that `sensitivity`
    knows. The increases of several layers are simply added.

    Args:
        weight: (m, C_in/G, kh, kw), or (m, n) of a linear layer.
        replacement: of the same shape.
        sensitivity: of this layer.

    Raises:
        InputError: the shapes differ, or are not those of the layer.
    """
    groups, outputs, inputs = sensitivity.power.shape
    fits = weight.shape == replacement.shape
    fits = fits and len(weight) == groups * outputs
    fits = fits and weight.size == sensitivity.power.size
    if not fits:
        raise InputError(
            f"a weight of shape {weight.shape} and its replacement of shape {replacement.shape} must have "
            f"the same shape, {groups * outputs} outputs and {inputs} inputs of each"
        )
    lost = weight.astype(np.float64) - replacement  # D
    return sensitivity.increase(lost.reshape(groups, outputs, inputs))


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
    return network_sensitivities(model, kept, names, {}, seed, temperature, loss=loss).layers


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
    """

    layers: dict[str, LayerSensitivity]
    windows: dict[str, dict[AnyWindow, LayerSensitivity]]
    centred: dict[str, LayerSensitivity]
    uncentred: dict[str, dict[AnyWindow, LayerSensitivity]]


def network_sensitivities(
    model: nn.Module,
    batches: Iterable[Inputs],
    names: Sequence[str],
    windows: Mapping[str, Sequence[AnyWindow]],
    seed: int = 0,
    temperature: float = TEMPERATURE,
    *,
    centred: Collection[str] = (),
    uncentred: Collection[str] = (),
    loss: OutputLoss | None = None,
) -> NetworkSensitivities:
    """As `sensitivities`, and those of windows, all from the same gradients.

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
        loss: what errors of the outputs cost; None: as of scores (B, classes).

    Raises:
        InputError: see `sensitivities`.
    """
    if not temperature > 0:
        raise InputError(f"temperature (={temperature:g}) must be above 0")
    kept = list(batches)  # gone through for the moments and E[g g^T], and for the power in their basis
    backward = Backward(
        model,
        kept,
        names,
        seed,
        temperature,
        loss=loss or ScoreLoss(),
    )
    images = sum(size_of(inputs) for inputs in kept)
    layers = layers_of(model, names)
    seen = {name: WindowMoments(layer, windows.get(name, ())) for name, layer in layers.items()}
    targets = _targets(seen, windows, centred, uncentred)
    for name, runs, size in backward:
        for run in runs:
            seen[name].add(run.inputs)
        for target in targets[name].every:
            target.see(runs, size)
    for name in names:
        for target in targets[name].every:
            target.settle(name)
        seen[name].forget()
    for name, runs, size in backward:
        for target in targets[name].every:
            target.add_power(runs, size)
    return NetworkSensitivities(
        {name: targets[name].layer.sensitivity(images) for name in names},
        {name: _found(targets[name].windows, images) for name in names},
        {name: own.sensitivity(images) for name in names if (own := targets[name].centred) is not None},
        {name: _found(targets[name].uncentred, images) for name in names if name in uncentred},
    )


def _found(targets: Mapping[AnyWindow, _Target], images: int) -> dict[AnyWindow, LayerSensitivity]:
    return {window: target.sensitivity(images) for window, target in targets.items()}


@dataclass(frozen=True)
class _LayerTargets:
    """What is looked at when a layer runs: itself, its windows, and both with other inputs."""

    layer: _Target
    windows: dict[AnyWindow, _Target]
    centred: _Target | None
    uncentred: dict[AnyWindow, _Target]

    @property
    def every(self) -> list[_Target]:
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
        targets[name] = _LayerTargets(
            _Target(moments, moments.layer),
            {window: _CentredWindowTarget(moments, window) for window in own},
            _CentredTarget(moments, moments.layer) if name in centred else None,
            {window: _WindowTarget(moments, window) for window in with_means},
        )
    return targets


class _Target:
    """One weight whose sensitivity is gathered, in two passes over the data: `see`, then `add_power`.

    Args:
        gathered: the moments of the patches that it multiplies, known when it is settled.
        layer: says which these are.
    """

    def __init__(self, gathered: WindowMoments, layer: Layer) -> None:
        self._gathered, self._layer = gathered, layer
        self._moments: PatchMoments | None = None
        self._gradient: Tensor | None = None  # (G, m/G, m/G) sum of g g^T over so many patches
        self._patches = 0
        self._bases: Bases | None = None
        self._power: Tensor | None = None  # (G, m/G, n) sum over images

    @property
    def moments(self) -> PatchMoments:
        """Of the patches, once it is settled."""
        assert self._moments is not None
        return self._moments

    @property
    def groups(self) -> int:
        """G."""
        layer = self._gathered.layer
        return layer.groups if isinstance(layer, nn.Conv2d) else 1

    @property
    def outputs(self) -> int:
        """m/G, once gradients were seen."""
        assert self._gradient is not None
        return self._gradient.shape[1]

    def runs_of(self, runs: Sequence[LayerRun]) -> Sequence[LayerRun]:
        """The calls of the layer, as calls of this weight."""
        return runs

    def see(self, runs: Sequence[LayerRun], images: int) -> None:
        """Add the output gradients of one batch to E[g g^T]."""
        for run in self.runs_of(runs):
            slope = run.output_gradient(self.groups, images)  # (B, G, m/G, P)
            # Summed in the network's own type, over one batch; over all batches in float64.
            _, _, _, positions = slope.shape
            side_by_side = slope.permute(1, 2, 0, 3).flatten(2)  # (G, m/G, B P)
            part = (side_by_side @ side_by_side.transpose(1, 2)).double()
            self._patches += len(slope) * positions
            if self._gradient is None:
                self._gradient = part
            else:
                self._gradient += part

    def settle(self, name: str) -> None:
        """Find the basis in which the second moment of gradients is nearly diagonal.

        Raises:
            InputError: the layer, of this name, never ran.
        """
        self._moments = self.known(name)
        assert self._gradient is not None  # moments are only there of layers that ran
        inputs = input_basis(self.centre().second, kernel_positions(self._layer))
        self._bases = Bases(eigenvectors(self._gradient), inputs)

    def known(self, name: str) -> PatchMoments:
        """The moments of the patches, now that all were seen; errors as of `settle`."""
        return averages_of(name, self._gathered.own())

    def centre(self) -> PatchMoments:
        """The moments of the patches as they count."""
        return self.moments

    def add_power(self, runs: Sequence[LayerRun], images: int) -> None:
        """Add the squared weight gradients of one batch's images in this basis."""
        assert self._bases is not None  # settled
        part = squared_gradients(self.runs_of(runs), self._bases, images, self.mean())
        if self._power is None:
            self._power = part
        else:
            self._power += part

    def mean(self) -> np.ndarray | None:
        """What is taken off each patch, (G, n), or for each output, (G, m/G, n); None: nothing."""
        return None

    def sensitivity(self, images: int) -> LayerSensitivity:
        """What was found, over so many images."""
        assert self._gradient is not None and self._bases is not None and self._power is not None
        return LayerSensitivity(
            self.moments,
            gradient=_array(self._gradient / self._patches),
            positions=self._patches / images,
            outputs=_array(self._bases.outputs),
            inputs=tuple(_array(factor) for factor in self._bases.inputs),
            power=_array(self._power / images),
        )


class _CentredTarget(_Target):
    """The weight of a layer, over patches without their means."""

    def centre(self) -> PatchMoments:
        """Without their means."""
        return self.moments.centred()

    def mean(self) -> np.ndarray:
        """(G, n) E[x]."""
        return self.moments.mean


class _WindowTarget(_Target):
    """The matrix of a convolution's windows.

    Args:
        gathered: the moments of all windows of the layer, known when it is settled.
        window: (a, b), or a part of the plane.
    """

    def __init__(self, gathered: WindowMoments, window: AnyWindow) -> None:
        self._window, self._view = window, gathered.view(window)
        super().__init__(gathered, self._view.reader)

    def runs_of(self, runs: Sequence[LayerRun]) -> Sequence[LayerRun]:
        """Window by window."""
        return [self._view.run(run) for run in runs]

    def known(self, name: str) -> PatchMoments:
        """Those of the boxes that windows read."""
        return self._gathered.moments(self._window)


class _CentredWindowTarget(_WindowTarget):
    """The matrix of a convolution's windows, over boxes without their means."""

    def centre(self) -> PatchMoments:
        """Without their means."""
        return self.moments.centred()

    def mean(self) -> np.ndarray | None:
        """E[x]: a constant error is taken back in the bias of its pixel.

        Where some windows lack pixels, E[x] over the windows that have it for each output, (G, m/G, n).
        """
        moments = self.moments
        if not moments.by_pixel:
            return moments.mean
        groups, n = moments.mean.shape
        means = np.zeros((groups, self.outputs, n))
        for part in moments.by_pixel:
            own = part.outputs(means[..., 0].size, groups).reshape(groups, -1)
            for group, outputs in enumerate(own):
                means[group][outputs] = part.moments.mean[group]
        return means


def _array(values: Tensor) -> np.ndarray:
    return values.cpu().numpy()
