"""One run: baseline -> decomposition -> surgery -> quantisation-aware fine-tuning -> evaluation -> files."""

from __future__ import annotations

import platform
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, replace
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from rankfold import __version__
from rankfold.calibration.batch_norm import reestimate_batch_norm_
from rankfold.calibration.quantisers import calibrate_
from rankfold.calibration.signs import observe_signs
from rankfold.cost import Masks, network_cycles
from rankfold.cost.energy import NetworkEnergy, network_energy
from rankfold.errors import InputError
from rankfold.lowrank import DECOMPOSITIONS
from rankfold.mapping import DEFAULT_ARRAY
from rankfold.models.load import apply_weights, check_classes, load_model, read_weights
from rankfold.models.pretrained import file_digest, shipped_baseline
from rankfold.nn.masked import masks_of
from rankfold.plan import DENSE, PRUNINGS, Plan, check_plan, coverage, pruned_plan, uniform_plan
from rankfold.runs.energy_record import EnergyRecord, dense_energy
from rankfold.runs.folder import RunFolder, save_history
from rankfold.runs.methods import CHANNEL
from rankfold.runs.result import Accuracies, DataInfo, LayerResult, Result
from rankfold.runs.settings import CompressSettings, Observer, Quiet
from rankfold.simulator import ArrayNonIdealities, check_arrays, simulate
from rankfold.surgery.channels import channel_plan
from rankfold.surgery.compress import (
    LayerReport,
    compress_,
    compress_on_data_,
    kept_parameters,
    open_signs,
    quantise_by_plan_,
)
from rankfold.surgery.save import save_weights
from rankfold.surgery.supports import with_supports
from rankfold.training.batches import EVALUATION_BATCH, Batches
from rankfold.training.checkpoint import Checkpoint
from rankfold.training.data import ImageData, load_images
from rankfold.training.distillation import Distillation, Teacher
from rankfold.training.loop import EpochRecord, choose_device, evaluate, resolve_precision, train
from rankfold.training.recipe import Recipe
from rankfold.workload import Network, trace

CALIBRATION_IMAGES = 2048
MOMENT_IMAGES = 512  # more change the factors little: see results/README.md


