"""The accuracy of plans as it is measured: of networks that are made and quantised, but not fine-tuned."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from statistics import fmean
from typing import Any

from torch import Tensor, nn

from rankfold.calibration.correction import following_norms
from rankfold.calibration.layer_moments import patch_moments
from rankfold.calibration.moments import PatchMoments
from rankfold.calibration.output_choice import output_loss, usual_outputs
from rankfold.calibration.outputs import SCORES, VALUES, OutputModel
from rankfold.calibration.samples import MOMENT_IMAGES, Inputs
from rankfold.calibration.signs import observe_signs
from rankfold.errors import InputError
from rankfold.machine import NonIdealities
from rankfold.mapping import ArraySpec
from rankfold.mapping.window_cover import AnyWindow
from rankfold.plan import DenseLayer, LayerPlan, Plan
from rankfold.plan.kinds import LayerKind
from rankfold.planning.data import HeldOut, PlanningData
from rankfold.planning.kinds import PIXEL, windows_made_for
from rankfold.runs.baseline import weights_digest
from rankfold.simulator import check_arrays, program_, simulate
from rankfold.surgery.by_weights import build_
from rankfold.surgery.on_data import compress_on_moments_
from rankfold.surgery.quantise import quantise_
from rankfold.training.batches import EVALUATION_BATCH
from rankfold.training.metric import Measure
from rankfold.training.unlabelled import Likeness

BATCH_NORM_IMAGES = EVALUATION_BATCH  # one whole batch, since batch norm counts each of them alike
ADC_IMAGES = 250
SEEN_IMAGES = 2  # to see which norm follows which layer


@dataclass(frozen=True)
class MeasureSettings:
    """How the accuracy of a plan is measured.

    Attributes:
        images: samples that nothing was calibrated on; all of these, if there are fewer.
        chips: arrays that are programmed, each anew, where two chips may differ; the mean over them counts.
        noise: non-idealities of the arrays; ideal ones are not simulated, as they compute exactly.
        seed: of the images that are drawn, and of the first chip.
        calibrated: samples, the first that `seed` draws, that others have calibrated on, such as the moments.
    """

    images: int = 1000
    chips: int = 2
    noise: NonIdealities = field(default_factory=NonIdealities)
    seed: int = 0
    calibrated: int = MOMENT_IMAGES

    def __post_init__(self) -> None:
        least = {"images": 1, "chips": 1, "seed": 0, "calibrated": 0}
        for name, smallest in least.items():
            value = getattr(self, name)
            if value < smallest:
                raise InputError(f"{name} (={value}) must be {smallest} or more")


def agreement(
    model: nn.Module, data: PlanningData, outputs: OutputModel | None = None, seed: int = 0
) -> Likeness:
    """What plans are measured by where samples have no targets: how often a network and the dense one have
    the same most likely class.

    Args:
        model: the dense network.
        data: its samples, of which one is looked at.
        outputs: what its outputs are taken for; None: as is usual.
        seed: of the sample.

    Raises:
        InputError: its outputs are no scores or chances of classes.
    """
    sample = data.calibration(1, seed)
    taken_for = outputs or usual_outputs(model, sample)
    if taken_for.kind == VALUES:
        raise InputError(
            "without targets plans are measured by how often the most likely class is the original's, and "
            "the network's outputs are values; give targets and a metric, limit the predicted loss instead "
            "(max_loss), or say that they are classes (outputs='scores:1')"
        )
    return Likeness(model, output_loss(model, sample, taken_for))


class PlanAccuracy:
    """Measures plans of one network on the same samples and chips: the same plan has the same accuracy.

    The samples are held out from calibration, not from the training of the dense network, so that their
    accuracy is higher than that of test images: it compares plans, no more. Weights are made as
    `compress_` makes them on data, but batch norm and the quantisers see fewer samples. Those of each
    choice of each layer are made once and kept.

    Attributes:
        model: the dense network.
        data: its samples.
        settings: how plans are measured.
        metric: what they are measured by; None: top-1 accuracy.
        array: whose cells weights are quantised for; None: that of each plan's hardware.

    Args:
        model: the dense float network, on its device; it stays as it is.
        data: its samples.
        settings: how to measure.
        moments: of the inputs of the layers that plans may change, on data, not centred; layers without
            them get the weights nearest to their own.
        windows: the same of the inputs of their windows, by (a, b) or part of the plane.
        skippable: layers without moments that plans may skip, whose means are found when they are needed.
        metric: what networks are measured by, the higher the better; None: top-1 accuracy.
        array: see above.
    """

    def __init__(
        self,
        model: nn.Module,
        data: PlanningData,
        settings: MeasureSettings,
        moments: Mapping[str, PatchMoments] | None = None,
        windows: Mapping[str, Mapping[AnyWindow, PatchMoments]] | None = None,
        *,
        skippable: Sequence[str] = (),
        metric: Measure | None = None,
        array: ArraySpec | None = None,
    ) -> None:
        self.model, self.data, self.settings = model, data, settings
        self.metric, self.array = metric, array
        self._moments = moments or {}
        self._windows = windows or {}
        self._skippable = tuple(skippable)
        self._of_skippable: dict[str, PatchMoments] = {}
        # By layer and what it becomes: the state of the module.
        self._weights: dict[tuple[str, LayerKind], dict[str, Tensor]] = {}
        self._signs: dict[str, bool] = {}

    @cached_property
    def held_out(self) -> HeldOut:
        """The samples that are classified.

        Raises:
            InputError: none are left, or they have no classes; or there is no metric, and the network gives
                no scores of classes.
        """
        settings = self.settings
        if self.metric is None:
            self._check_scores()
        return self.data.held_out(settings.images, settings.seed, self._calibrated, self.metric)

    @property
    def measured(self) -> str:
        """The name of the metric; empty: top-1 accuracy is measured."""
        return "" if self.metric is None else self.metric.name

    @property
    def _calibrated(self) -> int:
        """Samples that something is calibrated on, the first ones: what others did, or batch norm here."""
        return max(self.settings.calibrated, self._images_of_norms)

    @property
    def _images_of_norms(self) -> int:
        """Samples that batch norm and quantisers see; where no classes are counted no more than all else
        sees, as those who have none have few.
        """
        if self.metric is not None and self.settings.calibrated:
            return min(self.settings.calibrated, BATCH_NORM_IMAGES)
        return BATCH_NORM_IMAGES

    @property
    def _follows(self) -> bool:
        """Whether networks are compared with the dense one: batch norms follow its own then."""
        return self.metric is not None and not self.metric.reads_targets

    def _check_scores(self) -> None:
        taken_for = usual_outputs(self.model, self.data.calibration(1, self.settings.seed))
        if taken_for.kind != SCORES:
            raise InputError(
                "accuracy is measured of networks that give scores of classes, (B, classes), and this one "
                "gives other outputs; name what plans are measured by, metric=function"
            )

    def under(self, settings: MeasureSettings | None = None, metric: Measure | None = None) -> PlanAccuracy:
        """The same network and data, measured otherwise; what is not given stays."""
        other = PlanAccuracy(
            self.model,
            self.data,
            settings or self.settings,
            self._moments,
            self._windows,
            skippable=self._skippable,
            metric=metric or self.metric,
            array=self.array,
        )
        other._weights = self._weights  # made for the same moments
        return other

    @property
    def identity(self) -> dict[str, Any]:
        """What the accuracies depend on, the same on all machines, which moments are up to rounding only."""
        samples = self._calibrated + self.settings.images
        identity: dict[str, Any] = {
            "data": self.data.digest(samples),
            "weights": weights_digest(self.model),
            "measure": asdict(self.settings),
            "calibrated": sorted(self._moments),
        }
        # Only where there is one: older searches know of none.
        if self.metric is not None:
            identity["metric"] = self.measured
        return identity

    def __call__(self, plan: Plan) -> float:
        """The accuracy of the network that follows `plan`, 0 to 1, or what the metric says of it.

        Raises:
            InputError: the plan is for another network, or cannot run on these arrays; or no samples are
                left to hold out.
        """
        noise = self.settings.noise
        held_out = self.held_out
        # What cannot be measured is refused before a network is made.
        if not noise.ideal:
            check_arrays(plan, noise)
        signed = self._with_signs(plan)
        network = self.compressed(signed)
        images, reference = self._images_of_norms, self.model if self._follows else None
        settled = quantise_(
            network, signed, self._batches(images), images=images, reference=reference, hardware=self.array
        )
        if noise.ideal:
            return held_out.accuracy(network)
        seed = self.settings.seed
        # Converters are set once, on the first chip: all chips have the same ranges.
        batches = self._batches(ADC_IMAGES)
        arrays = simulate(network, settled, noise, calibration=batches, seed=seed)
        chips = 1
        if noise.random:
            chips = self.settings.chips
        accuracies = []
        for chip in range(chips):
            # The seeds are those of all other plans: chips differ, plans are compared on the same ones.
            program_(arrays, seed + chip)
            accuracies.append(held_out.accuracy(arrays))
        return fmean(accuracies)

    def compressed(self, plan: Plan) -> nn.Module:
        """The dense network with the weights of every layer's choice in it; batch norm is as it was."""
        network = copy.deepcopy(self.model)
        if all(layer.kind.made_for_data for layer in plan.changed):
            # Each layer's weight depends on that layer alone, so that it can be made once for all plans.
            build_(network, plan)
            for layer in plan.changed:
                module = network.get_submodule(layer.name)
                module.load_state_dict(self._made(plan, layer))
        else:
            # Patterns and channels are chosen for all layers together.
            compress_on_moments_(network, plan, self._known(plan), self._norms)
        return network.to(self.data.device)

    def _batches(self, images: int) -> Iterable[Inputs]:
        return self.data.calibration(images, self.settings.seed)

    def _with_signs(self, plan: Plan) -> Plan:
        """The plan with all signs of inputs filled in, as those of the dense network are."""
        # Observed once for all plans: no layer that is replaced changes what a rectifier lets through.
        missing = []
        for layer in plan.layers:
            if layer.input_signed is None and layer.quantised:
                missing.append(layer.name)
        unseen = [name for name in missing if name not in self._signs]
        if unseen:
            self._signs |= observe_signs(self.model, self._batches(self._images_of_norms), unseen)
        return plan.with_signs({name: self._signs[name] for name in missing})

    def _made(self, plan: Plan, layer: LayerPlan) -> dict[str, Tensor]:
        """The state of the module that a layer becomes, alone in a network that is dense otherwise."""
        key = layer.name, layer.kind  # neither its mapping nor its bits change the weight
        if key not in self._weights:
            layers = []
            for other in plan.layers:
                if other.name != layer.name:
                    other = LayerPlan(other.name, DenseLayer())
                layers.append(other)
            lone = replace(plan, layers=tuple(layers))
            network = copy.deepcopy(self.model)
            compress_on_moments_(network, lone, self._known(lone), self._norms)
            module = network.get_submodule(layer.name)
            self._weights[key] = module.state_dict()
        return self._weights[key]

    @cached_property
    def _norms(self) -> dict[str, str]:
        """The batch norm behind each layer that has moments, or whose means are found here."""
        names = [*self._moments, *self._skippable]
        if not names:
            return {}
        batches = self._batches(SEEN_IMAGES)
        return following_norms(self.model, batches, names)

    def _known(self, plan: Plan) -> dict[str, PatchMoments]:
        """The moments of the layers of a plan whose weights are made for data."""
        known = self._skipped_in(plan)
        for layer in plan.layers:
            if not layer.kind.made_for_data:
                continue
            windows = windows_made_for(layer.kind)
            found: dict[AnyWindow, PatchMoments] = dict(self._windows.get(layer.name, {}))
            if layer.name in self._moments:
                found[PIXEL] = self._moments[layer.name]
            if all(window in found for window in windows):
                first, *others = [found[window] for window in windows]
                known[layer.name] = replace(first, others=tuple(others))
        return known

    def _skipped_in(self, plan: Plan) -> dict[str, PatchMoments]:
        """The moments of the layers that a plan skips and that have none."""
        skipped = [name for name in self._skippable if not plan.layer(name).kind.computes]
        new = [name for name in skipped if name not in self._of_skippable]
        if new:
            self._of_skippable |= patch_moments(self.model, self._batches(self._images_of_norms), new)
        return {name: self._of_skippable[name] for name in skipped}
