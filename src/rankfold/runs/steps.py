"""The steps of a run, in their order: start, decompose, quantise, reconstruct, fine-tune, evaluate.

Each takes a `RunState` (see `runs.prepare`) a step further, in place. `runs.run` goes through all of
them and records the result; planning, and training loops of one's own, use those that they need.
"""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from functools import partial

from torch import nn

from rankfold.calibration.moments import few_patches_in_words
from rankfold.calibration.output_choice import output_loss
from rankfold.calibration.output_losses import OUTPUT_ERROR, OutputLoss
from rankfold.calibration.samples import MOMENT_IMAGES, Samples
from rankfold.calibration.unlike import unlike_training_in_words
from rankfold.errors import RankfoldError
from rankfold.runs.baseline import weights_digest
from rankfold.runs.state import RunState
from rankfold.simulator import simulate
from rankfold.surgery.compress import compress_
from rankfold.surgery.layer_report import LayerReport, kept_parameters
from rankfold.surgery.quantise import quantise_
from rankfold.surgery.supports import with_supports
from rankfold.training.accuracy import accuracy_on_tests
from rankfold.training.checkpoint import Checkpoint
from rankfold.training.device import place_
from rankfold.training.distillation import Teacher
from rankfold.training.loop import train
from rankfold.training.metric import in_words
from rankfold.training.reconstruction import reconstruct_
from rankfold.training.together import Pupil, train_together
from rankfold.training.unlabelled import Likeness

# Keys of accuracies.
BASELINE, DECOMPOSED, RECONSTRUCTED = "baseline", "decomposed", "reconstructed"
FINAL, ARRAYS = "final", "arrays"


def measure(state: RunState, when: str) -> float:
    """The accuracy on the test split now, 0 to 1, or without labels the likeness to the dense network; it is
    kept as `state.accuracies[when]`, and what the metric says, where the run has one, as
    `state.metrics[when]`.
    """
    accuracy = _measured(state, state.model)
    state.accuracies[when] = accuracy
    _measure_metric(state, when)
    return accuracy


def _measure_metric(state: RunState, when: str) -> None:
    """Keep what the metric says, where the run has one."""
    if state.metric is not None:
        state.metrics[when] = state.metric(state.model, state.data.test_batches(state.device))


def _measured(state: RunState, model: nn.Module) -> float:
    """What the run measures of a network on the test split."""
    if state.likeness is None:
        return accuracy_on_tests(model, state.data, state.device, state.processes)
    place_(model, state.device)
    return state.likeness(model, state.data.test_batches(state.device))


def _in_words(state: RunState, when: str) -> str:
    """What was measured then."""
    words = f"{state.accuracies[when]:.2%}"
    if state.likeness is not None:
        words = f"{state.likeness.name} {words}"
    if state.metric is not None:
        words += f", {in_words(state.metrics[when], state.metric.name)}"
    return words


def start(state: RunState) -> None:
    """Give the dense network its weights, measure it, and let it teach where the run has a distillation.

    Raises:
        InputError: the dense network is trained here, and its training diverged.
    """
    state.model.to(state.device)
    state.baseline.make_(
        state.model,
        state.data,
        state.device,
        folder=state.folder,
        progress=state.progress,
        processes=state.processes,
    )
    state.dense_weights = weights_digest(state.model)
    loss = None
    if state.taught_alone or not state.data.is_labelled:
        loss = output_loss(state.model, _calibration_samples(state), state.outputs)
    if state.data.is_labelled:
        measure(state, BASELINE)
        state.progress.note(f"baseline ({state.baseline.origin}): {_in_words(state, BASELINE)}")
    else:
        assert loss is not None  # just made
        _be_measured_against_(state, loss)
    # Now, while the network is still dense and in float.
    if state.distillation is not None:
        alone = loss if state.taught_alone else None
        state.teacher = Teacher(state.model, state.distillation, alone)
    if state.reconstruction is not None:
        state.reference = copy.deepcopy(state.model)


def _calibration_samples(state: RunState) -> Samples:
    """What outputs and inputs of the dense network are looked at on."""
    return Samples(state.calibration(MOMENT_IMAGES), MOMENT_IMAGES, state.device)


