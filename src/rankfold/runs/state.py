"""`RunState`: a run under way, which the steps of `runs.steps` take further one after another."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import nn

from rankfold.arguments import TEXT, check_fields
from rankfold.calibration.observation import evaluating
from rankfold.calibration.output_choice import usual_outputs
from rankfold.calibration.outputs import SCORES, OutputModel, output_tensors
from rankfold.calibration.samples import CALIBRATION_IMAGES, call
from rankfold.cost.energy import NetworkEnergy
from rankfold.errors import InputError
from rankfold.lowrank import DECOMPOSITIONS
from rankfold.machine import Hardware, NonIdealities
from rankfold.models.device import device_of, dtype_of
from rankfold.models.load import check_classes, check_logits
from rankfold.plan import Plan, check_plan, coverage
from rankfold.progress import Progress, Silent
from rankfold.runs.baseline import DenseWeights, GivenWeights, TrainedWeights
from rankfold.runs.energy_record import EnergyOptions, dense_energy
from rankfold.runs.folder import RunFolder
from rankfold.runs.recipes import DISTILLATION, FINE_TUNING, effective
from rankfold.simulator import check_arrays
from rankfold.surgery.compress import LayerReport, build_
from rankfold.surgery.quantise import check_rounding
from rankfold.training.checkpoint import Checkpoint
from rankfold.training.device import choose_device
from rankfold.training.distillation import Distillation, Teacher
from rankfold.training.epoch_record import EpochRecord
from rankfold.training.loaders import trace_on
from rankfold.training.metric import Function, Metric, Updated
from rankfold.training.processes import ALONE, Processes
from rankfold.training.recipe import Recipe
from rankfold.training.reconstruction_recipe import BlockRecord, Reconstruction
from rankfold.training.source import TrainingData, numbered
from rankfold.training.static_training import check_static
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
        energy: the components that energy is counted with.
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
    blocks: tuple[BlockRecord, ...] = ()
    history: tuple[EpochRecord, ...] = ()

    def calibration(self, images: int = CALIBRATION_IMAGES) -> Iterable[Any]:
        """Inputs of training samples in batches that can be gone through again and again."""
        return self.data.calibration_batches(images, self.device, self.recipe.seed)

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


def prepare(
    model: nn.Module,
    data: TrainingData,
    plan: Plan,
    recipe: Recipe = FINE_TUNING,
    *,
    name: str | None = None,
    baseline: DenseWeights | None = None,
    decomposition: str = "data",
    rounding: str = "nearest",
    distillation: Distillation | None = DISTILLATION,
    reconstruction: Reconstruction | None = None,
    noise: NonIdealities | None = None,
    energy: EnergyOptions | None = None,
    hardware: Hardware | None = None,
    notes: RunNotes | None = None,
    linear: bool = False,
    device: str = "auto",
    progress: Progress | None = None,
    processes: Processes = ALONE,
    captured: bool = False,
    metric: Metric | Function | Updated | None = None,
    outputs: OutputModel | str | None = None,
) -> RunState:
    """A run that can begin: all that was given goes together, and nothing has been written.

    The arguments, and what is raised, are those of `runs.run.run`.
    """
    # Cheap checks first: a wrong choice is refused before a network is traced.
    target = choose_device(device)
    _check_choices(decomposition, noise, recipe)
    _check_labels(data, recipe, distillation, noise=noise, processes=processes)
    if reconstruction is not None:
        _check_reconstruction(reconstruction, data, noise, processes)
    if metric is not None and not processes.alone:
        raise InputError("a metric is measured in one process; omit torchrun, or the metric")
    if metric is not None:
        data.require_targets()
    by = None if metric is None else Metric.of(metric).named()
    taken_for = None if outputs is None else OutputModel.parse(outputs)
    if captured:
        check_captured(data, processes, noise)
        _check_captured_labels(data, distillation)
    check_rounding(rounding, plan)
    suited = data.fitted(recipe)
    machine = plan.machine
    if hardware is not None:
        machine = hardware.with_array(plan.array)
    hearer = told(progress, processes)
    own = copy.deepcopy(model)  # the steps work in place
    # Dense, before any step: plans name its layers, and costs are of its shapes.
    network = traced(own, data, name or plan.model)
    check_plan(plan, network)
    # By this name the network is built again, and commands read it from the plan; a plan that was made of
    # shapes alone does not know how the network is called with inputs.
    plan = replace(plan, model=network.name, inputs=plan.inputs or network.inputs)
    if noise is not None:
        check_arrays(plan, noise)
    hearer.note(coverage(network, plan, linear).table() + "\n")
    priced = energy or EnergyOptions.of(machine)
    dense = dense_energy(network, plan, priced)
    # A rehearsal: whatever surgery refuses, it refuses before any work is done.
    build_(copy.deepcopy(own), plan)
    # Weights of another network are refused before the folder is touched, too.
    weights = (baseline or GivenWeights()).for_run(suited, data)
    if isinstance(weights, TrainedWeights) and weights.recipe.epochs:
        data.require_labels("training the dense network")
    weights.load_(own)
    return RunState(
        model=own,
        plan=plan,
        network=network,
        data=data,
        recipe=suited,
        device=target,
        baseline=weights,
        decomposition=decomposition,
        rounding=rounding,
        # Nothing to teach without weight or epochs: then no teacher is made, and none is on record.
        distillation=effective(distillation, suited),
        reconstruction=reconstruction,
        noise=noise,
        hardware=machine,
        notes=notes or RunNotes(),
        energy=priced,
        dense_energy=dense,
        progress=hearer,
        processes=processes,
        captured=captured,
        metric=by,
        outputs=taken_for,
        classes=data.classes or _own_classes(own, data),
    )


def _own_classes(model: nn.Module, data: TrainingData) -> tuple[str, ...]:
    """The classes that a network tells apart, by their numbers; none where its outputs are no scores."""
    example = data.example(device_of(model))
    if example is None:
        example = torch.zeros(1, *data.input_size, device=device_of(model), dtype=dtype_of(model))
    if usual_outputs(model, [example]).kind != SCORES:
        return ()
    with evaluating(model), torch.no_grad():
        (scores,) = output_tensors(call(model, example), 1).values()
    return numbered(scores.shape[1])


def _check_labels(
    data: TrainingData,
    recipe: Recipe,
    distillation: Distillation | None,
    *,
    noise: NonIdealities | None,
    processes: Processes,
) -> None:
    """Refuse what needs labels where there are none, and what learning without labels does not do."""
    alone = distillation is not None and not distillation.labels
    if alone and distillation is not None and distillation.images is not None and recipe.epochs:
        data.few(distillation.images, recipe.seed)  # refuses more than there are
    if recipe.epochs and not alone:
        data.require_labels(
            "fine-tuning",
            "learn from the dense network alone (compress --distil-unlabelled, or --reconstruct --epochs 0)",
        )
    if (not data.is_labelled or (alone and recipe.epochs)) and not processes.alone:
        raise InputError("without labels networks are trained and measured in one process; omit torchrun")
    if alone and noise is not None and recipe.epochs:
        raise InputError(
            "without labels networks learn as they are quantised, with no arrays in the loop; omit noise, or "
            "the distillation without labels"
        )
    if not data.is_labelled and noise is not None:
        data.require_labels("noise-aware training")


def _check_captured_labels(data: TrainingData, distillation: Distillation | None) -> None:
    data.require_labels("training by captured steps")
    if distillation is not None and not distillation.labels:
        raise InputError("captured steps look at labels; omit them, or the distillation without labels")


def told(progress: Progress | None, processes: Processes) -> Progress:
    """Who hears of the work of this process: of several, the first alone tells."""
    if progress is None or not processes.is_first:
        return Silent()
    return progress


def _check_choices(decomposition: str, noise: NonIdealities | None, recipe: Recipe) -> None:
    if decomposition not in DECOMPOSITIONS:
        raise InputError(f"decomposition (={decomposition}) must be one of {', '.join(DECOMPOSITIONS)}")
    if noise is not None and recipe.compiled:
        raise InputError(
            "noise-aware training programs arrays anew in every step, which compiled steps do not; "
            "omit compiled=True"
        )


def _check_reconstruction(
    reconstruction: Reconstruction,
    data: TrainingData,
    noise: NonIdealities | None,
    processes: Processes,
) -> None:
    """Refuse what a reconstruction cannot do."""
    if noise is not None:
        raise InputError(
            "reconstruction has no arrays in the loop, and noise-aware training has; omit one of the two"
        )
    if not processes.alone:
        raise InputError("a network is reconstructed in one process; omit torchrun, or the reconstruction")
    if data.train_images < reconstruction.images:
        raise InputError(
            f"images (={reconstruction.images}) of reconstruction must be {data.train_images} or fewer, as "
            "many as the data have to train on"
        )


def check_captured(data: TrainingData, processes: Processes, noise: NonIdealities | None = None) -> None:
    """Refuse what steps that are recorded and played again cannot do.

    Raises:
        InputError: it is asked for.
    """
    check_static(data)
    if not processes.alone:
        raise InputError("captured steps are of one process; start one for each GPU, or omit captured steps")
    if noise is not None:
        raise InputError(
            "noise-aware training programs arrays anew in every step, which captured steps do not; omit "
            "captured steps"
        )


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
