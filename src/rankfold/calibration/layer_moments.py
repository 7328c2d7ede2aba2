"""The moments of layers' patches while their network runs over data."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from torch import Tensor, nn

from rankfold.calibration.moment_sums import MomentSums
from rankfold.calibration.moments import PatchMoments
from rankfold.calibration.observation import evaluating, observing
from rankfold.calibration.patches import Layer, LayerModule, of_matrices
from rankfold.calibration.samples import Inputs, call
from rankfold.errors import InputError


def patch_moments(
    model: nn.Module,
    batches: Iterable[Inputs],
    names: Sequence[str] | Mapping[str, Layer],
) -> dict[str, PatchMoments]:
    """Run `model` over data and gather the moments of the layers `names`.

    A layer that runs several times gathers all its runs. Memory holds the moments and a part of one batch's
    patches. Of an image with many patches of many inputs a sample is taken, see `MomentSums`. No layer of
    ResNet-20 has so many; those of ResNet-50 at 224 x 224 have.

    Args:
        model: any network with plain `nn.Conv2d` or `nn.Linear` of these names; while it runs in eval mode,
            then as before.
        batches: inputs of the model, on its device.
        names: of convolutions and linear layers; or for each of them what says which patches of its inputs
            are wanted, if not those of the layer itself.

    Raises:
        InputError: there is no batch, or a layer never runs.
    """
    layers = layers_of(model, names)
    readers: dict[str, Layer] = dict(layers)
    if isinstance(names, Mapping):
        readers.update(names)
    sums = {name: _LayerSums(readers[name]) for name in names}

    def add(
        name: str,
        _: LayerModule,
        inputs: Tensor,
    ) -> None:
        sums[name].add(inputs)

    # Added up in the calls themselves: what a layer reads need not be kept, and is not yet changed in place.
    with evaluating(model), observing(layers, before=add):
        for batch in batches:
            call(model, batch)
    moments: dict[str, PatchMoments] = {}
    for name, gathered in sums.items():
        moments[name] = gathered.averages(name)
    return moments


def paired_moments(
    model: nn.Module,
    dense: nn.Module,
    batches: Iterable[Inputs],
    name: str,
    reader: Layer | None = None,
) -> PatchMoments:
    """The moments of one layer of `model`, and between it and the same one of `dense`, on the same inputs.

    Errors as `patch_moments`; the layer must run as often in both. `reader` says which patches are wanted, if
    not those of the layer itself.
    """
    layers = layers_of(model, [name])
    wanted: Layer = layers[name]
    if reader is not None:
        wanted = reader
    sums = _LayerSums(wanted)
    waiting: list[Tensor] = []  # what the layer of the dense network read, run by run

    def keep(
        _: str,
        __: nn.Module,
        inputs: Tensor,
    ) -> None:
        waiting.append(inputs.clone())  # which an operation in place may change before it is used

    def add(
        _: str,
        __: LayerModule,
        inputs: Tensor,
    ) -> None:
        if not waiting:
            raise InputError(
                f"layer {name} runs more often than in the dense network; give networks that run alike"
            )
        sums.add(inputs, waiting.pop(0))

    with evaluating(model), evaluating(dense):
        for batch in batches:
            # The dense network first: its inputs of one layer wait for those of the other network.
            with observing(layers_of(dense, [name]), before=keep):
                call(dense, batch)
            with observing(layers, before=add):
                call(model, batch)
            if waiting:
                raise InputError(
                    f"layer {name} runs less often than in the dense network; give networks that run alike"
                )
    return sums.averages(name)


class _LayerSums:
    """The moments of the patches that each of the matrices reads which compute a layer.

    Args:
        reader: says which patches those are.
    """

    def __init__(self, reader: Layer) -> None:
        self._sums = [(matrix, MomentSums()) for matrix in of_matrices(reader)]

    def add(self, inputs: Tensor, dense_inputs: Tensor | None = None) -> None:
        """Add a batch, see `MomentSums.add`."""
        for matrix, sums in self._sums:
            sums.add(matrix, inputs, dense_inputs)

    def averages(self, name: str) -> PatchMoments:
        """The moments; errors as of `averages_of`."""
        first, *others = [averages_of(name, sums) for _, sums in self._sums]
        return replace(first, others=tuple(others))


def averages_of(name: str, sums: MomentSums) -> PatchMoments:
    """The moments of a layer.

    Raises:
        InputError: it never ran.
    """
    if sums.count == 0:
        raise InputError(
            f"layer {name} never ran on the calibration data, which has no batch, or none that reaches it; "
            "give others"
        )
    return sums.moments()


def layers_of(model: nn.Module, names: Iterable[str]) -> dict[str, LayerModule]:
    """The convolutions and linear layers of these names.

    Raises:
        InputError: a name is not in the network, or is one of another module.
    """
    modules = dict(model.named_modules())
    layers: dict[str, LayerModule] = {}
    for name in names:
        module = modules.get(name)
        if not isinstance(module, (nn.Conv2d, nn.Linear)):
            raise InputError(
                f"layer {name} of the network is no nn.Conv2d or nn.Linear; moments are gathered for these"
            )
        layers[name] = module
    return layers
