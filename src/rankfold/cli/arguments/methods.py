"""Arguments that say what layers shall become: one method for all of them."""

from __future__ import annotations

import argparse
from typing import Any

from rankfold.errors import InputError
from rankfold.plan import (
    METHODS,
    ChannelPruning,
    LayerRule,
    LowRank,
    Method,
    Pairs,
    PatDNN,
    Quantise,
    SharedSupport,
)
from rankfold.plan.kinds import PLAIN, STEERINGS

# What may be said of each method; it needs the first.
CHOICES: dict[str, tuple[str, ...]] = {
    LowRank.name: ("rank", "groups", "entries"),
    PatDNN.name: ("entries",),
    Pairs.name: ("entries", "block"),
    SharedSupport.name: ("entries",),
    Quantise.name: (),
    ChannelPruning.name: ("ratio",),
}
# Steering feeds each column the inputs of the weights that a kernel keeps: only these keep some.
STEERED = (PatDNN.name, Pairs.name, SharedSupport.name)  # whose rows are counted in two ways
EXAMPLES = {"rank": "1/8", "entries": "4", "ratio": "0.5"}
NUMBERS = ("groups", "rank", "entries", "block", "ratio")


def add_method(parser: argparse.ArgumentParser | argparse._ArgumentGroup) -> None:
    """Add `--method` and what the methods beside low-rank need."""
    parser.add_argument(
        "--method",
        choices=METHODS,
        help="low-rank (with --rank), patdnn or pairs (pattern pruning, with --entries), support (kernel "
        "positions that all outputs share, with --entries), quantise (bits alone), channel (with "
        "--ratio); default: low-rank with --rank, else quantise",
    )
    parser.add_argument(
        "--block",
        type=int,
        metavar="N",
        help="output channels that share a pattern under pairs (default: all)",
    )
    parser.add_argument(
        "--steering",
        choices=STEERINGS,
        default=PLAIN,
        help="count rows of pattern-pruned layers as skipped where nothing in a tile needs them (plain, "
        "the default), or as if each column got inputs of its own (ideal); the report shows both",
    )
    parser.add_argument(
        "--ratio", type=float, metavar="S", help="share of the channels that channel pruning removes"
    )


def add_low_rank(parser: argparse.ArgumentParser | argparse._ArgumentGroup) -> None:
    """Add `--groups`, `--rank` and `--pointwise`."""
    parser.add_argument("--groups", type=int, metavar="g", help="low-rank groups of every layer (default 1)")
    parser.add_argument(
        "--rank",
        metavar="r",
        help="rank of every group: a number, or a fraction of the output channels such as 1/8",
    )
    parser.add_argument("--pointwise", action="store_true", help="low-rank for 1x1 convolutions too")


def add_entries(parser: argparse.ArgumentParser | argparse._ArgumentGroup, what: str) -> None:
    """Add `--entries`; `what` it means here."""
    parser.add_argument("--entries", type=int, metavar="e", help=what)


# Two lists would lose the order between the two options, by which rules are decided.
class _Rule(argparse.Action):
    """Collects `--include` and `--exclude` in one list, in the order in which they are given."""

    def __call__(self, parser: Any, namespace: Any, values: Any, option_string: str | None = None) -> None:
        namespace.rules = (*namespace.rules, LayerRule(values, option_string == "--include"))


