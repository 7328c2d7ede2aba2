"""`SensitivityTarget`: one weight whose sensitivity is gathered from the runs of a network over data.

That is the weight of a layer, or the matrix that computes windows of its output plane, whose inputs count
with their means or without (see `calibration.network_sensitivities`).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from torch import Tensor, nn

from rankfold.calibration.backward import LayerRun
from rankfold.calibration.curvature import Bases, eigenvectors, input_basis, squared_gradients
from rankfold.calibration.layer_moments import averages_of
from rankfold.calibration.moments import PatchMoments
from rankfold.calibration.patches import Layer, kernel_positions
from rankfold.calibration.sensitivity import LayerSensitivity
from rankfold.calibration.window_moments import WindowMoments
from rankfold.mapping.window_cover import AnyWindow


class SensitivityTarget:
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


class CentredTarget(SensitivityTarget):
    """The weight of a layer, over patches without their means."""

    def centre(self) -> PatchMoments:
        """Without their means."""
        return self.moments.centred()

    def mean(self) -> np.ndarray:
        """(G, n) E[x]."""
        return self.moments.mean


class WindowTarget(SensitivityTarget):
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


class CentredWindowTarget(WindowTarget):
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
