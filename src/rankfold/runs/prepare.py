"""`prepare`: a run that can begin, after all that was given was held against the rest."""

from __future__ import annotations

import copy
from dataclasses import replace

import torch
from torch import nn

from rankfold.calibration.observation import evaluating
from rankfold.calibration.output_choice import usual_outputs
from rankfold.calibration.outputs import SCORES, OutputModel, output_tensors
from rankfold.calibration.samples import call
from rankfold.models.device import device_of, dtype_of
from rankfold.plan import Plan, check_plan, coverage
from rankfold.runs.baseline import DenseWeights, GivenWeights, TrainedWeights
from rankfold.runs.choices import RunChoices
from rankfold.runs.energy_record import EnergyOptions, dense_energy
from rankfold.runs.recipes import FINE_TUNING, effective
from rankfold.runs.refusals import check_choices
from rankfold.runs.state import RunNotes, RunState, told, traced
from rankfold.simulator import check_arrays
from rankfold.surgery.by_weights import build_
from rankfold.training.device import choose_device
from rankfold.training.metric import Metric
from rankfold.training.recipe import Recipe
from rankfold.training.source import TrainingData, numbered


def prepare(
    model: nn.Module,
    data: TrainingData,
    plan: Plan,
    recipe: Recipe = FINE_TUNING,
    choices: RunChoices | None = None,
) -> RunState:
    """A run that can begin: all that was given goes together, and nothing has been written.

    The arguments, and what is raised, are those of `runs.run.run`.
    """
    chosen = choices or RunChoices()
    # Cheap checks first: a wrong choice is refused before a network is traced.
    device = choose_device(chosen.device)
    check_choices(chosen, data, plan, recipe)
    suited = data.fitted(recipe)
    own = copy.deepcopy(model)  # the steps work in place
    hardware = plan.machine
    if chosen.hardware is not None:
        hardware = chosen.hardware.with_array(plan.array)
    metric, outputs = None, None
    if chosen.metric is not None:
        metric = Metric.of(chosen.metric).named()
    if chosen.outputs is not None:
        outputs = OutputModel.parse(chosen.outputs)
    state = RunState(
        model=own,
        plan=plan,
        data=data,
        recipe=suited,
        device=device,
        decomposition=chosen.decomposition,
        rounding=chosen.rounding,
        # Nothing to teach without weight or epochs: then no teacher is made, and none is on record.
        distillation=effective(chosen.distillation, suited),
        reconstruction=chosen.reconstruction,
        noise=chosen.noise,
        hardware=hardware,
        notes=chosen.notes or RunNotes(),
        progress=told(chosen.progress, chosen.processes),
        processes=chosen.processes,
        captured=chosen.captured,
        metric=metric,
        outputs=outputs,
        # Dense, before any step: plans name its layers, and costs are of its shapes. It takes longest.
        network=traced(own, data, chosen.name or plan.model),
    )
    _plan_(state, chosen.linear)
    _price_(state, chosen.energy)
    _fit_cells_(state)
    _rehearse(state)
    _weigh_(state, chosen.baseline)
    state.classes = data.classes or _own_classes(own, data)
    return state


def _plan_(state: RunState, linear: bool) -> None:
    """Hold the plan against the network, and tell what becomes of its layers."""
    plan, network = state.plan, state.network
    check_plan(plan, network)
    # By this name the network is built again, and commands read it from the plan; a plan that was made of
    # shapes alone does not know how the network is called with inputs.
    state.plan = replace(plan, model=network.name, inputs=plan.inputs or network.inputs)
    if state.noise is not None:
        check_arrays(state.plan, state.noise)
    state.progress.note(coverage(network, state.plan, linear).table() + "\n")


def _price_(state: RunState, energy: EnergyOptions | None) -> None:
    """Choose the components that energy is counted with, and count that of the dense network."""
    assert state.hardware is not None  # `prepare` chose it
    state.energy = energy or EnergyOptions.of(state.hardware)
    state.dense_energy = dense_energy(state.network, state.plan, state.energy)


def _fit_cells_(state: RunState) -> None:
    """Let the plan say which levels weights have, those that the cells hold: the run is known by them."""
    if state.plan.quantised:
        state.plan = state.plan.with_levels_for(state.celled_array)


def _rehearse(state: RunState) -> None:
    """Replace the layers of a copy: whatever surgery refuses, it refuses before any work is done."""
    build_(copy.deepcopy(state.model), state.plan)


def _weigh_(state: RunState, baseline: DenseWeights | None) -> None:
    """Give the network its weights: those of another network are refused before the folder is touched."""
    weights = (baseline or GivenWeights()).for_run(state.recipe, state.data)
    if isinstance(weights, TrainedWeights) and weights.recipe.epochs:
        state.data.require_labels("training the dense network")
    weights.load_(state.model)
    state.baseline = weights


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