def add_rules(parser: argparse.ArgumentParser | argparse._ArgumentGroup) -> None:
    """Add `--linear`, `--fit`, `--force-low-rank`, `--include` and `--exclude`; `rules` has the last two."""
    parser.add_argument(
        "--linear", action="store_true", help="map fully connected layers too, and make them low-rank"
    )
    parser.add_argument(
        "--fit",
        action="store_true",
        help="where a layer cannot have these groups or this rank, take the next lower ones",
    )
    parser.add_argument(
        "--force-low-rank",
        action="store_true",
        help="make layers low-rank also where that saves no stored numbers, or needs more cycles; without it "
        "they stay dense, and the coverage says so",
    )
    # A default of the parser, which each action extends by a new tuple: no call sees another's rules.
    parser.set_defaults(rules=())
    for verb, what in (("include", "low-rank, whatever the default says"), ("exclude", "kept dense")):
        parser.add_argument(
            f"--{verb}",
            action=_Rule,
            dest="rules",
            metavar="RULE",
            default=argparse.SUPPRESS,
            help=f"layers to be {what}: a name or a pattern such as 'layer1.*'; names go before patterns, "
            "then the first decides",
        )


def low_rank_method(options: argparse.Namespace) -> LowRank | Quantise:
    """The low-rank setting that the options ask for; without a rank, bits alone.

    Raises:
        InputError: groups, entries or rules without a rank, or values that no layer can have.
    """
    # Without a rank nothing becomes low-rank, so whatever else says something of it has no meaning.
    if options.rank is None:
        for name in ("groups", "entries"):
            value = getattr(options, name)
            if value is not None:
                raise InputError(f"{name} (={value}) needs a rank too, such as 1/8")
        rules = getattr(options, "rules", ())
        if rules:
            raise InputError(
                f"{rules[0].verb} rule {rules[0].pattern} chooses low-rank layers, so it needs a rank too, "
                "such as 1/8"
            )
        # Every layer stays dense, and bits are all that is left to choose.
        return Quantise(pointwise=options.pointwise, linear=options.linear)
    # None until here, so that `--groups` without a rank can be told from the default.
    groups = options.groups
    if groups is None:
        groups = 1
    return LowRank(
        rank=options.rank,
        groups=groups,
        entries=options.entries,
        pointwise=options.pointwise,
        linear=options.linear,
        include_exclude=options.rules,
        fit=options.fit,
        force=options.force_low_rank,
    )


def chosen_method(options: argparse.Namespace) -> Method:
    """The method that the options of `compress` ask for, checked against what else they say.

    Raises:
        InputError: the method needs another choice, or a choice belongs to another method.
    """
    # What the user gave tells the method where none is named.
    name = options.method or _default(options)
    known = CHOICES[name]
    for choice in NUMBERS:
        value = getattr(options, choice)
        # Refused instead of ignored: the user would take the result for one with it.
        if value is not None and choice not in known:
            raise InputError(f"{choice} (={value}) does not go with method {name}")
    if known and getattr(options, known[0]) is None:
        raise InputError(f"method {name} needs {known[0]}, such as {EXAMPLES[known[0]]}")
    # They choose layers for low-rank; other methods would pass them over without a word.
    for flag, words in (
        ("linear", "linear does"),
        ("fit", "fit does"),
        ("force_low_rank", "force-low-rank does"),
        ("rules", "include and exclude rules do"),
    ):
        if getattr(options, flag) and "rank" not in known:
            raise InputError(f"{words} not go with method {name}; they choose low-rank layers, with rank")
    if options.steering != PLAIN and name not in STEERED:
        raise InputError(f"steering (={options.steering}) does not go with method {name}")
    return _made(name, options)


def _default(options: argparse.Namespace) -> str:
    # Groups alone are low-rank without a rank, which is then asked for.
    if options.rank is None and options.groups is None:
        return Quantise.name
    return LowRank.name


def _made(name: str, options: argparse.Namespace) -> Method:
    """The method of that name, with its own choices."""
    if name == LowRank.name:
        return low_rank_method(options)
    if name == PatDNN.name:
        return PatDNN(options.entries, options.steering)
    if name == Pairs.name:
        return Pairs(options.entries, options.steering, options.block)
    if name == SharedSupport.name:
        return SharedSupport(options.entries, options.steering)
    if name == ChannelPruning.name:
        return ChannelPruning(options.ratio)
    return Quantise(pointwise=options.pointwise)
