"""What calibration data say of a network's layers: how sensitive the loss is to each, and what each reads."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest
from typing import TypeVar

from torch import nn

from rankfold.calibration.branches import Branches
from rankfold.calibration.correction import following_norms, free_of_constants, takes_constants_back
from rankfold.calibration.input_rounding import input_rounding
from rankfold.calibration.layer_moments import patch_moments
from rankfold.calibration.moments import PatchMoments
from rankfold.calibration.network_sensitivities import NetworkSensitivities, network_sensitivities
from rankfold.calibration.output_choice import output_loss
from rankfold.calibration.output_losses import OutputLoss
from rankfold.calibration.outputs import SCORES, OutputModel
from rankfold.calibration.samples import Inputs
from rankfold.calibration.sensitivity import LayerSensitivity
from rankfold.mapping import ArraySpec
from rankfold.mapping.window_cover import AnyWindow
from rankfold.plan.prediction import NATS
from rankfold.planning.exact.widths import BitChoices
from rankfold.planning.rounding import LayerRounding
from rankfold.workload import ConvShape

Known = TypeVar("Known")


@dataclass(frozen=True, kw_only=True)
class LayerStatistics:
    """What is known of the layers that may be compressed, by their names.

    Attributes:
        sensitivities: the curvature of the loss over each layer's weight.
        corrected: the layers whose bias, or a norm behind them, takes a constant error of the output back.
        centred: of the other ones, the curvature over inputs without their means, for replacements that
            bring a bias.
        others: the moments that replacements are made for, see `fitted`, of other patches of a layer's
            inputs, by the shapes that read them.
        windows: the curvature of the loss over the matrices of its windows, by (a, b) or part of the plane.
        rounding: what rounding costs layers that may have other bits.
        skipping: what is predicted to be lost where layers that may be skipped are, per image.
        bypasses: which layers the network can do without, and what feeds these alone.
        readers: for layers whose channels one layer alone reads, that one.
        unit: of all losses.
        outputs: what the network's outputs were taken for.
    """

    sensitivities: Mapping[str, LayerSensitivity]
    corrected: frozenset[str] = frozenset()
    centred: Mapping[str, LayerSensitivity] = field(default_factory=dict)
    others: Mapping[str, Mapping[ConvShape, PatchMoments]] = field(default_factory=dict)
    windows: Mapping[str, Mapping[AnyWindow, LayerSensitivity]] = field(default_factory=dict)
    rounding: Mapping[str, LayerRounding] = field(default_factory=dict)
    skipping: Mapping[str, float] = field(default_factory=dict)
    bypasses: Branches = field(default_factory=Branches)
    readers: Mapping[str, str] = field(default_factory=dict)
    unit: str = NATS
    outputs: str = SCORES

    def fitted(self, name: str) -> PatchMoments:
        """The moments of a layer's inputs that replacements are made for: centred where it is corrected.

        Made anew for each call: those of all layers together would take too much memory.
        """
        moments = self.sensitivities[name].weighed_moments
        if name in self.corrected:
            return moments.centred()
        return moments

    def as_biased(self, name: str) -> LayerSensitivity:
        """The curvature over a layer's weight, for replacements whose bias takes a constant error back."""
        return self.centred.get(name, self.sensitivities[name])

    def of(self, name: str) -> LayerStatistics:
        """What is known of one layer alone."""
        return LayerStatistics(
            sensitivities=_alone(self.sensitivities, name),
            corrected=self.corrected & {name},
            centred=_alone(self.centred, name),
            others=_alone(self.others, name),
            windows=_alone(self.windows, name),
            rounding=_alone(self.rounding, name),
            skipping=_alone(self.skipping, name),
        )

    @property
    def moments(self) -> dict[str, PatchMoments]:
        """The moments of each layer's inputs, not centred, with what errors of its outputs cost."""
        return {name: layer.weighed_moments for name, layer in self.sensitivities.items()}

    @property
    def window_moments(self) -> dict[str, dict[AnyWindow, PatchMoments]]:
        """The same of the inputs of each layer's windows."""
        found = {}
        for name, windows in self.windows.items():
            found[name] = {window: one.weighed_moments for window, one in windows.items()}
        return found


def _alone(known: Mapping[str, Known], name: str) -> dict[str, Known]:
    """What is known of a layer of this name, if anything is."""
    return {name: known[name]} if name in known else {}


