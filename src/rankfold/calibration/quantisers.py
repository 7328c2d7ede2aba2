"""The step sizes of quantised layers, set from their weights and from what reaches them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from rankfold.calibration.observation import evaluating, observing, run_batches
from rankfold.calibration.samples import Inputs
from rankfold.errors import InputError
from rankfold.nn.quantised import QuantLayer
from rankfold.nn.quantisers import Quantiser


def calibrate_(model: nn.Module, batches: Iterable[Inputs]) -> None:
    """Set every step size: of weights from the weights, of inputs from what reaches a float layer.

    One eval-mode pass with all quantisers bypassed; each step then minimises the squared error on a fixed
    random sample of the values seen (`Quantiser.fit_`). The same model and batches give the same steps.

    Args:
        model: a network after `replace_by_quantised_`; only its step sizes change.
        batches: inputs of the model, on its device; at least one. A few hundred images do.

    Raises:
        InputError: the model has no quantised layer, there is no batch, a quantised layer is never called, or
            a weight or value is not finite; the steps are then as before.
    """
    layers: dict[str, QuantLayer] = {}
    for name, module in model.named_modules():
        if isinstance(module, QuantLayer):
            layers[name] = module
    if not layers:
        raise InputError(
            "the model has no quantised layer to calibrate; call replace_by_quantised_(model, bits) first"
        )
    samples = {name: ValueSample() for name in layers}
    quantisers: list[Quantiser] = []
    for layer in layers.values():
        quantisers += [layer.weight_quantiser, layer.input_quantiser]

    def keep_some(
        name: str,
        _: nn.Module,
        values: Tensor,
    ) -> None:
        samples[name].add(values)

    # Bypassed, as a layer's inputs must not depend on the steps of the layers before it.
    with evaluating(model), _bypassing(quantisers), observing(layers, before=keep_some):
        run_batches(model, batches)
    # All or none: a network with some of its steps set would run, and give wrong numbers.
    with _unchanged_on_errors(quantisers):
        _fit_(layers, samples)


@contextmanager
def _bypassing(quantisers: Sequence[Quantiser]) -> Iterator[None]:
    """The float network inside: no quantiser rounds or clips."""
    for quantiser in quantisers:
        quantiser.bypass = True
    try:
        yield
    finally:
        for quantiser in quantisers:
            quantiser.bypass = False


@contextmanager
def _unchanged_on_errors(quantisers: Sequence[Quantiser]) -> Iterator[None]:
    """Give back, if anything fails inside, the steps that the quantisers had."""
    before = []
    for quantiser in quantisers:
        step = quantiser.step.detach().clone()
        before.append((quantiser, step, quantiser.fitted))
    try:
        yield
    except BaseException:
        with torch.no_grad():
            for quantiser, step, fitted in before:
                quantiser.step.copy_(step)
                quantiser.fitted = fitted
        raise


def _fit_(
    layers: Mapping[str, QuantLayer],
    samples: Mapping[str, ValueSample],
) -> None:
    for name, layer in layers.items():
        try:
            layer.weight_quantiser.fit_(layer.kept_weights)
            layer.input_quantiser.fit_(samples[name].values())
        except InputError as error:
            raise InputError(f"layer {name!r}: {error}") from None


class ValueSample:
    """A bounded random sample of the values of many batches, with the same share of each batch."""

    SHARE = 1 << 15  # values of a batch, at first
    PARTS = 8  # of which the sample is made up before it is thinned out

    def __init__(self) -> None:
        self.share = self.SHARE
        self.parts: list[Tensor] = []
        # Its own generator: the sample is the same in every run, and torch's random state is untouched.
        self.generator = torch.Generator().manual_seed(0)

    def add(self, values: Tensor) -> None:
        """Take its share of the values of one batch, of any shape."""
        values = values.detach().flatten()
        if values.numel() > self.share:
            # Random places: regular ones would fall on the same channels again and again.
            size = (self.share,)
            places = torch.randint(values.numel(), size, generator=self.generator)
            values = values[places.to(values.device)]
        self.parts.append(values.float())  # steps are found in single precision, whatever the network runs in
        if len(self.parts) == self.PARTS:
            # Every second value so far, and half as many of the batches to come: the shares stay equal.
            together = torch.cat(self.parts)
            self.parts = [together[::2]]
            self.share = max(1, self.share // 2)

    def values(self) -> Tensor:
        """(N,) what was kept.

        Raises:
            InputError: there was no batch.
        """
        if not self.parts:
            raise InputError(
                "the model never calls it, so it has no input to calibrate on; take it out of the model, or "
                "of the plan's bits"
            )
        return torch.cat(self.parts)
