"""`RunState`: a run under way, which the steps of `runs.steps` take further one after another."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from rankfold.errors import InputError
from rankfold.lowrank import DECOMPOSITIONS
from rankfold.models.load import check_classes
from rankfold.plan import Plan, check_plan
from rankfold.progress import Progress, Silent
from rankfold.runs.baseline import DenseWeights, GivenWeights
from rankfold.runs.calibration import CALIBRATION_IMAGES, CalibrationImages
from rankfold.runs.folder import RunFolder
from rankfold.runs.recipes import DISTILLATION, FINE_TUNING, effective, fitted
from rankfold.simulator import ArrayNonIdealities, check_arrays
from rankfold.surgery.compress import LayerReport, build_
from rankfold.training.checkpoint import Checkpoint
from rankfold.training.data import ImageData
from rankfold.training.distillation import Distillation, Teacher
from rankfold.training.loop import EpochRecord, choose_device
from rankfold.training.recipe import Recipe
from rankfold.workload import Network, trace


@dataclass(kw_only=True)
class RunState:
    """What a run works on, and what its steps have found so far.

    Attributes:
        model: the network; the steps change it in place.
        plan: what its layers become; the steps fill in the supports and signs that it leaves open.
        network: the trace of the dense network.
        data: its images.
        recipe: of fine-tuning.
        device: where the work is done.
        baseline: where the weights of the dense network come from.
        decomposition: one of `rankfold.lowrank.DECOMPOSITIONS`.
        distillation: how the dense network teaches in fine-tuning; None: it does not.
        noise: non-idealities of the arrays that fine-tuning has in the loop; None: it has no arrays.
        folder: where checkpoints and the plan are kept; None: nothing is kept.
        progress: hears how far the work is.
        stage: what `progress` calls fine-tuning.
        teacher: the dense network as it was when it began to teach.
        arrays: the network as its arrays compute it, with the Parameters of `model`, where there is `noise`.
        reports: what surgery did to each layer.
        parameters: weights and biases, before and after surgery.
        accuracies: on the test split, 0 to 1: `baseline`, `decomposed`, `final`, `arrays`.
        history: one record for each epoch.
    """

    model: nn.Module
    plan: Plan
    network: Network
    data: ImageData
    recipe: Recipe
    device: torch.device
    baseline: DenseWeights = field(default_factory=GivenWeights)
    decomposition: str = "data"
    distillation: Distillation | None = None
    noise: ArrayNonIdealities | None = None
    folder: RunFolder | None = None
    progress: Progress = field(default_factory=Silent)
    stage: str = "fine-tuning"

    teacher: Teacher | None = None
    arrays: nn.Module | None = None
    reports: tuple[LayerReport, ...] = ()
    parameters: tuple[int, int] = (0, 0)
    accuracies: dict[str, float] = field(default_factory=dict)
    history: tuple[EpochRecord, ...] = ()

    def calibration(self, images: int = CALIBRATION_IMAGES) -> Iterable[Tensor]:
        """Training images in batches (B, C, H, W) that can be gone through again and again."""
        return CalibrationImages(self.data, self.device, self.recipe.seed, images)

    def checkpoint(self, name: str) -> Checkpoint | None:
        """The checkpoint of this name in the run's folder, where it has one."""
        if self.folder is None:
            return None
        return Checkpoint(self.folder.path / name, self.folder.run)


def prepare(
    model: nn.Module,
    data: ImageData,
    plan: Plan,
    recipe: Recipe = FINE_TUNING,
    *,
    name: str | None = None,
    baseline: DenseWeights | None = None,
    decomposition: str = "data",
    distillation: Distillation | None = DISTILLATION,
    noise: ArrayNonIdealities | None = None,
    device: str = "auto",
    progress: Progress | None = None,
) -> RunState:
    """A run that can begin: all that was given goes together.

    Args:
        model: the dense network; the run works on a copy of it.
        data: its images.
        plan: what its layers become.
        recipe: of fine-tuning; it is adapted to the data (see `fitted`).
        name: of the network; None: as the plan calls it.
        baseline: where its weights come from; None: it has them.
        decomposition: `svd` (nearest to the weights), `data` (nearest to the layers' outputs on training
            images) or `sequential` (the same, layer after layer, taking back the errors of those before).
        distillation: how the dense network teaches in fine-tuning; None: it does not.
        noise: non-idealities of the arrays to fine-tune with; None: the network is fine-tuned as quantised.
        device: `auto`, `cpu`, `cuda`, ...
        progress: hears how far the work is.

    Raises:
        InputError: something does not go with the rest; the message says what.
        UnsupportedLayerError: a layer cannot be replaced exactly.
    """
    target = choose_device(device)
    if decomposition not in DECOMPOSITIONS:
        raise InputError(f"decomposition (={decomposition}) must be one of {', '.join(DECOMPOSITIONS)}")
    if noise is not None and recipe.compiled:
        raise InputError(
            "noise-aware training programs arrays anew in every step, which compiled steps do not; "
            "leave --compile"
        )
    suited = fitted(recipe, data)
    own = copy.deepcopy(model)
    network = traced(own, data, name or plan.model)
    check_plan(plan, network)
    if noise is not None:
        check_arrays(plan, noise)
    # A rehearsal: whatever surgery refuses, it refuses before any work is done.
    build_(copy.deepcopy(own), plan)
    dense = (baseline or GivenWeights()).for_run(suited, data)
    dense.load_(own)
    return RunState(
        model=own,
        plan=plan,
        network=network,
        data=data,
        recipe=suited,
        device=target,
        baseline=dense,
        decomposition=decomposition,
        distillation=effective(distillation, suited),
        noise=noise,
        progress=progress or Silent(),
    )


def traced(model: nn.Module, data: ImageData, name: str) -> Network:
    """The trace of a network for the data's images, called `name`.

    Raises:
        InputError: the network does not take them, or does not give one logit for each of their classes.
    """
    network = trace(model, data.input_size, name)
    check_classes(model, name, data.input_size, len(data.classes))
    return network