def _be_measured_against_(state: RunState, loss: OutputLoss) -> None:
    """Without labels: keep the dense network, which others are measured against, and say so."""
    state.likeness = Likeness(copy.deepcopy(state.model), loss)
    _measure_metric(state, BASELINE)
    words = ""
    if state.metric is not None:
        words = f"; {in_words(state.metrics[BASELINE], state.metric.name)}"
    state.progress.note(
        f"baseline ({state.baseline.origin}): {state.data.name} has no labels, so that networks are "
        f"measured against it, by {state.likeness.name} on {state.data.test_images:,} held-out "
        f"samples{words}"
    )
    told = unlike_training_in_words(state.model, _calibration_samples(state))
    if told is not None:
        state.progress.note(told)


def decompose(state: RunState) -> None:
    """Replace the layers as the plan says, their weights made from those of the dense network.

    Fills in `reports`, `parameters` and the supports of the plan. Says of every layer what became of it.

    Raises:
        InputError: a layer that is made for data never runs on them.
        UnsupportedLayerError: a layer cannot be replaced exactly.
    """
    # Counted before surgery, which works in place.
    before = sum(parameter.numel() for parameter in state.model.parameters())
    # Calibration images arrive on the device.
    state.model.to(state.device)
    state.reports = compress_(
        state.model,
        state.plan,
        state.calibration(MOMENT_IMAGES),
        decomposition=state.decomposition,
        images=MOMENT_IMAGES,
        outputs=state.outputs,
    )
    # Before quantisers come in, whose step sizes are parameters too.
    state.parameters = before, kept_parameters(state.model)
    state.plan = with_supports(state.plan, state.model)
    _tell_of_layers(state)
    coverages = {report.name: report.coverage for report in state.reports}
    told = few_patches_in_words(coverages, min(MOMENT_IMAGES, state.data.train_images))
    if told is not None:
        state.progress.note(told)


def quantise(state: RunState) -> None:
    """Measure batch norm again, then give every layer with bits its quantisers, set on training images.

    Fills in the signs of the plan, which is saved where the run has a folder; then measures the accuracy.
    """
    # Decomposed weights shift activations: batch norm and step sizes are set on the network as it is now.
    state.plan = quantise_(
        state.model,
        state.plan,
        state.calibration(),
        rounding=state.rounding,
        # What learns to give the dense network's outputs has its norms, too.
        reference=state.reference,
        hardware=state.celled_array,
    )
    # Already here: who looks into the folder of a long run sees what it trains.
    if state.folder is not None:
        state.plan.save(state.folder.plan)
    what = "decomposition"
    if state.plan.quantised:
        what = "decomposition and quantisation"
    measure(state, DECOMPOSED)
    state.progress.note(f"after {what}, before fine-tuning: {_in_words(state, DECOMPOSED)}")


def reconstruct(state: RunState) -> None:
    """Train the network without labels, block by block, where the run has a reconstruction; go on from the
    newest block in its folder.

    Fills in `blocks`; then measures the accuracy.

    Raises:
        InputError: the data have too few samples, or what is in the folder belongs to another run.
    """
    if state.reconstruction is None:
        return
    assert state.reference is not None  # kept by `start`
    checkpoint = None
    if state.folder is not None:
        checkpoint = Checkpoint(state.folder.reconstruction, state.folder.run)
    state.blocks = reconstruct_(
        state.model,
        state.reference,
        state.calibration(state.reconstruction.images),
        **asdict(state.reconstruction),
        outputs=state.outputs,
        seed=state.recipe.seed,
        checkpoint=checkpoint,
        progress=state.progress,
    )
    state.reference = None  # nobody asks for it any more
    measure(state, RECONSTRUCTED)
    state.progress.note(f"after reconstruction without labels: {_in_words(state, RECONSTRUCTED)}")


