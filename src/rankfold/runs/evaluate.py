"""The accuracy of a finished run again, from its files alone."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from rankfold.errors import InputError
from rankfold.models.load import apply_weights, load_model, read_weights
from rankfold.plan import Plan, check_plan
from rankfold.runs.folder import RunFolder
from rankfold.runs.result import Result
from rankfold.surgery.compress import compress_, quantise_by_plan_
from rankfold.surgery.supports import check_supports
from rankfold.training.data import ImageData, load_images
from rankfold.training.loop import choose_device, evaluate
from rankfold.workload import trace


@dataclass(frozen=True)
class Evaluation:
    """Top-1 accuracy on the test split, 0 to 1: now, and as the run reported it."""

    accuracy: float
    reported: float
    images: int
    same_data: bool


def load_compressed(path: str | Path, device: torch.device | None = None) -> tuple[nn.Module, Plan, Result]:
    """Rebuild the network of a finished run from `plan.json`, `result.json` and `model.safetensors`.

    Raises:
        InputError: a file is missing, damaged, or does not belong to the others.
    """
    folder = RunFolder(Path(path), "")
    if not folder.path.is_dir():
        raise InputError(f"run folder {path} does not exist; give the --out folder of a finished run")
    if not folder.result.exists():
        raise InputError(f"{path} holds no finished run (no result.json); finish it with --resume")
    result, plan = Result.load(folder.result), Plan.load(folder.plan)
    model = load_model(result.model, len(result.data.classes), result.input[0])
    check_plan(plan, trace(model, result.input, result.model))
    compress_(model, plan, decompose=False)
    quantise_by_plan_(model, plan)
    apply_weights(model, read_weights(folder.weights), str(folder.weights))
    check_supports(plan, model)
    return model.to(device or torch.device("cpu")), plan, result


def evaluate_folder(path: str | Path, data: str, device: str = "auto") -> Evaluation:
    """Evaluate the run in folder `path` on the test split of `data`.

    Raises:
        InputError: the folder or the data is wrong, or the data has other classes or image sizes.
    """
    target = choose_device(device)
    model, _, result = load_compressed(path, target)
    images = load_data_for(result, data, path)
    accuracy = evaluate(model, images.test, images, target)
    return Evaluation(accuracy, result.accuracy.final, len(images.test), images.digest == result.data.digest)


def load_data_for(result: Result, data: str, path: str | Path) -> ImageData:
    """The data set `data`, for the run in folder `path` that `result` reports.

    Raises:
        InputError: it is wrong, or has other classes or image sizes than the run.
    """
    images = load_images(data, result.data.image_size)
    if len(images.classes) != len(result.data.classes) or images.input_size != result.input:
        raise InputError(
            f"data {data} has {len(images.classes)} classes and images of {images.input_size} (C, H, W); the run in {path} "
            f"has {len(result.data.classes)} classes and takes {result.input}"
        )
    return images
