"""`rankfold plan --after-epochs`: what training is expected to leave of a plan, and budgets of that."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rankfold.cli.arguments.values import refuse_given
from rankfold.errors import InputError

if TYPE_CHECKING:
    from rankfold.plan import Plan
    from rankfold.planning.forecast.finished import Learnt
    from rankfold.planning.forecast.forecaster import Forecast
    from rankfold.planning.forecast.outcome import Outcome
    from rankfold.planning.forecast.situation import Situation
    from rankfold.progress import Progress


def add_forecast(parser: argparse.ArgumentParser) -> None:
    """Add `--after-epochs`, `--no-distil` and `--learn-from`."""
    parser.add_argument(
        "--after-epochs",
        type=int,
        metavar="N",
        help="epochs of fine-tuning after which the plan's accuracy is foreseen (default 10, those of "
        "compress, or the nearest that are learnt); with --max-drop it is the accuracy then that may drop, "
        "not that before fine-tuning",
    )
    parser.add_argument(
        "--no-distil",
        action="store_true",
        help="foresee fine-tuning by the labels alone (compress --no-distil), without the dense network as "
        "teacher",
    )
    parser.add_argument(
        "--learn-from",
        type=Path,
        nargs="+",
        metavar="RUN",
        help="folders of finished runs of planned networks, to learn accuracies after fine-tuning from, too",
    )


def learnt_outcomes(options: argparse.Namespace, limited: bool) -> Learnt:
    """What is learnt from; before any work, so that what cannot be foreseen is refused.

    Args:
        options: as parsed.
        limited: whether a plan is made.

    Raises:
        InputError: it is refused; or a folder to learn from holds no finished run.
    """
    if options.after_epochs is not None and options.after_epochs < 1:
        raise InputError(f"--after-epochs (={options.after_epochs}) must be 1 or more")
    of_forecasts = ("after_epochs", "no_distil", "learn_from")
    if options.search is not None:
        refuse_given(options, of_forecasts, "--search measures before fine-tuning; omit {flag}")
    if not limited:
        refuse_given(
            options, of_forecasts, "{flag} is of one plan, which needs a budget such as --max-cycles 40%"
        )
    if drops_after(options):
        _check_drop(options)
    # Here, as it imports torch.
    from rankfold.planning.forecast.finished import learn

    return learn(options.learn_from or ())


def _check_drop(options: argparse.Namespace) -> None:
    """Refuse limits of a drop after fine-tuning beside which there is another of the loss."""
    if options.max_loss is not None:
        raise InputError(
            "--max-drop with --after-epochs limits the predicted loss, as --max-loss does; give one of both"
        )
    refuse_given(
        options,
        ["layer_bits", "count_rounding"],
        "accuracies after fine-tuning are learnt where all layers keep --bits and rounding is not counted; "
        "omit {flag}, or --after-epochs to have --max-drop measured before fine-tuning",
    )


def drops_after(options: argparse.Namespace) -> bool:
    """Whether `--max-drop` is of the accuracy after fine-tuning."""
    return options.max_drop is not None and options.after_epochs is not None


def tell_unused(learnt: Learnt, situation: Situation, progress: Progress) -> None:
    """Say of each run that was named and tells nothing of this network why it does not."""
    for run in learnt.unused_for(situation):
        progress.note(str(run))


def limits_of_drop(
    options: argparse.Namespace,
    outcomes: Sequence[Outcome],
    situation: Situation,
    kinds: Sequence[str] | None,
    progress: Progress,
) -> tuple[float, list[str]]:
    """What keeps `--max-drop` after fine-tuning: the most predicted loss, in nats, and the kinds for which
    that was learnt.

    Args:
        options: as parsed.
        outcomes: what is learnt from.
        situation: of the network.
        kinds: those that the user named; None: all that were learnt.
        progress: hears which these are.

    Raises:
        InputError: what training leaves of this network is not learnt, or not for so many epochs, or not of
            kinds that the user named.
    """
    from rankfold.planning.forecast.forecaster import Forecaster
    from rankfold.planning.kinds import labels

    forecaster = Forecaster(situation, outcomes, not options.no_distil)
    most = forecaster.most_loss(options.max_drop / 100, options.after_epochs)
    learnt = [name for name in labels() if name in forecaster.kinds]
    words = ", ".join(learnt) or "dense layers alone"
    if kinds is None:
        progress.note(f"kinds: {words}, as accuracies after fine-tuning are learnt of no others")
        return most, learnt
    unknown = [name for name in kinds if name not in learnt]
    if unknown:
        raise InputError(
            f"--kinds has {', '.join(unknown)}, of which accuracies after fine-tuning are not learnt; they "
            f"are of {words}; or omit --after-epochs to have --max-drop measured before fine-tuning"
        )
    return most, list(kinds)


def forecast(
    options: argparse.Namespace, outcomes: Sequence[Outcome], situation: Situation, plan: Plan
) -> Forecast | str:
    """The accuracy of a plan after fine-tuning; in words why it is not learnt."""
    from rankfold.planning.forecast.forecaster import Forecaster, NotLearntError

    try:
        forecaster = Forecaster(situation, outcomes, not options.no_distil)
        return forecaster.of(plan, options.after_epochs or forecaster.usual_epochs)
    except NotLearntError as why:
        return str(why)