def fine_tune(state: RunState) -> None:
    """Train the network, with its arrays in the loop where the run has noise; go on from a checkpoint.

    Fills in `history`, and `arrays` where there is noise.

    Raises:
        InputError: training diverged, or the checkpoint belongs to another run.
    """
    if state.captured:
        (error,) = fine_tune_together([state])
        if error is not None:
            raise error
        return
    trained = state.model
    if state.noise is not None:
        # It shares its Parameters with the model: to train the one is to train the other.
        trained = simulate(
            state.model,
            state.plan,
            state.noise,
            calibration=state.calibration(MOMENT_IMAGES),
            seed=state.recipe.seed,
        )
        state.arrays = trained
    data, stage = state.data, state.stage
    if state.distillation is not None and state.distillation.images is not None:
        data = data.few(state.distillation.images, state.recipe.seed)
    if state.taught_alone:
        stage = "distillation without labels"
    state.history = train(
        trained,
        data,
        state.recipe,
        state.device,
        checkpoint=state.checkpoint,
        progress=state.progress,
        teacher=state.teacher,
        stage=stage,
        processes=state.processes,
        measure=partial(_measured, state),
    )
    # The checkpoint of another machine may bring supports of its own.
    state.plan = with_supports(state.plan, state.model)


def fine_tune_together(
    states: Sequence[RunState], backend: str | None = None
) -> tuple[RankfoldError | None, ...]:
    """`fine_tune` of several runs at once on one device, by static steps (`training.together`).

    Args:
        states: without noise, on one device, each by a process alone.
        backend: of `torch.compile`, for passes of quantisers; None: they are not compiled.

    Returns:
        The error that ended the training of each, or kept it from beginning, which the others do not suffer
        from; or None.
    """
    pupils = []
    for state in states:
        pupils.append(
            Pupil(
                state.model,
                state.data,
                state.recipe,
                checkpoint=state.checkpoint,
                teacher=state.teacher,
                progress=state.progress,
                stage=state.stage,
            )
        )
    ended = train_together(pupils, states[0].device, backend)
    for state, trained in zip(states, ended, strict=True):
        state.history = trained.history
        state.plan = with_supports(state.plan, state.model)  # as in `fine_tune`
    return tuple(trained.error for trained in ended)


def evaluate(state: RunState) -> None:
    """Measure the accuracy at the end, and on the arrays where fine-tuning had them in the loop."""
    # Without its arrays, also where they were in the loop: `final` is comparable between all runs.
    measure(state, FINAL)
    _tell_of_outputs(state)
    _tell_of_distillation(state)
    if state.arrays is not None:
        # Of one chip; how much chips differ is a question for simulations.
        accuracy = accuracy_on_tests(state.arrays, state.data, state.device, state.processes)
        state.accuracies[ARRAYS] = accuracy
        state.progress.note(f"on its arrays: {accuracy:.2%}, one chip; `rankfold simulate` tells more")


def _tell_of_outputs(state: RunState) -> None:
    """Measure each output by itself, where there are several and no labels, and say how it is."""
    if state.likeness is None or not state.likeness.has_several(state.calibration(1)):
        return
    state.of_outputs = state.likeness.of_outputs(state.model, state.data.test_batches(state.device))
    each = ", ".join(f"{where} {value:.2%}" for where, value in state.of_outputs.items())
    state.progress.note(f"{state.likeness.name} in the end: {each}")


def _tell_of_distillation(state: RunState) -> None:
    """Say where learning without labels took the network further off, as a rate that is too high does."""
    if not state.taught_alone or state.recipe.epochs == 0:
        return
    before = RECONSTRUCTED if RECONSTRUCTED in state.accuracies else DECOMPOSED
    lost = state.accuracies[before] - state.accuracies[FINAL]
    if state.measured_by == OUTPUT_ERROR:
        lost = -lost
    if lost > 0:
        state.progress.note(
            f"distillation without labels took the network further off: {_in_words(state, before)} before, "
            f"{_in_words(state, FINAL)} after; a lower rate than {state.recipe.peak_rate:g}, or more images, "
            "may help"
        )


def _tell_of_layers(state: RunState) -> None:
    """Say how many layers became what, which stay dense, and what is no layer of the plan."""
    changed: Counter[str] = Counter()
    kept: list[LayerReport] = []
    for report in state.reports:
        # Kinds that change nothing are what the user calls dense.
        if report.kind.changes_weight:
            changed[report.kind.name] += 1
        else:
            kept.append(report)
    words = "every layer stays dense"
    if changed:
        each = ", ".join(f"{number} layers become {kind}" for kind, number in changed.items())
        dense = ", ".join(f"{report.name} ({report.reason})" for report in kept)
        words = f"{each}; kept dense: {dense or 'none'}"
    state.progress.note(words)
    for other in state.network.untouched:
        state.progress.note(f"left alone: {other.name}: {other.what}")
