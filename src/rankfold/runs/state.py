"""`RunState`: a run under way, which the steps of `runs.steps` take further one after another."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from rankfold.arguments import TEXT, check_fields
from rankfold.calibration.observation import evaluating
from rankfold.calibration.outputs import OutputModel
from rankfold.calibration.samples import CALIBRATION_IMAGES, call
from rankfold.cost.energy import NetworkEnergy
from rankfold.machine import Hardware, NonIdealities
from rankfold.mapping import ArraySpec
from rankfold.models.device import device_of
from rankfold.models.load import check_classes, check_logits
from rankfold.plan import Plan
from rankfold.progress import Progress, Silent
from rankfold.runs.baseline import DenseWeights, GivenWeights
from rankfold.runs.energy_record import EnergyOptions
from rankfold.runs.folder import RunFolder
from rankfold.surgery.layer_report import LayerReport
from rankfold.training.checkpoint import Checkpoint
from rankfold.training.distillation import Distillation, Teacher
from rankfold.training.epoch_record import EpochRecord
from rankfold.training.loaders import trace_on
from rankfold.training.metric import Metric
from rankfold.training.processes import ALONE, Processes
from rankfold.training.recipe import Recipe
from rankfold.training.reconstruction_recipe import BlockRecord, Reconstruction
from rankfold.training.source import TrainingData
from rankfold.training.unlabelled import Likeness
from rankfold.workload import Network, trace

ACCURACY = "accuracy"  # what networks are measured by where there are labels


@dataclass(frozen=True)
class RunNotes:
    """What `result.json` says of a run beside what it found; no number depends on it.

    Attributes:
        command: the command line.
        image_size: (H, W) that the images were resized to; None: they were taken as they are.
    """

    command: str = ""
    image_size: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        check_fields(self, command=TEXT)


@dataclass(kw_only=True)
class RunState:
    """What a run works on, and what its steps have found so far.

    Attributes:
        model: the network; the steps change it in place.
        plan: what its layers become; the steps fill in the supports and signs that it leaves open.
        network: the trace of the dense network.
        data: what it is trained and tested on.
        recipe: of fine-tuning.
        device: where the work is done.
        baseline: where the weights of the dense network come from.
        decomposition: one of `rankfold.lowrank.DECOMPOSITIONS`.
        rounding: of weights to levels before fine-tuning, one of `rankfold.lowrank.ROUNDINGS`.
        distillation: how the dense network teaches in fine-tuning; None: it does not.
        reconstruction: how the network learns without labels before fine-tuning; None: it does not.
        noise: non-idealities of the arrays that fine-tuning has in the loop; None: it has no arrays.
        hardware: what costs are counted for; None: that of the plan.
        notes: what the result says of the run beside what it found.
        energy: the components that energy is counted with; weights are quantised for their cells.
        dense_energy: of the dense network, which the result compares with; None: the result has no energy.
        folder: where checkpoints and the plan are kept; None: nothing is kept, as in processes that are not
            the first.
        progress: hears how far the work is.
        stage: what `progress` calls fine-tuning.
        processes: that do this work together.
        captured: whether it trains by static steps, on a GPU one CUDA graph each.
        metric: what the network is measured by beside top-1 accuracy; None: nothing.
        outputs: what the network's outputs are taken for; None: as is usual.
        classes: names of the network's classes; of data without labels their numbers, none where outputs
            are no scores of classes.
        teacher: the dense network as it was when it began to teach.
        reference: the dense network, where there is a `reconstruction`.
        likeness: what the network is measured by where the data have no labels; None: by its accuracy.
        arrays: the network as its arrays compute it, with the Parameters of `model`, where there is `noise`.
        dense_weights: a hash of the weights that the dense network had; empty before they are there.
        reports: what surgery did to each layer.
        parameters: weights and biases, before and after surgery.
        accuracies: on the test split, 0 to 1: `baseline`, `decomposed`, `reconstructed`, `final`, `arrays`.
        metrics: what `metric` says on the test split, by the same names but `arrays`.
        of_outputs: what `likeness` says of each output in the end, where there are several.
        blocks: one record for each block that was reconstructed.
        history: one record for each epoch.
    """

    model: nn.Module
    plan: Plan
    network: Network
    data: TrainingData
    recipe: Recipe
    device: torch.device
    baseline: DenseWeights = field(default_factory=GivenWeights)
    decomposition: str = "data"
    rounding: str = "nearest"
    distillation: Distillation | None = None
    reconstruction: Reconstruction | None = None
    noise: NonIdealities | None = None
    hardware: Hardware | None = None
    notes: RunNotes = field(default_factory=RunNotes)
    energy: EnergyOptions = field(default_factory=EnergyOptions)
    dense_energy: NetworkEnergy | None = None
    folder: RunFolder | None = None
    progress: Progress = field(default_factory=Silent)
    stage: str = "fine-tuning"
    processes: Processes = ALONE
    captured: bool = False
    metric: Metric | None = None
    outputs: OutputModel | None = None
    classes: tuple[str, ...] = ()

    teacher: Teacher | None = None
    reference: nn.Module | None = None
    likeness: Likeness | None = None
    arrays: nn.Module | None = None
    dense_weights: str = ""
    reports: tuple[LayerReport, ...] = ()
    parameters: tuple[int, int] = (0, 0)
    accuracies: dict[str, float] = field(default_factory=dict)
    metrics: dict[str, float] = field(default_factory=dict)
    of_outputs: dict[str, float] = field(default_factory=dict)
    blocks: tuple[BlockRecord, ...] = ()
    history: tuple[EpochRecord, ...] = ()

    def calibration(self, images: int = CALIBRATION_IMAGES) -> Iterable[Any]:
        """Inputs of training samples in batches that can be gone through again and again."""
        return self.data.calibration_batches(images, self.device, self.recipe.seed)

    @property
    def celled_array(self) -> ArraySpec:
        """The plan's array with the cells that it is priced with, which weights are quantised for."""
        return self.energy.with_cells(self.plan.array)

    @property
    def measured_by(self) -> str:
        """What `accuracies` are: `accuracy`, or without labels `agreement` or `relative output error`."""
        return ACCURACY if self.likeness is None else self.likeness.name

    @property
    def taught_alone(self) -> bool:
        """Whether the dense network teaches and nobody looks at labels."""
        return self.distillation is not None and not self.distillation.labels

    @property
    def checkpoint(self) -> Checkpoint | None:
        """Where fine-tuning keeps its state, if the run has a folder."""
        # Planning goes through the same steps and keeps nothing.
        if self.folder is None:
            return None
        return Checkpoint(self.folder.checkpoint, self.folder.run)


def told(progress: Progress | None, processes: Processes) -> Progress:
    """Who hears of the work of this process: of several, the first alone tells."""
    if progress is None or not processes.is_first:
        return Silent()
    return progress


def traced(model: nn.Module, data: TrainingData, name: str) -> Network:
    """The trace of a network for the data's images, called `name`.

    Raises:
        InputError: the network does not take them, or does not give one logit for each of their classes.
    """
    example = data.example(device_of(model))
    network = shapes_of(model, data, name)
    # Without labels outputs may be of any sort.
    if not data.is_labelled:
        return network
    classes = len(data.classes)
    if example is None:
        check_classes(model, name, data.input_size, classes)
        return network
    # In eval mode, as batch norm in training mode would take the example into its statistics.
    with evaluating(model):
        check_logits(name, call(model, example), classes)
    return network


def shapes_of(model: nn.Module, data: TrainingData, name: str) -> Network:
    """The trace of a network for a sample of the data, called `name`.

    Raises:
        InputError: the network does not take it.
    """
    # Images have a size that can be traced; other data give an example batch.
    example = data.example(device_of(model))
    if example is None:
        return trace(model, data.input_size, name)
    return trace_on(model, name, example)
