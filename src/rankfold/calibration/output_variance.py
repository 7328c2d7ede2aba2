"""How much each value of a network's outputs varies over samples: what errors of values are measured by."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from rankfold.calibration.observation import evaluating
from rankfold.calibration.outputs import (
    OutputModel,
    OutputsError,
    channel_dimension,
    check_finite,
    dimension,
    output_tensors,
)
from rankfold.calibration.samples import Inputs, call, size_of

CONSTANT = 1e-12  # of the mean square; a channel of less variance is a constant


def value_weights(model: nn.Module, batches: Iterable[Inputs], chosen: OutputModel) -> dict[str, Tensor]:
    """What a squared error of each value of a network's outputs weighs, so that all weighed errors of a
    sample add up to a share of the outputs' variance, the mean over the outputs that vary.

    Args:
        model: the network; in eval mode while it runs, then as before.
        batches: its inputs, on its device, all of which are looked at.
        chosen: which dimension is that of channels.

    Returns:
        For each output (see `outputs.output_tensors`) a tensor of the shape of one sample, with 1 for all
        dimensions but that of channels.

    Raises:
        InputError: there are too few samples, or no output varies.
    """
    spreads: dict[str, _Spread] = {}
    samples = 0
    for batch in batches:
        size = size_of(batch)
        samples += size
        with evaluating(model), torch.no_grad():
            found = output_tensors(call(model, batch), size)
        check_finite(found)
        for where, value in found.items():
            spreads.setdefault(where, _Spread(where)).add(value)
    if samples < 2:
        raise OutputsError(
            f"the data have {samples} samples; outputs that are values need 2 or more, to see how much each "
            "of them varies"
        )
    weights = {where: spread.weights(chosen) for where, spread in spreads.items()}
    varying = [where for where, weight in weights.items() if weight.any()]
    if not varying:
        raise OutputsError(
            "the network gives the same outputs for all samples, so that no error tells anything"
        )
    return {where: weight / len(varying) for where, weight in weights.items()}


class _Spread:
    """The variance of each value of one output over samples, batch after batch (Chan, Golub & LeVeque 1979).

    Args:
        where: the output, for messages.
    """

    def __init__(self, where: str) -> None:
        self._where = where
        self._count = 0
        self._mean = torch.zeros(())
        self._squares = torch.zeros(())  # of what differs from the mean, summed

    def add(self, values: Tensor) -> None:
        """See (B, ...) of one batch.

        Raises:
            OutputsError: they are of another shape than before.
        """
        values = values.double()
        count, mean = len(values), values.mean(0)
        squares = (values - mean).square().sum(0)
        if self._count == 0:
            self._count, self._mean, self._squares = count, mean, squares
            return
        if mean.shape != self._mean.shape:
            raise OutputsError(
                f"{self._where} has the shape {tuple(self._mean.shape)} for some samples and "
                f"{tuple(mean.shape)} for others; give samples of one size"
            )
        total = self._count + count
        apart = mean - self._mean
        self._squares = self._squares + squares + apart.square() * (self._count * count / total)
        self._mean = self._mean + apart * (count / total)
        self._count = total

    def weights(self, chosen: OutputModel) -> Tensor:
        """1 / (N s^2) of each channel, with s^2 the mean variance of its values over the samples and N the
        number of values in channels that vary; 0 of those that do not. Of the shape of one sample, with 1 for
        all dimensions but that of channels.
        """
        batch = self._mean[None]  # as (B, ...), which dimensions are counted in
        dim = channel_dimension(batch)
        if chosen.dim is not None:
            dim = dimension(chosen, self._where, batch)
        others = [number for number in range(batch.ndim - 1) if number != dim - 1]
        variance = self._squares / self._count
        size = self._mean.square() + variance
        if others:
            variance, size = variance.mean(others, keepdim=True), size.mean(others, keepdim=True)
        varies = variance > CONSTANT * size
        values = int(varies.sum()) * (self._mean.numel() // varies.numel())
        weight = 1 / (variance.where(varies, torch.ones_like(variance)) * max(1, values))
        return weight * varies
