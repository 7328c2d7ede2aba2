"""What a run found, put together as its `Result`, and the files that it leaves."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from dataclasses import asdict
from importlib import metadata
from typing import Any

import torch

from rankfold.cost import BASIC_METHODS, LayerCycles, NetworkCycles, network_cycles
from rankfold.cost.layer_cycles import by_text
from rankfold.errors import InputError
from rankfold.nn.convolution_kernels import convolution_kernels
from rankfold.nn.kernels import kernels
from rankfold.nn.masked import masks_of
from rankfold.plan.layer import LayerPlan
from rankfold.runs.energy_record import planned_energy
from rankfold.runs.folder import save_history
from rankfold.runs.layer_result import Counts, LayerResult
from rankfold.runs.result import (
    Accuracies,
    DataInfo,
    MetricResult,
    ReconstructionResult,
    Result,
)
from rankfold.runs.state import RunState
from rankfold.surgery.layer_report import LayerReport
from rankfold.surgery.saving import save_weights
from rankfold.training.data import ImageData
from rankfold.training.device import resolve_precision
from rankfold.training.scaling import Scaling
from rankfold.training.source import TrainingData
from rankfold.version import __version__

PACKAGES = ("torch", "numpy", "datasets")


def record(state: RunState) -> Result:
    """Write plan, history, weights and result of a run whose steps are done; its checkpoint goes.

    Returns:
        The result, as it is written.

    Raises:
        InputError: the run has no folder, or it cannot be written.
    """
    folder = state.folder
    if folder is None:
        raise InputError("the run has no folder to be recorded in; claim one first (RunFolder.claim)")
    result = result_of(state, folder.run)
    state.plan.save(folder.plan)
    save_history(folder.history, state.history, state.measured_by)
    save_weights(folder.weights, state.model)
    result.save(folder.result)  # last: a folder that has it is complete
    # Now that the result is there, nobody goes on from the checkpoint; it may be gone already.
    folder.remove_checkpoints()
    return result


def result_of(state: RunState, run: str) -> Result:
    """What a run whose steps are done has found; `run` is the hash of its identity."""
    masks = masks_of(state.model)  # (m, C_in/G, kh, kw) booleans by layer
    # The dense network's best mapping is what runs are compared with, beside the published ones.
    costs = network_cycles(state.network, state.plan, (*BASIC_METHODS, "best"), masks)
    before, after = state.parameters
    return Result(
        run=run,
        command=state.notes.command,
        model=state.network.name,
        baseline=state.baseline.origin,
        data=data_info(state.data, state.notes.image_size, state.classes),
        input=state.data.input_size,
        array=(state.plan.array.rows, state.plan.array.columns),
        accuracy=_accuracies(state),
        cycles=by_text(costs.total),
        planned_cycles=costs.chosen_cycles,
        utilisation=costs.utilisation,
        macs=sum(layer.shape.macs for layer in costs.layers),
        parameters_before=before,
        parameters_after=after,
        layers=_layers(state, costs),
        untouched=tuple((other.name, other.what) for other in state.network.untouched),
        recipe=_recipe(state),
        device=_devices(state),
        precision=resolve_precision(state.recipe.precision, state.device),
        seconds=sum(epoch.seconds for epoch in state.history),
        images_per_second=_speed(state),
        versions=versions(),
        planned_conversions=costs.chosen_conversions,
        energy=planned_energy(state.network, state.plan, state.dense_energy, masks),
        hardware=state.hardware or state.plan.machine,
        predicted_loss=state.plan.predicted_loss_for(state.dense_weights, state.data.digest),
        dense_weights=state.dense_weights or None,
        reconstruction=_reconstruction(state),
        decomposition=state.decomposition,
        rounding=state.rounding,
        metric=_metric(state),
        of_outputs=state.of_outputs or None,
    )


def data_info(
    data: TrainingData, image_size: tuple[int, int] | None, classes: tuple[str, ...] = ()
) -> DataInfo:
    """What a result says of the data, and of the classes that the network tells apart."""
    normalised = None
    if isinstance(data, ImageData) and data.normalised:
        normalised = str(Scaling(data.mean, data.std))
    return DataInfo(
        source=data.name,
        digest=data.digest,
        classes=data.classes or classes,
        train_images=data.train_images,
        test_images=data.test_images,
        image_size=image_size,
        streamed=data.is_streamed,
        labelled=data.is_labelled,
        normalised=normalised,
    )


def device_name(device: torch.device) -> str:
    """The device in words, for the record."""
    if device.type == "cuda":
        # GPUs by their name; of a CPU what sums depend on: threads, vectors and our own kernels.
        return str(torch.cuda.get_device_name(device))
    name = f"CPU, {torch.get_num_threads()} threads, {torch.backends.cpu.get_cpu_capability()}"
    if kernels() is not None:
        name += ", kernels in C"
    if convolution_kernels() is not None:
        name += ", convolutions on AMX"
    return name


def _devices(state: RunState) -> str:
    """The device in words, and how many processes had one."""
    name = device_name(state.device)
    # On a processor static steps are ordinary functions: nothing is captured.
    if state.captured and state.device.type == "cuda":
        name += ", captured steps"
    if state.processes.alone:
        return name
    return f"{name}, {state.processes.share.of} processes"


def versions() -> dict[str, str]:
    """The versions of everything that the numbers of a run may depend on."""
    known = {"rankfold": __version__, "python": platform.python_version()}
    for package in PACKAGES:
        known[package] = metadata.version(package)
    return known


def _accuracies(state: RunState) -> Accuracies:
    measured = state.accuracies
    return Accuracies(
        measured.get("baseline"),
        measured.get("decomposed"),
        measured["final"],
        measured.get("arrays"),
        state.measured_by,
    )


def _recipe(state: RunState) -> dict[str, Any]:
    """The recipe, with the distillation where there is one."""
    # Flat, with a prefix: results that are older than distillation have the same keys otherwise.
    recipe = asdict(state.recipe)
    if state.distillation is not None:
        for name, value in state.distillation.to_json().items():
            recipe[f"distillation_{name}"] = value
    return recipe


def _reconstruction(state: RunState) -> ReconstructionResult | None:
    """What the reconstruction did, where there was one."""
    if state.reconstruction is None:
        return None
    return ReconstructionResult(
        **asdict(state.reconstruction),
        before=state.accuracies["decomposed"],
        after=state.accuracies["reconstructed"],
        seconds=sum(block.seconds for block in state.blocks),
        blocks=state.blocks,
    )


def _metric(state: RunState) -> MetricResult | None:
    """What the user's metric said, where there is one."""
    if state.metric is None:
        return None
    return MetricResult(state.metric.name, **state.metrics)


