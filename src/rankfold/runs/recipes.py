"""How networks are trained where nothing is said, and what of a recipe holds for some data."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import Any

import torch

from rankfold.errors import InputError
from rankfold.training.data import ImageData
from rankfold.training.distillation import Distillation
from rankfold.training.loop import resolve_precision
from rankfold.training.recipe import Recipe

DENSE = Recipe(epochs=60, peak_rate=0.2)
FINE_TUNING = Recipe(epochs=10, peak_rate=0.05)
DISTILLATION = Distillation()  # docs/planning.md has what it is worth


def fitted(recipe: Recipe, data: ImageData) -> Recipe:
    """The recipe for this data: images that have no mirror image, such as digits, are not mirrored.

    Raises:
        InputError: a batch is larger than the training split.
    """
    if len(data.train) < recipe.batch_size:
        raise InputError(
            f"batch size (={recipe.batch_size}) is larger than the {len(data.train)} training images; "
            "lower --batch"
        )
    # A mirrored 2 is no digit.
    if recipe.augment == "crop-flip" and not data.mirror:
        return replace(recipe, augment="crop")
    return recipe


def effective(distillation: Distillation | None, recipe: Recipe) -> Distillation | None:
    """The distillation, where it has any weight and anything is trained."""
    # Without effect it must not be part of a run's identity, nor cost a pass of the dense network.
    if distillation is None or not distillation.weight or not recipe.epochs:
        return None
    return distillation


def recipe_identity(recipe: Recipe, device: torch.device) -> dict[str, Any]:
    """Everything in a recipe that the result depends on, the precision as it is on the device."""
    # `auto` computes other numbers on another device.
    return {**asdict(recipe), "precision": resolve_precision(recipe.precision, device)}
