"""`run`: the whole job, from the weights of a dense network and a plan to the files of a result."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from torch import nn

from rankfold.arguments import PATH, SWITCH, TEXT, Wanted, takes
from rankfold.calibration.outputs import OUTPUTS, OutputModel
from rankfold.machine import Hardware, NonIdealities
from rankfold.machine.nonideal import NON_IDEALITIES
from rankfold.models.device import MODEL
from rankfold.plan import Plan
from rankfold.plan.plan import PLAN
from rankfold.progress import PROGRESS, Progress
from rankfold.runs import steps
from rankfold.runs.baseline import DenseWeights
from rankfold.runs.choices import RunChoices
from rankfold.runs.energy_record import EnergyOptions
from rankfold.runs.folder import RunFolder, kept_if_begun
from rankfold.runs.prepare import prepare
from rankfold.runs.recipes import DISTILLATION, FINE_TUNING, recipe_identity
from rankfold.runs.record import record, result_of
from rankfold.runs.result import Result
from rankfold.runs.state import RunNotes, RunState
from rankfold.training.distillation import Distillation
from rankfold.training.metric import METRIC, Function, Metric, Updated
from rankfold.training.processes import ALONE, Processes
from rankfold.training.recipe import Recipe
from rankfold.training.reconstruction_recipe import Reconstruction
from rankfold.training.source import TrainingData


@takes(
    model=MODEL,
    data=Wanted("a data set: load_images(...), or LoaderData(train, test) of your own batches", TrainingData),
    plan=PLAN,
    recipe=Wanted("a Recipe, such as Recipe(epochs=10)", Recipe),
    out=PATH,
    name=TEXT.or_none,
    baseline=Wanted("DenseWeights", DenseWeights, optional=True),
    distillation=Wanted("a Distillation", Distillation, optional=True),
    reconstruction=Wanted(
        "a Reconstruction, such as Reconstruction(images=512)", Reconstruction, optional=True
    ),
    noise=NON_IDEALITIES,
    energy=Wanted("EnergyOptions(...)", EnergyOptions, optional=True),
    hardware=Wanted("Hardware(...)", Hardware, optional=True),
    notes=Wanted("RunNotes(...)", RunNotes, optional=True),
    linear=SWITCH,
    device=TEXT,
    resume=SWITCH,
    progress=PROGRESS,
    processes=Wanted("Processes.of_group()", Processes),
    captured=SWITCH,
    metric=METRIC.or_none,
    outputs=OUTPUTS,
)
def run(
    model: nn.Module,
    data: TrainingData,
    plan: Plan,
    recipe: Recipe = FINE_TUNING,
    *,
    out: str | Path,
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
    resume: bool = False,
    progress: Progress | None = None,
    processes: Processes = ALONE,
    captured: bool = False,
    metric: Metric | Function | Updated | None = None,
    outputs: OutputModel | str | None = None,
) -> Result:
    """Compress, quantise and fine-tune a network as a plan says, and write everything to the folder `out`.

    Everything that was given is checked before the folder is touched. A run that was stopped goes on from its
    last epoch with `resume`, and ends with the same accuracies.

    Args:
        model: the dense network; it stays as it is.
        data: images for training and test (`load_images`), or batches of one's own (`LoaderData`).
        plan: what its layers become.
        recipe: of fine-tuning.
        out: the folder, new or of this very run.
        name: of the network; None: as the plan calls it. `load_run` builds the network by it, if it is that
            of a zoo network or `package.module:factory`; by another name it has to be given the network.
        baseline: where the weights of the dense network come from; None: the network has them.
        decomposition: `svd` (nearest to the weights), `data` (nearest to the layers' outputs on training
            images) or `sequential` (the same, layer after layer, taking back the errors of those before).
        rounding: of weights to their first levels, `nearest` or `compensated` (see `quantise_`).
        distillation: how the dense network teaches in fine-tuning; None: it does not.
        reconstruction: how the network learns the dense network's outputs without labels before it is
            fine-tuned (`training.reconstruction`); None: it does not.
        noise: non-idealities of the arrays to fine-tune with; None: the network is fine-tuned as quantised.
        energy: the components that energy is counted with; None: those of the hardware.
        hardware: what energy is counted for, on the plan's array; where that names no cells, those of this
            technology, for which weights are quantised, too. None: the plan's hardware.
        notes: what the result says beside what the run finds.
        linear: whether fully connected layers that stay dense are told of as mapped.
        device: `auto`, `cpu`, `cuda`, ...
        resume: go on with what is in `out`.
        progress: hears how far the run is.
        processes: that do the run together, each called alike (`Processes.of_group()`); the first alone
            reads and writes the folder, and tells how far the run is.
        captured: train by static steps, on a GPU one CUDA graph each (`training.static_training`).
        metric: what the network is measured by on the test split beside top-1 accuracy, see `Metric`: a
            function (outputs, targets) -> number of all samples. The folder knows it by its name.
        outputs: what the network's outputs are taken for where weights are made for data and without labels,
            such as `scores:2` or `values`; None: one tensor (B, classes) is scores, all else values.

    Raises:
        InputError: anything that was given is wrong; the message says what would be right.
        UnsupportedLayerError: a layer cannot be replaced exactly.
        LostProcessError: another of the processes has ended.
    """
    choices = RunChoices(
        name=name,
        baseline=baseline,
        decomposition=decomposition,
        rounding=rounding,
        distillation=distillation,
        reconstruction=reconstruction,
        noise=noise,
        energy=energy,
        hardware=hardware,
        notes=notes,
        linear=linear,
        device=device,
        progress=progress,
        processes=processes,
        captured=captured,
        metric=metric,
        outputs=outputs,
    )
    return finish(begin(prepare(model, data, plan, recipe, choices), Path(out), resume))


@dataclass(frozen=True)
class Begun:
    """A run in its folder, up to its fine-tuning.

    Attributes:
        state: the run, quantised, where it is not complete.
        number: the hash of its identity.
        known: the result, where the folder has it already.
    """

    state: RunState
    number: str
    known: Result | None


def begin(state: RunState, out: Path, resume: bool) -> Begun:
    """Give a prepared run its folder, and take it up to its fine-tuning.

    Args:
        state: the run.
        out: the folder.
        resume: whether the run may go on with what is there.

    Raises:
        InputError: the folder holds something else, or a step fails.
    """
    # From here on the folder is written to; all that could be refused was looked at before.
    number = claim(state, out, identity(state), resume)
    # With `resume` a complete run costs nothing more, so grids may call it again for every cell.
    known = finished(state)
    if known is None:
        with kept_if_begun(state.folder):
            steps.start(state)
            steps.decompose(state)
            steps.quantise(state)
            steps.reconstruct(state)
    return Begun(state, number, known)


def finish(begun: Begun) -> Result:
    """Fine-tune a run that has begun and end it; of one that was complete already, its result.

    Raises:
        InputError: training diverged, or the result cannot be written.
    """
    if begun.known is not None:
        return begun.known
    with kept_if_begun(begun.state.folder):
        steps.fine_tune(begun.state)
        return end(begun)


def end(begun: Begun) -> Result:
    """Evaluate a run that is fine-tuned, and write its result down.

    Raises:
        InputError: it cannot be written.
    """
    steps.evaluate(begun.state)
    return recorded(begun.state, begun.number)


def claim(state: RunState, out: Path, content: Mapping[str, Any], resume: bool) -> str:
    """Give a prepared run its folder, in the first of its processes; the hash of its identity.

    Args:
        state: the run.
        out: the folder.
        content: the identity.
        resume: whether the run may go on with what is there.

    Raises:
        InputError: the folder holds something else, or the processes were not given the same.
    """
    state.processes.check_alike(content)
    own = None
    if state.processes.is_first:
        state.folder = RunFolder.claim(out, content, resume)
        own = state.folder.run.encode()
    told = state.processes.from_first(own)
    assert told is not None  # the first has a folder
    return told.decode()


def finished(state: RunState) -> Result | None:
    """The result that the run's folder has already; None: the run is not complete."""
    known = None
    if state.folder is not None and state.folder.result.exists():
        state.progress.note("this run is already complete")
        # A process may have been killed between the result and this.
        state.folder.remove_checkpoints()
        known = Result.load(state.folder.result)
    if state.processes.alone:
        return known
    own = None
    if known is not None:
        own = json.dumps(known.to_json()).encode()
    told = state.processes.from_first(own)
    if told is None:
        return None
    return Result.from_json(json.loads(told), "the result of process 0")


