"""The accuracy of plans as it is measured: each network is made, quantised and put on its arrays, but not fine-tuned."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from statistics import fmean
from typing import Any

import torch
from torch import Tensor, nn

from rankfold.calibration.batch_norm import reestimate_batch_norm_
from rankfold.calibration.correction import following_norms
from rankfold.calibration.moments import PatchMoments
from rankfold.calibration.quantisers import calibrate_
from rankfold.calibration.signs import observe_signs
from rankfold.errors import InputError
from rankfold.plan import DENSE, LayerPlan, Plan
from rankfold.runs.compress import MOMENT_IMAGES
from rankfold.simulator import ArrayNonIdealities, check_arrays, program_, simulate
from rankfold.surgery.compress import compress_, compress_on_moments_, quantise_by_plan_
from rankfold.training.batches import EVALUATION_BATCH, Batches
from rankfold.training.data import ImageData, ImageSplit
from rankfold.training.loop import evaluate

ADC_IMAGES = 250


@dataclass(frozen=True)
class MeasureSettings:
    """How the accuracy of a plan is measured.

    Attributes:
        images: training images that nothing was calibrated on; all of these, if there are fewer.
        chips: arrays that are programmed, each anew, where two chips may differ; the mean over them counts.
        noise: non-idealities of the arrays; ideal ones are not simulated, as they compute exactly.
        seed: of the images that are drawn, and of the first chip.
        calibrated: training images, the first that `seed` draws, that others have calibrated on, such as the moments.
    """

    images: int = 1000
    chips: int = 2
    noise: ArrayNonIdealities = field(default_factory=ArrayNonIdealities)
    seed: int = 0
    calibrated: int = MOMENT_IMAGES

    def __post_init__(self) -> None:
        for name, least in (("images", 1), ("chips", 1), ("seed", 0), ("calibrated", 0)):
            if getattr(self, name) < least:
                raise InputError(f"{name} (={getattr(self, name)}) must be {least} or more")


class PlanAccuracy:
    """Measures plans of one network, all on the same images and chips, so that the same plan gives the same accuracy.

    The images are held out from calibration, not from the training of the dense network, so that their accuracy is higher than
    that of test images: it compares plans, no more. Weights are made as `compress` makes them on data, but batch norm and the
    quantisers see fewer images. Those of each choice of each layer are made once and kept.

    Args:
        model: the dense float network, on `device`; it stays as it is.
        data: its data.
        device: where it is.
        settings: how to measure.
        moments: of the inputs of the layers that plans may change, on data, not centred; layers without them get the weights
            nearest to their own.
    """

    def __init__(
        self,
        model: nn.Module,
        data: ImageData,
        device: torch.device,
        settings: MeasureSettings,
        moments: Mapping[str, PatchMoments] | None = None,
    ) -> None:
        self.model, self.data, self.device, self.settings, self.moments = model, data, device, settings, moments or {}
        self._weights: dict[tuple[str, LayerPlan], dict[str, Tensor]] = {}
        self._signs: dict[str, bool] = {}

    @cached_property
    def held_out(self) -> ImageSplit:
        """The images that are classified.

        Raises:
            InputError: none are left.
        """
        calibrated = max(self.settings.calibrated, EVALUATION_BATCH)
        found = self.data.train.sample(self.settings.images, self.settings.seed, skip=calibrated)
        if not len(found):
            raise InputError(
                f"data {self.data.name} has {len(self.data.train)} training images, all of which are needed for calibration; "
                "none is left to measure plans on"
            )
        return found

    def under(self, settings: MeasureSettings) -> PlanAccuracy:
        """The same network and data, measured otherwise."""
        other = PlanAccuracy(self.model, self.data, self.device, settings, self.moments)
        other._weights = self._weights
        return other

    @property
    def identity(self) -> dict[str, Any]:
        """What the accuracies depend on, the same on all machines, which calibration is only up to the last digits."""
        content = hashlib.sha256()
        for name, value in self.model.state_dict().items():
            content.update(name.encode() + value.detach().cpu().contiguous().numpy().tobytes())
        return {
            "data": self.data.digest, "weights": content.hexdigest()[:16], "measure": asdict(self.settings),
            "calibrated": sorted(self.moments),
        }  # fmt: skip

    def __call__(self, plan: Plan) -> float:
        """The accuracy of the network that follows `plan`, 0 to 1.

        Raises:
            InputError: the plan is for another network, or cannot run on these arrays; or no images are left to hold out.
        """
        noise, images = self.settings.noise, self.held_out
        if not noise.ideal:
            check_arrays(plan, noise)
        plan = self._with_signs(plan)
        network = self.compressed(plan)
        if any(layer.kind != DENSE for layer in plan.layers):
            reestimate_batch_norm_(network, self._batches())
        if plan.quantised:
            quantise_by_plan_(network, plan)
            calibrate_(network, self._batches())
            reestimate_batch_norm_(network, self._batches())
        if noise.ideal:
            return evaluate(network, images, self.data, self.device)
        seed = self.settings.seed
        arrays = simulate(network, plan, noise, calibration=self._batches(ADC_IMAGES), seed=seed)
        found = []
        for chip in range(self.settings.chips if noise.random else 1):
            program_(arrays, seed + chip)
            found.append(evaluate(arrays, images, self.data, self.device))
        return fmean(found)

    def _batches(self, images: int = EVALUATION_BATCH) -> Iterator[Tensor]:
        # Whole batches only: batch norm counts each of them alike.
        split = self.data.train.sample(images, self.settings.seed)
        return (x for x, _ in Batches(split, self.data.mean, self.data.std, EVALUATION_BATCH, self.device).epoch())

    def _with_signs(self, plan: Plan) -> Plan:
        """The plan with all signs of inputs filled in, as those of the dense network are."""
        missing = [layer.name for layer in plan.layers if layer.input_signed is None and layer.weight_bits is not None]
        new = [name for name in missing if name not in self._signs]
        if new:
            self._signs |= observe_signs(self.model, self._batches(), new)
        return plan.with_signs({name: self._signs[name] for name in missing})

    def compressed(self, plan: Plan) -> nn.Module:
        """The dense network with the weights of every layer's choice in it, before batch norm is re-estimated."""
        network = copy.deepcopy(self.model)
        changed = [layer for layer in plan.layers if layer.kind != DENSE]
        if not all(layer.made_for_data for layer in changed):
            # Patterns and channels are chosen for all layers together.
            compress_on_moments_(network, plan, self._known(plan), self._norms)
            return network.to(self.device)
        compress_(network, plan, decompose=False)
        for layer in changed:
            network.get_submodule(layer.name).load_state_dict(self._made(plan, layer))
        return network.to(self.device)

    def _made(self, plan: Plan, layer: LayerPlan) -> dict[str, Tensor]:
        """The state of the module that a layer becomes, alone in a network that is dense otherwise."""
        key = layer.name, replace(layer, mapping="sdk", weight_bits=None, input_bits=None, input_signed=None, reason="")
        if key not in self._weights:
            alone = copy.deepcopy(self.model)
            others = (other if other is layer else LayerPlan(other.name, DENSE) for other in plan.layers)
            lone = replace(plan, layers=tuple(others))
            compress_on_moments_(alone, lone, self._known(lone), self._norms)
            self._weights[key] = alone.get_submodule(layer.name).state_dict()
        return self._weights[key]

    @cached_property
    def _norms(self) -> dict[str, str]:
        """The batch norm behind each layer that has moments."""
        return following_norms(self.model, self._batches(2), list(self.moments)) if self.moments else {}

    def _known(self, plan: Plan) -> dict[str, PatchMoments]:
        """The moments of the layers whose weights are made for data."""
        return {
            layer.name: self.moments[layer.name] for layer in plan.layers if layer.made_for_data and layer.name in self.moments
        }