def compress(settings: CompressSettings, observer: Observer | None = None) -> Result:
    """Compress, quantise and fine-tune a network, and write everything to `settings.out`.

    Everything the user gave is checked before the folder is touched. A run that was stopped goes on from its last
    epoch with `settings.resume` and ends with the same accuracies.

    Raises:
        InputError: anything the user gave is wrong; the message says what would be right.
        UnsupportedLayerError: a layer cannot be replaced exactly.
    """
    observer = observer or Quiet()
    device, data, recipe, model, network = _start(settings, settings.recipe)
    if settings.decomposition not in DECOMPOSITIONS:
        raise InputError(f"decomposition (={settings.decomposition}) must be one of {', '.join(DECOMPOSITIONS)}")
    plan = _plan(settings, network, model)
    check_plan(plan, network)
    if settings.noise is not None:
        check_arrays(plan, settings.noise)
    observer.covered(coverage(network, plan, settings.linear))
    dense = dense_energy(network, plan, settings.technology, settings.adc, settings.adc_bits)
    compress_(load_model(settings.model, len(data.classes), data.input_size[0]), plan, decompose=False)

    source = settings.checkpoint
    origin = f"checkpoint {source}"
    if source is None:
        found = shipped_baseline(settings.model, data.classes, data.input_size)
        if found is not None:
            source, origin = found.weights, f"shipped {found.name}"
    if source is not None:
        apply_weights(model, read_weights(source), str(source))
        baseline: Any = file_digest(Path(source))
    else:
        baseline_recipe = _fit(replace(settings.baseline_recipe, seed=recipe.seed, precision=recipe.precision), data)
        origin = f"trained for {baseline_recipe.epochs} epochs"
        baseline = _identity(baseline_recipe, device)
    identity = {
        "model": settings.model, "data": data.digest, "plan": plan.digest(), "baseline": baseline,
        "recipe": _identity(recipe, device), "classes": len(data.classes), "decomposition": settings.decomposition,
    }  # fmt: skip
    if settings.noise is not None:
        identity["noise"] = asdict(settings.noise)
    if settings.teaching is not None:
        identity["distillation"] = asdict(settings.teaching)
    folder = RunFolder.claim(Path(settings.out), identity, settings.resume)
    if folder.result.exists():
        observer.note("this run is already complete")
        return Result.load(folder.result)

    model.to(device)
    if source is None:
        stored = folder.path / "baseline.safetensors"
        if stored.exists():
            apply_weights(model, read_weights(stored), str(stored))
        else:
            watcher = observer.stage("baseline")
            checkpoint = Checkpoint(folder.path / "baseline-checkpoint.pt", folder.run)
            train(model, data, baseline_recipe, device, checkpoint, watcher)
            save_weights(stored, model)
            checkpoint.path.unlink(missing_ok=True)
    baseline_accuracy = evaluate(model, data.test, data, device)
    observer.note(f"baseline ({origin}): {baseline_accuracy:.2%}")
    teacher = None if settings.teaching is None else Teacher(model, settings.teaching)

    before = sum(parameter.numel() for parameter in model.parameters())
    reports = _decompose_(model, plan, data, device, settings, recipe.seed)
    changed = Counter(report.kind for report in reports if report.kind != DENSE)
    kept = ", ".join(f"{report.name} ({report.reason})" for report in reports if report.kind == DENSE)
    each = ", ".join(f"{number} layers become {kind}" for kind, number in changed.items())
    observer.note(f"{each}; kept dense: {kept or 'none'}" if changed else "every layer stays dense")
    for other in network.untouched:
        observer.note(f"left alone: {other.name}: {other.what}")
    after = kept_parameters(model)
    plan = _quantise_(model, with_supports(plan, model), data, device, recipe.seed)
    plan.save(folder.plan)
    decomposed = evaluate(model, data.test, data, device)
    observer.note(f"after decomposition{' and quantisation' if plan.quantised else ''}, before fine-tuning: {decomposed:.2%}")
    checkpoint = Checkpoint(folder.path / "checkpoint.pt", folder.run)
    trained = model if settings.noise is None else _on_arrays(model, plan, settings.noise, data, device, recipe.seed)
    history = train(trained, data, recipe, device, checkpoint, observer.stage("fine-tuning"), teacher)
    plan = with_supports(plan, model)  # a checkpoint of another machine may bring its own
    final = evaluate(model, data.test, data, device)
    on_arrays = None
    if settings.noise is not None:
        on_arrays = evaluate(trained, data.test, data, device)
        observer.note(f"on its arrays: {on_arrays:.2%}, one chip; `rankfold simulate` tells more")
    result = _result(
        settings.command, origin, network, plan, data, settings.image_size, reports, (before, after), masks_of(model),
        Accuracies(baseline_accuracy, decomposed, final, on_arrays), history, recipe, device, folder.run, dense,
        settings.teaching,
    )  # fmt: skip
    _write(folder, model, plan, history, result)
    return result


def train_baseline(settings: CompressSettings, observer: Observer | None = None) -> Result:
    """Train the dense float network of `settings.baseline_recipe` from fresh weights into `settings.out`.

    The folder has the same files as a compression run's; the plan keeps every layer.

    Raises:
        InputError: anything the user gave is wrong.
    """
    observer = observer or Quiet()
    device, data, recipe, model, network = _start(settings, settings.baseline_recipe)
    plan = uniform_plan(network, settings.array or DEFAULT_ARRAY)
    dense = dense_energy(network, plan, settings.technology, settings.adc, settings.adc_bits)
    identity = {
        "model": settings.model, "data": data.digest, "plan": plan.digest(), "baseline": None,
        "recipe": _identity(recipe, device), "classes": len(data.classes),
    }  # fmt: skip
    folder = RunFolder.claim(Path(settings.out), identity, settings.resume)
    if folder.result.exists():
        observer.note("this run is already complete")
        return Result.load(folder.result)
    plan.save(folder.plan)
    checkpoint = Checkpoint(folder.path / "checkpoint.pt", folder.run)
    history = train(model, data, recipe, device, checkpoint, observer.stage("training"))
    final = evaluate(model, data.test, data, device)
    before = sum(parameter.numel() for parameter in model.parameters())
    result = _result(
        settings.command, "fresh weights", network, plan, data, settings.image_size, compress_(model, plan), (before, before), {},
        Accuracies(None, None, final), history, recipe, device, folder.run, dense,
    )  # fmt: skip
    _write(folder, model, plan, history, result)
    return result