def recorded(state: RunState, number: str) -> Result:
    """The result of a run whose steps are done; the first of its processes writes it down.

    Args:
        state: the run.
        number: the hash of its identity.

    Raises:
        InputError: it cannot be written.
    """
    if not state.processes.is_first:
        return result_of(state, number)
    return record(state)


def identity(state: RunState) -> Mapping[str, Any]:
    """Everything that the result of a prepared run depends on, as JSON; its folder is known by it."""
    # The weights themselves, or how they are to be trained.
    dense = state.baseline.identity(state.model, state.device)
    content = common_identity(state, dense)
    content["decomposition"] = state.decomposition
    # Only where it is chosen: older folders know of none.
    if state.rounding != "nearest":
        content["rounding"] = state.rounding
    # Only where there are any: folders of runs without them are older than both.
    if state.noise is not None:
        content["noise"] = asdict(state.noise)
    if state.distillation is not None:
        content["distillation"] = state.distillation.to_json()
    if state.reconstruction is not None:
        content["reconstruction"] = asdict(state.reconstruction)
    if state.metric is not None:
        content["metric"] = state.metric.name
    if state.outputs is not None:
        content["outputs"] = str(state.outputs)
    return content


def common_identity(state: RunState, baseline: Any) -> dict[str, Any]:
    """What every run depends on; `baseline` tells the dense weights from others."""
    return {
        "model": state.network.name,
        "data": state.data.digest,
        # As it was given: the supports and signs that steps fill in follow from the rest.
        "plan": state.plan.digest(),
        "baseline": baseline,
        "recipe": recipe_identity(state.recipe, state.device),
        "classes": len(state.data.classes),
        "energy": state.energy.identity(),
    }
