"""What runs cannot do, refused before a network is traced or a folder touched."""

from __future__ import annotations

from rankfold.errors import InputError
from rankfold.lowrank import DECOMPOSITIONS
from rankfold.machine import NonIdealities
from rankfold.plan import Plan
from rankfold.runs.choices import RunChoices
from rankfold.surgery.quantise import check_rounding
from rankfold.training.distillation import Distillation
from rankfold.training.processes import Processes
from rankfold.training.recipe import Recipe
from rankfold.training.reconstruction_recipe import Reconstruction
from rankfold.training.source import TrainingData
from rankfold.training.static_training import check_static


def check_choices(chosen: RunChoices, data: TrainingData, plan: Plan, recipe: Recipe) -> None:
    """Refuse choices that do not go together, or not with the data.

    Raises:
        InputError: there are such.
    """
    noise, processes = chosen.noise, chosen.processes
    _check_words(chosen.decomposition, noise, recipe)
    _check_labels(data, recipe, chosen.distillation, noise=noise, processes=processes)
    if chosen.reconstruction is not None:
        _check_reconstruction(chosen.reconstruction, data, noise, processes)
    if chosen.metric is not None:
        _check_metric(data, processes)
    if chosen.captured:
        check_captured(data, processes, noise)
        _check_captured_labels(data, chosen.distillation)
    check_rounding(chosen.rounding, plan)


def check_captured(data: TrainingData, processes: Processes, noise: NonIdealities | None = None) -> None:
    """Refuse what steps that are recorded and played again cannot do.

    Raises:
        InputError: it is asked for.
    """
    check_static(data)
    if not processes.alone:
        raise InputError("captured steps are of one process; start one for each GPU, or omit captured steps")
    if noise is not None:
        raise InputError(
            "noise-aware training programs arrays anew in every step, which captured steps do not; omit "
            "captured steps"
        )


def _check_labels(
    data: TrainingData,
    recipe: Recipe,
    distillation: Distillation | None,
    *,
    noise: NonIdealities | None,
    processes: Processes,
) -> None:
    """Refuse what needs labels where there are none, and what learning without labels does not do."""
    alone = distillation is not None and not distillation.labels
    if alone and distillation is not None and distillation.images is not None and recipe.epochs:
        data.few(distillation.images, recipe.seed)  # refuses more than there are
    if recipe.epochs and not alone:
        data.require_labels(
            "fine-tuning",
            "learn from the dense network alone (compress --distil-unlabelled, or --reconstruct --epochs 0)",
        )
    if (not data.is_labelled or (alone and recipe.epochs)) and not processes.alone:
        raise InputError("without labels networks are trained and measured in one process; omit torchrun")
    if alone and noise is not None and recipe.epochs:
        raise InputError(
            "without labels networks learn as they are quantised, with no arrays in the loop; omit noise, or "
            "the distillation without labels"
        )
    if not data.is_labelled and noise is not None:
        data.require_labels("noise-aware training")


def _check_captured_labels(data: TrainingData, distillation: Distillation | None) -> None:
    """Refuse captured steps where nobody looks at labels."""
    data.require_labels("training by captured steps")
    if distillation is not None and not distillation.labels:
        raise InputError("captured steps look at labels; omit them, or the distillation without labels")


def _check_words(decomposition: str, noise: NonIdealities | None, recipe: Recipe) -> None:
    """Refuse a decomposition that nobody knows, and noise that a recipe leaves no room for."""
    if decomposition not in DECOMPOSITIONS:
        raise InputError(f"decomposition (={decomposition}) must be one of {', '.join(DECOMPOSITIONS)}")
    if noise is not None and recipe.compiled:
        raise InputError(
            "noise-aware training programs arrays anew in every step, which compiled steps do not; "
            "omit compiled=True"
        )


def _check_metric(data: TrainingData, processes: Processes) -> None:
    """Refuse a metric that cannot be measured."""
    if not processes.alone:
        raise InputError("a metric is measured in one process; omit torchrun, or the metric")
    data.require_targets()


def _check_reconstruction(
    reconstruction: Reconstruction,
    data: TrainingData,
    noise: NonIdealities | None,
    processes: Processes,
) -> None:
    """Refuse what a reconstruction cannot do."""
    if noise is not None:
        raise InputError(
            "reconstruction has no arrays in the loop, and noise-aware training has; omit one of the two"
        )
    if not processes.alone:
        raise InputError("a network is reconstructed in one process; omit torchrun, or the reconstruction")
    if data.train_images < reconstruction.images:
        raise InputError(
            f"images (={reconstruction.images}) of reconstruction must be {data.train_images} or fewer, as "
            "many as the data have to train on"
        )