def _start(settings: CompressSettings, wanted: Recipe) -> tuple[torch.device, ImageData, Recipe, nn.Module, Network]:
    """What every run begins with: device, data, the recipe for it, and the network, traced and of as many classes."""
    device = choose_device(settings.device)
    data = load_images(settings.data, settings.image_size)
    recipe = _fit(wanted, data)
    model = load_model(settings.model, len(data.classes), data.input_size[0], recipe.seed)
    network = trace(model, data.input_size, settings.model)
    check_classes(model, settings.model, data.input_size, len(data.classes))
    return device, data, recipe, model, network


def calibration_batches(data: ImageData, device: torch.device, seed: int, images: int = CALIBRATION_IMAGES) -> Iterator[Tensor]:
    """Training images drawn under `seed`, without augmentation, in batches (B, C, H, W)."""
    split = data.train.sample(images, seed)
    return (x for x, _ in Batches(split, data.mean, data.std, EVALUATION_BATCH, device).epoch())


def _plan(settings: CompressSettings, network: Network, model: nn.Module) -> Plan:
    """The plan that the settings ask for."""
    array = settings.array or DEFAULT_ARRAY
    bits, mapping = settings.bits, settings.mapping
    if settings.plan is not None:
        plan = Plan.load(settings.plan)
        return replace(plan, array=settings.array or plan.array)
    method = settings.chosen_method
    if method in PRUNINGS and settings.entries is not None:
        return pruned_plan(network, array, method, settings.entries, bits, mapping, settings.block, settings.steering)
    if method == CHANNEL and settings.ratio is not None:
        return channel_plan(model, network, array, settings.ratio, bits, mapping)
    return uniform_plan(
        network, array, settings.groups, settings.rank, bits, mapping, settings.pointwise, settings.linear, settings.rules,
        settings.fit, settings.entries,
    )  # fmt: skip


def _decompose_(
    model: nn.Module, plan: Plan, data: ImageData, device: torch.device, settings: CompressSettings, seed: int
) -> tuple[LayerReport, ...]:
    if settings.decomposition == "svd" or not any(layer.made_for_data for layer in plan.layers):
        return compress_(model, plan)
    return compress_on_data_(
        model, plan, lambda: calibration_batches(data, device, seed, MOMENT_IMAGES), settings.decomposition == "sequential"
    )


def _quantise_(model: nn.Module, plan: Plan, data: ImageData, device: torch.device, seed: int) -> Plan:
    """Re-estimate batch norm and put the quantisers in; returns the plan with all signs filled in."""
    if any(layer.kind != DENSE for layer in plan.layers):
        reestimate_batch_norm_(model, calibration_batches(data, device, seed))
    if not plan.quantised:
        return plan
    names = open_signs(plan)
    seen = observe_signs(model, calibration_batches(data, device, seed), names.values())
    plan = plan.with_signs({name: seen[module] for name, module in names.items()})
    quantise_by_plan_(model, plan)
    calibrate_(model, calibration_batches(data, device, seed))
    reestimate_batch_norm_(model, calibration_batches(data, device, seed))
    return plan


def _on_arrays(
    model: nn.Module, plan: Plan, noise: ArrayNonIdealities, data: ImageData, device: torch.device, seed: int
) -> nn.Module:
    """The network as its arrays compute it, with the Parameters of `model`."""
    return simulate(model, plan, noise, calibration=calibration_batches(data, device, seed, MOMENT_IMAGES), seed=seed)