def layer_statistics(
    model: nn.Module,
    batches: Iterable[Inputs],
    names: Sequence[str],
    seed: int,
    others: Mapping[str, Sequence[ConvShape]] | None = None,
    windows: Mapping[str, Sequence[AnyWindow]] | None = None,
    *,
    widths: Mapping[str, BitChoices] | None = None,
    skippable: Sequence[str] = (),
    bypasses: Branches | None = None,
    outputs: OutputModel | str | None = None,
    array: ArraySpec | None = None,
) -> LayerStatistics:
    """Run a network over calibration data, forward and backward.

    Args:
        model: the dense network.
        batches: its inputs, on its device, to be gone through again and again.
        names: of the layers; none are fine.
        seed: of the labels that are drawn for the gradients.
        others: shapes of convolutions that read other patches of layers' inputs, by the layers' names.
        windows: of output pixels, or of parts of planes, by the layers' names.
        widths: of some of these layers, convolutions, the bits that they may have.
        skippable: convolutions that may be skipped, among these layers or not.
        bypasses: what is known of them, where something is (see `calibration.branches`).
        outputs: what the network's outputs are taken for; None: see `calibration.output_choice.output_loss`.
        array: whose cells weights are rounded for; None: as if cells held all levels.

    Raises:
        InputError: there is no batch, a value is not finite, a layer never runs, or the outputs are not what
            they are taken for.
    """
    # Every layer stays dense: the network need not run at all.
    if not names and not skippable:
        return LayerStatistics(sensitivities={})
    widths = widths or {}
    loss = output_loss(model, batches, outputs)
    # As surgery makes the weights: a constant error is left to the bias, or to the norm behind.
    norms = following_norms(model, batches, names)
    corrected = [name for name in widths if name in norms]
    others_rounded = [name for name in widths if name not in norms]
    uncorrected = [name for name in names if not takes_constants_back(model, name, norms)]
    found_sensitivities = network_sensitivities(
        model,
        batches,
        names,
        windows or {},
        seed=seed,
        centred={*corrected, *uncorrected},
        uncentred=others_rounded,
        skippable=skippable,
        loss=loss,
    )
    found: dict[str, dict[ConvShape, PatchMoments]] = {name: {} for name in others or {}}
    for readers in _rounds(others or {}):
        gathered = patch_moments(model, batches, readers)
        gathered.update(free_of_constants(model, gathered, norms))
        for name, shape in readers.items():
            found[name][shape] = gathered[name]
    return LayerStatistics(
        sensitivities=found_sensitivities.layers,
        corrected=frozenset(names).difference(uncorrected),
        centred={name: found_sensitivities.centred[name] for name in uncorrected},
        others=found,
        windows=found_sensitivities.windows,
        rounding=_rounding(
            model, batches, found_sensitivities, widths, corrected, array=array, seed=seed, loss=loss
        ),
        skipping=found_sensitivities.skipping,
        bypasses=bypasses or Branches(),
        unit=loss.unit,
        outputs=str(loss.model),
    )


def _rounding(
    model: nn.Module,
    batches: Iterable[Inputs],
    sensitivities: NetworkSensitivities,
    widths: Mapping[str, BitChoices],
    corrected: Sequence[str],
    *,
    array: ArraySpec | None,
    seed: int,
    loss: OutputLoss,
) -> dict[str, LayerRounding]:
    """What rounding costs the layers of `widths`; a norm behind takes constant errors of `corrected` back."""
    if not widths:
        return {}
    bits = {name: choices.inputs for name, choices in widths.items()}
    inputs = input_rounding(model, batches, bits, corrected, seed, loss=loss)
    found = {}
    for name, choices in widths.items():
        of_layers = sensitivities.centred if name in corrected else sensitivities.layers
        of_windows = sensitivities.uncentred.get(name, sensitivities.windows[name])
        narrow = frozenset(bits for bits in choices.weights if array and array.lacks_lowest(bits))
        found[name] = LayerRounding(of_layers[name], inputs[name], name in corrected, of_windows, narrow)
    return found


def _rounds(others: Mapping[str, Sequence[ConvShape]]) -> Iterator[dict[str, ConvShape]]:
    """For each pass over the data the patches to gather, one sort of each layer at a time."""
    for shapes in zip_longest(*others.values()):
        yield {name: shape for name, shape in zip(others, shapes, strict=True) if shape is not None}
