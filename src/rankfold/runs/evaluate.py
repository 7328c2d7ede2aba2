"""Finished runs again, from their files alone: the network, and its accuracy."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import nn

from rankfold.arguments import PATH, SWITCH, TEXT, takes
from rankfold.calibration.samples import Inputs, Samples, check_iterable, size_of
from rankfold.errors import InputError
from rankfold.models.device import MODEL, device_of
from rankfold.models.load import check_trusted, load_model
from rankfold.models.pretrained import run_folder
from rankfold.plan import Plan, check_plan
from rankfold.progress import Progress, Silent, heard
from rankfold.runs.folder import RunFolder
from rankfold.runs.result import Result
from rankfold.surgery.saving import load_
from rankfold.training.accuracy import accuracy
from rankfold.training.data import ImageData, load_images
from rankfold.training.device import choose_device, placed
from rankfold.training.metric import METRIC, Function, Metric, Updated
from rankfold.training.pairs import pair_of, targets_of
from rankfold.training.scaling import Scaling
from rankfold.training.source import LabelledBatch, TrainingData
from rankfold.workload import retrace


@takes(path=PATH, device=TEXT, model=MODEL.or_none, trust_code=SWITCH)
def load_run(
    path: str | Path,
    device: str = "cpu",
    *,
    model: nn.Module | None = None,
    trust_code: bool = False,
) -> tuple[nn.Module, Plan, Result]:
    """The network of a finished run, built anew from its plan, result and weights.

    Args:
        path: the run's folder, or the name of shipped weights such as `resnet20-cifar10-4bit`.
        device: where the network goes.
        model: a fresh instance of the dense network, which stays as it is; None: it is built by the name that
            the run has on record, that of a zoo network or `package.module:factory`.
        trust_code: whether a factory that the run names may be imported, which runs code of whoever wrote
            the folder; not asked where `model` is given.

    Returns:
        The network in eval mode, its plan (see `load_`), and the result.

    Raises:
        InputError: a file is missing, damaged, or does not belong to the others; or the name on record is
            that of no network.
    """
    target = choose_device(device)
    # The hash is needed to claim a folder only, and nothing is claimed here.
    folder = RunFolder(run_folder(path), "")
    if folder.path.is_file():
        raise InputError(f"{path} is a file; give the folder of a finished run")
    if not folder.path.is_dir():
        raise InputError(f"run folder {path} does not exist; give the folder of a finished run")
    # The result is written last: a folder without one is of a run that is under way or was stopped.
    if not folder.result.exists():
        raise InputError(f"{path} holds no finished run (no result.json); finish it with resume=True")
    result = Result.load(folder.result)
    plan = Plan.load(folder.plan)
    if model is None:
        own = _built(result, folder.path, trust_code)
    else:
        own = copy.deepcopy(model)
    # Before surgery: a plan of another network would be refused there in words about modules.
    check_plan(plan, retrace(own, result.model, plan.input, plan.inputs))
    filled = load_(own, folder.path)
    return own.to(target).eval(), filled, result


def _built(result: Result, path: Path, trust_code: bool) -> nn.Module:
    """The dense network of a run, by its name.

    Raises:
        InputError: it is not known by its name, names code that is not trusted, or cannot be built.
    """
    check_trusted(result.model, path, trust_code)
    try:
        # Networks of other outputs have no classes, and take no number of them.
        classes = max(1, len(result.data.classes))
        return load_model(result.model, classes, result.input[0], image=result.input)
    except InputError as error:
        raise InputError(
            f"the network of {path} cannot be built by its name, {result.model}: {error}. Give the network "
            "itself (model=), or name it in the run, run(..., name='package.module:factory')"
        ) from error


@takes(model=MODEL, metric=METRIC.or_none)
def evaluate(
    model: nn.Module,
    data: TrainingData | Iterable[Any],
    *,
    metric: Metric | Function | Updated | None = None,
    progress: Progress | None = None,
) -> float:
    """Top-1 accuracy of a network that classifies, 0 to 1, or a metric of one's own; where its weights are.

    Args:
        model: the network; its modes, and the layout of its weights, are as before afterwards.
        data: images or loaders, of which the test split is looked at; or an iterable of pairs (inputs,
            target), the target (B,) the number of each sample's class, with a metric anything.
        metric: a function (outputs, targets) -> number of all samples together, or an object that sees batch
            after batch, see `Metric`; None: top-1 accuracy.
        progress: hears how far it is, where `data` say how many images they have.

    Raises:
        InputError: there is no batch, or one is no such pair; or the metric fails or gives no finite number.
    """
    # The network stays where the user has put it.
    device = device_of(model)
    if isinstance(data, TrainingData):
        if metric is None:
            data.require_labels("accuracy", "name a metric of your own, for which they may have targets")
        else:
            data.require_targets()
        with placed(model, device):
            batches = heard(
                data.test_batches(device), progress or Silent(), "evaluation", data.test_images, size_of
            )
            if metric is None:
                return accuracy(model, batches)
            return Metric.of(metric)(model, batches)
    check_iterable(data, "data")
    if metric is None:
        return accuracy(model, _pairs(data, device))
    return Metric.of(metric)(model, _with_targets(data, device))


def _pairs(data: Iterable[Any], device: torch.device) -> Iterator[LabelledBatch]:
    """Inputs and target of each batch, on a device."""
    for batch in data:
        _, target = pair_of(batch, "evaluate")
        (inputs,) = Samples([batch], None, device)
        yield inputs, target.to(device)


def _with_targets(data: Iterable[Any], device: torch.device) -> Iterator[tuple[Inputs, Any]]:
    """Inputs of each batch, on a device, and its targets, whatever they are."""
    for batch in data:
        targets = targets_of(batch)
        (inputs,) = Samples([batch], None, device)
        yield inputs, targets


def load_data_for(result: Result, data: str, path: str | Path) -> ImageData:
    """The data set `data`, for the run in folder `path` that `result` reports.

    Raises:
        InputError: it is wrong, or has other classes or image sizes than the run.
    """
    # Resized as the run resized them.
    images = load_images(data, result.data.image_size)
    if result.data.normalised is not None:
        images = images.scaled(Scaling.parse(result.data.normalised))
    classes = len(result.data.classes)
    fits = not images.is_labelled or len(images.classes) == classes
    if not fits or images.input_size != result.input:
        raise InputError(
            f"data {data} has {len(images.classes)} classes and images of {images.input_size} (C, H, W); the "
            f"run in {path} has {classes} classes and takes {result.input}"
        )
    return images
