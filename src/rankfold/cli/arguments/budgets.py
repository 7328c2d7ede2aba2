"""Budgets that users give plans: the most of any cost."""

from __future__ import annotations

import argparse

from rankfold.planning.exact.budget import Budget
from rankfold.planning.exact.quantities import INTERVAL, KNOWN, LATENCY, USUAL

OF_CYCLES = "max_cycles"
# Those that `add_budgets` adds beside it.
OF_OTHERS = ("max_arrays", "max_energy", "max_latency", "max_interval", "budget")


def add_budgets(parser: argparse.ArgumentParser) -> None:
    """Add `--budget`, and options for the most of single quantities."""
    parser.add_argument(
        "--max-cycles",
        metavar="N",
        help="most cycles per image: a number, or a share of the dense network: 40%%",
    )
    parser.add_argument(
        "--max-arrays", metavar="N", help="most arrays, one for each tile: a number, or a share"
    )
    parser.add_argument("--max-energy", metavar="E", help="most energy per image: 300nJ, 1.2uJ, or a share")
    parser.add_argument("--max-latency", metavar="T", help="most time of an image: 250us, or a share")
    parser.add_argument("--max-interval", metavar="T", help="most time between images: 25us, or a share")
    parser.add_argument(
        "--budget",
        metavar="NAME=N,...",
        help=f"any budgets together, such as cycles=5440,energy=600nJ,arrays=40%%, of {_names()}",
    )


def _names() -> str:
    """The quantities that budgets may be of."""
    return ", ".join(quantity.option for quantity in KNOWN.values())


def add_kinds(parser: argparse.ArgumentParser) -> None:
    """Add `--kinds`."""
    parser.add_argument(
        "--kinds",
        metavar="KIND,...",
        help="what layers may become beside dense, some of low-rank, support, window, window-low-rank, "
        "window-margins, grouped, skipped, trimmed (default: all)",
    )


def named_kinds(options: argparse.Namespace) -> list[str] | None:
    """The kinds that the user named; None: all.

    Raises:
        InputError: there are no such kinds.
    """
    from rankfold.planning.kinds import chosen_labels

    if options.kinds is None:
        return None
    kinds = [name.strip() for name in options.kinds.split(",")]
    chosen_labels(kinds)
    return kinds


def given_budgets(options: argparse.Namespace) -> tuple[Budget, ...]:
    """The budgets that the options give.

    Raises:
        InputError: one of them is none.
    """
    budgets = []
    for quantity in (*USUAL, LATENCY, INTERVAL):
        text = getattr(options, f"max_{quantity}")
        if text is not None:
            budgets.append(Budget.parse(quantity, text))
    if options.budget is not None:
        budgets.extend(Budget.parse_all(options.budget))
    return tuple(budgets)
