"""Which layers ever read a negative input."""

from __future__ import annotations

from collections.abc import Iterable

from torch import Tensor, nn

from rankfold.calibration.observation import evaluating, observing, run_batches
from rankfold.calibration.samples import Inputs
from rankfold.errors import InputError
from rankfold.nn.quantised import named_layer


def observe_signs(
    model: nn.Module,
    batches: Iterable[Inputs],
    names: Iterable[str],
) -> dict[str, bool]:
    """For each named layer, whether any element of its input was ever negative on `batches`, in eval mode.

    Args:
        model: the network, before or after quantisation; its modes and weights stay as they are.
        batches: inputs of the model, on its device; at least one.
        names: layers as in `model.named_modules()`.

    Raises:
        InputError: an unknown name, no batch, or a layer that the model never calls.
    """
    # A module of several names may be asked for by any of them.
    modules = dict(model.named_modules(remove_duplicate=False))
    layers = {name: named_layer(modules, name) for name in names}
    negative: dict[str, Tensor] = {}

    def look(
        name: str,
        _: nn.Module,
        values: Tensor,
    ) -> None:
        # Flags stay on the device: reading each one here would make a GPU wait.
        here = (values < 0).any()
        if name in negative:
            negative[name] = negative[name] | here
        else:
            negative[name] = here

    with evaluating(model), observing(layers, before=look):
        run_batches(model, batches)
    for name in layers:
        if name not in negative:
            raise InputError(
                f"layer {name!r} is never called by the model, so its input has no sign; leave it out"
            )
    return {name: bool(negative[name]) for name in layers}
