"""`rankfold plan --after-epochs`: what training is expected to leave of a plan, and budgets of that."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rankfold.cli.arguments.values import flag, given
from rankfold.errors import InputError

if TYPE_CHECKING:
    from rankfold.plan import Plan
    from rankfold.planning.forecast.forecaster import Forecast, Situation
    from rankfold.planning.forecast.outcome import Outcome


def add_forecast(parser: argparse.ArgumentParser) -> None:
    """Add `--after-epochs` and `--learn-from`."""
    parser.add_argument(
        "--after-epochs",
        type=int,
        metavar="N",
        help="epochs of fine-tuning after which the plan's accuracy is foreseen (default 10, those of "
        "compress); with --max-drop it is the accuracy then that may drop, not that before fine-tuning",
    )
    parser.add_argument(
        "--learn-from",
        type=Path,
        nargs="+",
        metavar="RUN",
        help="folders of finished runs of planned networks, to learn accuracies after fine-tuning from, too",
    )


def learnt_outcomes(options: argparse.Namespace, limited: bool) -> tuple[Outcome, ...]:
    """What is learnt from; before any work, so that what cannot be foreseen is refused.

    Args:
        options: as parsed.
        limited: whether a plan is made.

    Raises:
        InputError: it is refused; or a folder to learn from holds no finished run.
    """
    if options.after_epochs is not None and options.after_epochs < 1:
        raise InputError(f"--after-epochs (={options.after_epochs}) must be 1 or more")
    for name in given(options, ("after_epochs", "learn_from")):
        if options.search is not None:
            raise InputError(f"--search measures before fine-tuning; omit {flag(name)}")
        if not limited:
            raise InputError(f"{flag(name)} is of one plan, which needs a budget such as --max-cycles 40%")
    if drops_after(options):
        _check_drop(options)
    # Here, as it imports torch.
    from rankfold.planning.forecast.outcome import known_outcomes

    return known_outcomes(options.learn_from or ())


def _check_drop(options: argparse.Namespace) -> None:
    """Refuse limits of a drop after fine-tuning beside which there is another of the loss."""
    if options.max_loss is not None:
        raise InputError(
            "--max-drop with --after-epochs limits the predicted loss, as --max-loss does; give one of both"
        )
    if options.layer_bits is not None:
        raise InputError(
            "accuracies after fine-tuning are learnt where all layers keep --bits; omit --layer-bits, or "
            "--after-epochs to have --max-drop measured before fine-tuning"
        )


def drops_after(options: argparse.Namespace) -> bool:
    """Whether `--max-drop` is of the accuracy after fine-tuning."""
    return options.max_drop is not None and options.after_epochs is not None


def loss_within_drop(options: argparse.Namespace, outcomes: Sequence[Outcome], situation: Situation) -> float:
    """The most predicted loss, in nats, whose expected accuracy after fine-tuning keeps `--max-drop`.

    Raises:
        InputError: what training leaves of this network is not learnt, or not for so many epochs.
    """
    from rankfold.planning.forecast.forecaster import Forecaster

    forecaster = Forecaster(situation, outcomes)
    return forecaster.most_loss(options.max_drop / 100, options.after_epochs)


def forecast(
    options: argparse.Namespace, outcomes: Sequence[Outcome], situation: Situation, plan: Plan
) -> Forecast | str:
    """The accuracy of a plan after fine-tuning; in words why it is not learnt."""
    from rankfold.planning.forecast.forecaster import EPOCHS, Forecaster, NotLearntError

    try:
        return Forecaster(situation, outcomes).of(plan, options.after_epochs or EPOCHS)
    except NotLearntError as why:
        return str(why)