def _speed(state: RunState) -> float | None:
    """Images per second, mean over the epochs."""
    # No epochs, no speed: a run of 0 epochs trains nothing.
    speeds = [epoch.images_per_second for epoch in state.history]
    if not speeds:
        return None
    return sum(speeds) / len(speeds)


def _layers(state: RunState, costs: NetworkCycles) -> tuple[LayerResult, ...]:
    """One result for each layer of the plan; a weight that runs several times costs the sum of its runs."""
    # A network may run one weight on several inputs.
    runs: dict[str, list[LayerCycles]] = {}
    for cost in costs.layers:
        runs.setdefault(cost.shape.weight, []).append(cost)
    layers = []
    for report in state.reports:
        entry = state.plan.layer(report.name)
        layers.append(_layer(report, entry, runs.get(report.name, [])))
    return tuple(layers)


def _layer(report: LayerReport, entry: LayerPlan, runs: Sequence[LayerCycles]) -> LayerResult:
    # Whole in `becomes`; the keys of version 0.1 beside it are empty where a layer's kind lacks them.
    kind = entry.kind.to_json()
    # Fully connected layers that do not count have none of this.
    measured: dict[str, Any] = {
        "cycles": None,
        "planned_cycles": None,
        "utilisation": None,
        "window": None,
        "tiles": None,
        "shape": None,
    }
    if runs:
        first = runs[0]
        stage = first.main_stage
        measured = {
            # Cycles add up over the runs of a weight; shape, window and tiles are those of its first run, of
            # a plane in parts those of the part of most cycles.
            "cycles": _sum([by_text(cost.cycles) for cost in runs]),
            "planned_cycles": sum(cost.chosen_cycles for cost in runs),
            "utilisation": first.utilisation,
            "window": None if stage is None else stage.window,
            "tiles": None if stage is None else (stage.row_tiles, stage.column_tiles),
            "shape": first.shape,
        }
    return LayerResult(
        name=report.name,
        kind=entry.kind.name,
        reason=report.reason,
        groups=kind.get("groups"),
        rank=kind.get("rank"),
        error=report.error,
        plain_error=report.plain_error,
        parameters_before=report.parameters_before,
        parameters_after=report.parameters_after,
        weight_bits=entry.weight_bits,
        input_bits=entry.input_bits,
        output_error=report.output_error,
        pruning=entry.kind.variant,
        entries=kind.get("entries"),
        becomes=kind,
        **measured,
    )


def _sum(each: Sequence[Counts]) -> Counts:
    # All runs of a weight are compared under the same keys.
    return {key: sum(counts[key] for counts in each) for key in each[0]}
