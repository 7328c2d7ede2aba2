"""`anneal`: a whole run in steps, each planned around the network as the step before has trained it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from torch import nn

from rankfold.arguments import PATH, SWITCH, TEXT, Wanted, takes
from rankfold.errors import InputError
from rankfold.machine import Hardware
from rankfold.machine.hardware import HARDWARE
from rankfold.mapping import ArraySpec
from rankfold.models.device import MODEL
from rankfold.plan import Plan
from rankfold.plan.uniform import Bits
from rankfold.planning.annealing.reach import check_reach
from rankfold.planning.annealing.schedule import step_epochs
from rankfold.planning.annealing.steps import Annealing, StepPlanning
from rankfold.planning.data import planning_data
from rankfold.planning.exact import Budget
from rankfold.planning.exact.slots import dense_network, layer_slots
from rankfold.planning.kinds import chosen_labels
from rankfold.planning.request import check_request
from rankfold.progress import PROGRESS, Progress, Silent
from rankfold.runs import steps as run_steps
from rankfold.runs.baseline import DenseWeights
from rankfold.runs.energy_record import EnergyOptions
from rankfold.runs.recipes import DISTILLATION, FINE_TUNING
from rankfold.runs.result import Result
from rankfold.runs.run import claim, finished, identity, recorded
from rankfold.runs.state import RunNotes, prepare, traced
from rankfold.training.data import ImageData
from rankfold.training.distillation import Distillation
from rankfold.training.loaders import LoaderData
from rankfold.training.recipe import Recipe
from rankfold.training.source import TrainingData


@takes(
    model=MODEL,
    data=Wanted("a data set: load_images(...), or LoaderData(train, test) of your own batches", TrainingData),
    array=HARDWARE,
    budgets=Wanted("a Budget, such as Budget.parse('cycles', '60%')", Budget),
    recipe=Wanted("a Recipe, such as Recipe(epochs=10)", Recipe),
    out=PATH,
    pointwise=SWITCH,
    name=TEXT.or_none,
    baseline=Wanted("DenseWeights", DenseWeights, optional=True),
    distillation=Wanted("a Distillation", Distillation, optional=True),
    energy=Wanted("EnergyOptions(...)", EnergyOptions, optional=True),
    hardware=Wanted("Hardware(...)", Hardware, optional=True),
    notes=Wanted("RunNotes(...)", RunNotes, optional=True),
    device=TEXT,
    resume=SWITCH,
    progress=PROGRESS,
    captured=SWITCH,
)
def anneal(
    model: nn.Module,
    data: TrainingData,
    array: ArraySpec | Hardware,
    *budgets: Budget,
    out: str | Path,
    steps: int | Sequence[int] = 4,
    recipe: Recipe = FINE_TUNING,
    bits: Bits = 4,
    kinds: Iterable[str] | None = None,
    pointwise: bool = False,
    images: int | None = None,
    name: str | None = None,
    baseline: DenseWeights | None = None,
    distillation: Distillation | None = DISTILLATION,
    energy: EnergyOptions | None = None,
    hardware: Hardware | None = None,
    notes: RunNotes | None = None,
    device: str = "auto",
    resume: bool = False,
    progress: Progress | None = None,
    captured: bool = False,
) -> Result:
    """Compress a network step by step under budgets that shrink, and write everything to the folder `out`.

    Each step plans around the network as it is, changes it as the plan says, and trains it a little. What it
    is predicted to lose comes from the curvature of the trained network, and weights are made from those that
    training has found. A layer that a plan leaves what it is keeps its weights to the last bit. With one step
    this is `best_plan` and then `run`. A run that was stopped goes on with `resume`, and ends with the same
    numbers.

    Args:
        model: the dense network; it stays as it is.
        data: images for training and test (`load_images`), or batches of one's own (`LoaderData`).
        array: R x C, or the hardware that plans are for.
        budgets: the most of any of `planning.exact.QUANTITIES` that the last plan may need; those of the
            steps before fall towards them (`schedule.step_limits`).
        out: the folder, new or of this very run.
        steps: how many, of one epoch each and all that is left in the last; or the epochs of each.
        recipe: of the training of all steps together; each has a cycle of the learning rate of its own.
        bits: of weights and inputs, see `best_plan`.
        kinds: what layers may become beside dense, see `best_plan`.
        pointwise: whether 1x1 convolutions may become low-rank.
        images: samples to calibrate plans on; None: 512, or 32 where images are larger than 64x64.
        name: of the network, see `run`.
        baseline: where the weights of the dense network come from; None: the network has them.
        distillation: how the dense network teaches in every step; None: it does not.
        energy: the components that energy is counted with; None: those of the hardware.
        hardware: what energy is counted for, on the plan's array; None: that of `array`.
        notes: what the result says beside what the run finds.
        device: `auto`, `cpu`, `cuda`, ...
        resume: go on with what is in `out`.
        progress: hears how far the run is.
        captured: train by static steps, on a GPU one CUDA graph each.

    Raises:
        InputError: what was given is wrong, or the budgets cannot be kept.
    """
    if not budgets:
        raise InputError("annealing needs budgets that the last plan keeps: cycles, arrays, energy, ...")
    check_request(budgets, images=images, seed=recipe.seed)
    if not isinstance(data, (ImageData, LoaderData)):
        raise InputError("plans are made on decoded images; decode all before (stream=False)")
    chosen = chosen_labels(kinds)
    planning = StepPlanning(
        array=array,
        budgets=budgets,
        epochs=step_epochs(steps, recipe.epochs),
        bits=bits,
        kinds=None if chosen is None else tuple(sorted(chosen)),
        pointwise=pointwise,
        images=images,
    )
    state = prepare(
        model,
        data,
        _dense_plan(model, data, planning, name),
        recipe,
        name=name,
        baseline=baseline,
        distillation=distillation,
        energy=energy,
        hardware=hardware,
        notes=notes,
        device=device,
        captured=captured,
    )
    check_reach(state, planning)
    # Only now: what it says of the dense plan is of no interest.
    state.progress = progress or Silent()
    number = claim(state, Path(out), {**identity(state), "annealing": planning.identity()}, resume)
    known = finished(state)
    if known is not None:
        return known
    try:
        run_steps.start(state)
        Annealing(state, planning, planning_data(data, state.device)).run()
    except InputError:
        # Budgets that cannot be kept may show in the first plan only: the folder is free for others then.
        assert state.folder is not None  # claimed above
        state.folder.release()
        raise
    run_steps.evaluate(state)
    return recorded(state, number)


def _dense_plan(model: nn.Module, data: TrainingData, planning: StepPlanning, name: str | None) -> Plan:
    """The plan that changes no layer, for what can be refused before any work."""
    network = traced(model, data, name or type(model).__name__)
    array = planning.array.array if isinstance(planning.array, Hardware) else planning.array
    slots = layer_slots(network, array, planning.bits, pointwise=planning.pointwise)
    return dense_network(network, array, slots).on(planning.array)
