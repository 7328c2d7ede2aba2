"""The loss of a network's outputs: as the user says, or by what they look like."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import nn

from rankfold.calibration.observation import evaluating
from rankfold.calibration.output_losses import (
    OutputLoss,
    ProbabilityLoss,
    ScoreLoss,
    ValueLoss,
    differentiable,
    tops_of,
)
from rankfold.calibration.output_variance import value_weights
from rankfold.calibration.outputs import (
    PROBABILITIES,
    SCORES,
    VALUES,
    OutputModel,
    OutputsError,
    output_tensors,
)
from rankfold.calibration.samples import Inputs, call, cut, map_tensors, size_of
from rankfold.errors import InputError


def output_loss(
    model: nn.Module, batches: Iterable[Inputs], outputs: OutputModel | str | None = None
) -> OutputLoss:
    """What errors of a network's outputs cost.

    Args:
        model: the dense network; in eval mode while it runs, then as before.
        batches: inputs of it, on its device; all are looked at where outputs are values, else one sample.
        outputs: what they are taken for; None: one tensor (B, K) of two or more is scores, all else values.

    Raises:
        InputError: there is no batch, or the outputs are not what they are taken for.
    """
    chosen = usual_outputs(model, batches) if outputs is None else OutputModel.parse(outputs)
    if chosen.kind == SCORES:
        return ScoreLoss(chosen)
    if chosen.kind == PROBABILITIES:
        return ProbabilityLoss(chosen)
    return ValueLoss(chosen, value_weights(model, batches, chosen))


def known_output_loss(
    model: nn.Module, batches: Iterable[Inputs], outputs: OutputModel | str | None = None
) -> OutputLoss | None:
    """As `output_loss`; None where nobody says what outputs are and nothing is known of them: they are no
    tensors, have no way back, or do not vary.

    Raises:
        InputError: the outputs are not what they are said to be.
    """
    try:
        found = output_loss(model, batches, outputs)
        check_differentiable(model, batches, found)
    except OutputsError:
        if outputs is not None:
            raise
        return None
    return found


def check_differentiable(model: nn.Module, batches: Iterable[Inputs], loss: OutputLoss) -> None:
    """Refuse outputs without a way back, seen on the first sample.

    Raises:
        OutputsError: there is none.
    """
    for batch in batches:
        one = cut(batch, size_of(batch), 0, 1)
        with evaluating(model), torch.enable_grad():
            given = loss.read(call(model, map_tensors(one, differentiable)), 1)
        tops_of(given)
        return


def usual_outputs(model: nn.Module, batches: Iterable[Inputs]) -> OutputModel:
    """What outputs are taken for where nobody says: (B, K) of two or more classes for scores, others for
    values.

    Raises:
        InputError: there is no batch, or they are no tensors.
    """
    for batch in batches:
        one = cut(batch, size_of(batch), 0, 1)
        with evaluating(model), torch.no_grad():
            found = list(output_tensors(call(model, one), 1).values())
        if len(found) == 1 and found[0].ndim == 2 and found[0].shape[1] > 1:
            return OutputModel(SCORES)
        return OutputModel(VALUES)
    raise InputError("data is empty; give at least one batch")
