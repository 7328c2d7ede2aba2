"""`train_network`: a dense float network, trained into a folder that runs can begin with."""

from __future__ import annotations

import copy
from pathlib import Path

from torch import nn

from rankfold.cost.energy import choose_mappings, hardware_table
from rankfold.machine import Hardware
from rankfold.mapping import ArraySpec
from rankfold.plan import Plan, uniform_plan
from rankfold.progress import Progress
from rankfold.runs import steps
from rankfold.runs.baseline import GivenWeights, weights_digest
from rankfold.runs.energy_record import EnergyOptions, dense_energy
from rankfold.runs.folder import kept_if_begun
from rankfold.runs.recipes import DENSE
from rankfold.runs.refusals import check_captured
from rankfold.runs.result import Result
from rankfold.runs.run import claim, common_identity, finished, recorded
from rankfold.runs.state import RunNotes, RunState, told, traced
from rankfold.surgery.compress import compress_
from rankfold.training.device import choose_device
from rankfold.training.processes import ALONE, Processes
from rankfold.training.recipe import Recipe
from rankfold.training.source import TrainingData
from rankfold.workload import Network


def train_network(
    model: nn.Module,
    data: TrainingData,
    recipe: Recipe = DENSE,
    *,
    out: str | Path,
    name: str,
    array: ArraySpec | Hardware,
    mapping: str | None = "sdk",
    energy: EnergyOptions | None = None,
    hardware: Hardware | None = None,
    notes: RunNotes | None = None,
    device: str = "auto",
    resume: bool = False,
    progress: Progress | None = None,
    processes: Processes = ALONE,
    captured: bool = False,
) -> Result:
    """Train a dense float network, from the weights that it has, into the folder `out`.

    The folder has the same files as that of `runs.run.run`; its plan keeps every layer.

    Args:
        model: the network; it stays as it is.
        data: images for training and test (`load_images`), or batches of one's own (`LoaderData`).
        recipe: how it is trained.
        out: the folder, new or of this very run.
        name: of the network; `load_run` finds the network by it.
        array: what cycles and energy are counted for, an array or the whole hardware.
        mapping: of every layer; None: chosen for each by the rule of `cost.choose_mapping`.
        energy: the components that energy is counted with; None: those of the hardware.
        hardware: what energy is counted for, on the plan's array; None: that of `array`.
        notes: what the result says beside what the run finds.
        device: `auto`, `cpu`, `cuda`, ...
        resume: go on with what is in `out`.
        progress: hears how far the run is.
        processes: that do the run together, as `runs.run.run` takes them.
        captured: train by static steps, as `runs.run.run` does.

    Raises:
        InputError: anything that was given is wrong; the message says what would be right.
        LostProcessError: another of the processes has ended.
    """
    target = choose_device(device)
    data.require_labels("training")
    if captured:
        check_captured(data, processes)
    suited = data.fitted(recipe)
    # Training works in place, and the user's network is not ours to change.
    own = copy.deepcopy(model)
    network = traced(own, data, name)
    plan = _dense_plan(network, array, mapping)
    machine = plan.machine
    if hardware is not None:
        machine = hardware.with_array(plan.array)
    priced = energy or EnergyOptions.of(machine)
    state = RunState(
        model=own,
        plan=plan,
        network=network,
        data=data,
        recipe=suited,
        device=target,
        baseline=GivenWeights("fresh weights"),
        hardware=machine,
        notes=notes or RunNotes(),
        energy=priced,
        dense_energy=dense_energy(network, plan, priced),
        progress=told(progress, processes),
        stage="training",
        processes=processes,
        captured=captured,
    )
    return _trained(state, Path(out), resume)


def _trained(state: RunState, out: Path, resume: bool) -> Result:
    """Train the network of a run in its folder.

    Raises:
        InputError: the folder holds something else, or training diverged.
    """
    # No dense weights come before these: where others name them, the identity has nothing.
    content = common_identity(state, None)
    content["weights"] = weights_digest(state.model)  # that the training begins with
    number = claim(state, out, content, resume)
    known = finished(state)
    if known is not None:
        return known
    with kept_if_begun(state.folder):
        # Already here: a folder under way says what it trains.
        if state.folder is not None:
            state.plan.save(state.folder.plan)
        steps.fine_tune(state)
        steps.evaluate(state)
        parameters = sum(parameter.numel() for parameter in state.model.parameters())
        state.parameters = parameters, parameters
        state.reports = compress_(state.model, state.plan)  # nothing changes; each layer is reported
        return recorded(state, number)


def _dense_plan(network: Network, array: ArraySpec | Hardware, mapping: str | None) -> Plan:
    """Every layer dense and in float: the folder is read like that of any other run."""
    plan = uniform_plan(network, array, mapping=mapping or "sdk")
    if mapping is None:
        plan = choose_mappings(network, plan, hardware_table(plan.machine))
    return plan
