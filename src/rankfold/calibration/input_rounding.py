"""What a network loses where the inputs of one layer are rounded, foreseen from its gradients.

Let a layer read x and round it to x + e, so that its outputs are off by y = W * e. To the second order the
loss of one image rises by

    1/2 E[s^2],    s = sum_(i, p) g_ip y_ip,

with gradients g over its outputs i at positions p (see `calibration.sensitivity`, which says whose loss).
This is one number for each image, so that it is taken as it is: whether the errors of neighbouring pixels
add up, errors of channels go together, or clipped values are off in one direction is all in it.

Where batch norm follows, it takes back what is constant in y. With ybar_i = E[y_ip] over all images and
positions and h_i = sum_p g_ip, s is s - h^T ybar then, and as ybar is known only at the end,

    sum over images of (s - h^T ybar)^2  =  sum s^2 - 2 ybar^T sum (h s) + ybar^T (sum h h^T) ybar.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn

from rankfold.calibration.backward import Backward, LayerRun
from rankfold.calibration.layer_moments import layers_of
from rankfold.calibration.observation import evaluating, observing, run_batches
from rankfold.calibration.output_losses import OutputLoss, ScoreLoss
from rankfold.calibration.quantisers import ValueSample
from rankfold.calibration.samples import Inputs, size_of
from rankfold.calibration.sensitivity import TEMPERATURE
from rankfold.errors import InputError
from rankfold.nn.quantisers import Quantiser

Quantisers = Mapping[int, Quantiser]  # by bits


@dataclass(frozen=True)
class InputRounding:
    """What is lost where the inputs of one layer are rounded.

    Attributes:
        losses: in the loss's unit per image, by bits.
        errors: (C_in,) E[e^2] of each channel, by bits.
    """

    losses: Mapping[int, float]
    errors: Mapping[int, np.ndarray]


def input_rounding(
    model: nn.Module,
    batches: Iterable[Inputs],
    widths: Mapping[str, Sequence[int]],
    corrected: Collection[str],
    seed: int = 0,
    temperature: float = TEMPERATURE,
    *,
    loss: OutputLoss | None = None,
) -> dict[str, InputRounding]:
    """Round the inputs of some convolutions of a float network to so many bits, each alone.

    Step sizes are set as `calibrate_` sets them, with negative levels where an input is ever negative.

    Args:
        model: the network; in eval mode while it runs, then as before.
        batches: inputs of the model, on its device; gone through twice.
        widths: bits, 2 to 8, by the names of the convolutions.
        corrected: those of these layers whose constant errors are taken back.
        seed: of the labels drawn, see `calibration.network_sensitivities.sensitivities`.
        temperature: likewise.
        loss: what errors of the outputs cost; None: as of scores (B, classes).

    Raises:
        InputError: as `sensitivities`.
    """
    kept = list(batches)
    loss = loss or ScoreLoss()
    quantisers = _fitted(model, kept, widths)
    sums: dict[str, dict[int, _Sums]] = {}
    for name, bits in widths.items():
        sums[name] = {width: _Sums() for width in bits}
    for name, runs, images in Backward(model, kept, list(widths), seed, temperature, loss=loss):
        for width, total in sums[name].items():
            with torch.no_grad():
                total.add(runs, quantisers[name][width], images)
    samples = sum(size_of(inputs) for inputs in kept)
    found = {}
    for name, by_width in sums.items():
        losses = {width: one.loss(samples, name in corrected) for width, one in by_width.items()}
        errors = {width: one.mean_error() for width, one in by_width.items()}
        found[name] = InputRounding(losses, errors)
    return found


def _fitted(
    model: nn.Module, batches: Sequence[Inputs], widths: Mapping[str, Sequence[int]]
) -> dict[str, Quantisers]:
    """The quantisers of each layer's inputs."""
    layers = layers_of(model, list(widths))
    samples = {name: ValueSample() for name in layers}
    negative: dict[str, Tensor] = {}

    def look(name: str, _: nn.Module, values: Tensor) -> None:
        samples[name].add(values)
        # Flags stay on the device: reading each one here would make a GPU wait.
        here = (values < 0).any()
        negative[name] = negative.get(name, here) | here

    with evaluating(model), observing(layers, before=look):
        run_batches(model, batches)
    found: dict[str, Quantisers] = {}
    for name, bits in widths.items():
        try:
            values = samples[name].values()
            found[name] = {width: _quantiser(width, bool(negative[name]), values) for width in bits}
        except InputError as error:
            raise InputError(f"layer {name!r}: {error}") from None
    return found


def _quantiser(bits: int, signed: bool, values: Tensor) -> Quantiser:
    made = Quantiser(bits, signed, device=values.device)
    made.fit_(values)
    return made


@dataclass
class _Sums:
    """Sums over the images of all batches, in float64."""

    squares: float = 0.0  # of s^2
    products: Tensor | None = None  # (m,) of h s
    constants: Tensor | None = None  # (m, m) of h h^T
    outputs: Tensor | None = None  # (m,) of y, over positions too
    positions: int = 0
    errors: Tensor | None = None  # (C_in,) of e^2, over pixels too
    pixels: int = 0

    def add(self, runs: Sequence[LayerRun], quantiser: Quantiser, images: int) -> None:
        """Take in the calls of the layer for one batch."""
        whole: Tensor | None = None  # (B,) s
        constant: Tensor | None = None  # (B, m) h
        for run in runs:
            layer = run.layer
            assert isinstance(layer, nn.Conv2d)  # the caller asks for no others
            error = quantiser(run.inputs) - run.inputs
            y = _by_image(run, layer._conv_forward(error, layer.weight, None), images)  # (B, m, P)
            slope = _by_image(run, run.gradient, images)
            s, h = (slope * y).sum((1, 2)).double(), slope.sum(2).double()
            whole = s if whole is None else whole + s
            constant = h if constant is None else constant + h
            self.outputs = _plus(self.outputs, y.sum((0, 2)).double())
            self.positions += len(y) * y.shape[2]
            by_channel = error.movedim(-3, 0).flatten(1)  # (C_in, pixels)
            self.errors = _plus(self.errors, by_channel.square().sum(1))
            self.pixels += by_channel.shape[1]
        if whole is None or constant is None:
            return  # it did not run on this batch
        self.squares += float(whole.square().sum())
        self.products = _plus(self.products, constant.T @ whole)
        self.constants = _plus(self.constants, constant.T @ constant)

    def loss(self, images: int, corrected: bool) -> float:
        """1/2 E[s^2], perhaps without what is constant in y."""
        total = self.squares
        if corrected and self.outputs is not None and self.products is not None:
            assert self.constants is not None  # they come together
            mean = self.outputs / self.positions  # (m,) ybar
            total += float(mean @ self.constants @ mean - 2 * mean @ self.products)
        # What is left of nothing is rounding.
        return max(total, 0.0) / images / 2

    def mean_error(self) -> np.ndarray:
        """(C_in,) E[e^2]."""
        assert self.errors is not None  # steps are only there of layers that ran
        mean: np.ndarray = (self.errors / self.pixels).cpu().numpy()
        return mean


def _by_image(run: LayerRun, values: Tensor, images: int) -> Tensor:
    """(B, m, P) values of a layer's outputs, all positions of an image together."""
    return replace(run, gradient=values).output_gradient(1, images)[:, 0]


def _plus(total: Tensor | None, part: Tensor) -> Tensor:
    if total is None:
        return part.double()
    return total + part