def _fit(recipe: Recipe, data: ImageData) -> Recipe:
    """The recipe for this data: digits are not mirrored, and a batch is never larger than the training split."""
    if len(data.train) < recipe.batch_size:
        raise InputError(f"batch size (={recipe.batch_size}) is larger than the {len(data.train)} training images; lower --batch")
    if recipe.augment == "crop-flip" and not data.mirror:
        return replace(recipe, augment="crop")
    return recipe


def _identity(recipe: Recipe, device: torch.device) -> dict[str, Any]:
    return {**asdict(recipe), "precision": resolve_precision(recipe.precision, device)}


def _write(folder: RunFolder, model: nn.Module, plan: Plan, history: tuple[EpochRecord, ...], result: Result) -> None:
    plan.save(folder.plan)
    save_history(folder.history, history)
    save_weights(folder.weights, model)
    result.save(folder.result)
    (folder.path / "checkpoint.pt").unlink(missing_ok=True)


def _result(
    command: str, origin: str, network: Network, plan: Plan, data: ImageData, image_size: tuple[int, int] | None,
    reports: tuple[LayerReport, ...], parameters: tuple[int, int], masks: Masks,
    accuracy: Accuracies, history: tuple[EpochRecord, ...],
    recipe: Recipe, device: torch.device, run: str, dense: NetworkEnergy | None, teaching: Distillation | None = None,
) -> Result:  # fmt: skip
    costs = network_cycles(network, plan, masks=masks)
    by_weight = {layer.shape.weight: [c for c in costs.layers if c.shape.weight == layer.shape.weight] for layer in costs.layers}
    layers = []
    for report in reports:
        entry = plan.layer(report.name)
        runs = by_weight.get(report.name, [])
        layers.append(
            LayerResult(
                report.name,
                report.kind,
                report.reason,
                report.groups,
                report.rank,
                report.error,
                report.plain_error,
                report.parameters_before,
                report.parameters_after,
                entry.weight_bits,
                entry.input_bits,
                {key: sum(cost.cycles[key] for cost in runs) for key in runs[0].cycles} if runs else None,
                sum(cost.chosen_cycles for cost in runs) if runs else None,
                runs[0].utilisation if runs else None,
                runs[0].stages[0].window if runs else None,
                (runs[0].stages[0].row_tiles, runs[0].stages[0].column_tiles) if runs else None,
                report.output_error,
                runs[0].shape if runs else None,
                entry.pruning,
                entry.entries,
            )
        )
    speeds = [record.images_per_second for record in history]
    return Result(
        run=run,
        command=command,
        model=network.name,
        baseline=origin,
        data=DataInfo(data.name, data.digest, data.classes, len(data.train), len(data.test), image_size),
        input=data.input_size,
        array=(plan.array.rows, plan.array.columns),
        accuracy=accuracy,
        cycles=costs.total,
        planned_cycles=costs.chosen_cycles,
        utilisation=costs.utilisation,
        macs=sum(layer.shape.macs for layer in costs.layers),
        parameters_before=parameters[0],
        parameters_after=parameters[1],
        layers=tuple(layers),
        untouched=tuple((other.name, other.what) for other in network.untouched),
        recipe=asdict(recipe) | ({} if teaching is None else {f"distillation_{k}": v for k, v in asdict(teaching).items()}),
        device=device_name(device),
        precision=resolve_precision(recipe.precision, device),
        seconds=sum(record.seconds for record in history),
        images_per_second=sum(speeds) / len(speeds) if speeds else None,
        versions={
            "rankfold": __version__,
            "python": platform.python_version(),
            **{package: metadata.version(package) for package in ("torch", "numpy", "datasets")},
        },
        planned_conversions=costs.chosen_conversions,
        energy=None if dense is None else EnergyRecord.of(network_energy(network, plan, dense.table, masks), dense),
    )


def device_name(device: torch.device) -> str:
    """The device in words, for the record."""
    if device.type == "cuda":
        return str(torch.cuda.get_device_name(device))
    return f"CPU, {torch.get_num_threads()} threads, {torch.backends.cpu.get_cpu_capability()}"
