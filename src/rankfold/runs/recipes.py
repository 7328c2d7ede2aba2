"""How networks are trained where nothing is said, and what of a recipe a result depends on."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import torch

from rankfold.training.device import resolve_precision
from rankfold.training.distillation import Distillation
from rankfold.training.recipe import Recipe

DENSE = Recipe(epochs=60, peak_rate=0.2)
FINE_TUNING = Recipe(epochs=10, peak_rate=0.05)
DISTILLATION = Distillation()  # docs/planning-results.md has what it is worth


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
