"""Arguments that say what layers shall become: one method for all of them."""

from __future__ import annotations

import argparse
from typing import Any

from rankfold.cli.arguments.values import checked
from rankfold.errors import InputError, UnwantedArgumentError
from rankfold.plan import METHODS, LayerRule, LowRank, Method, Quantise
from rankfold.plan.kinds import PLAIN, STEERINGS
from rankfold.plan.methods import Setting, needed_settings, offered_methods, settings

# Options that are no settings, as they are of several methods: each with the field of methods that follow
# it, and what is said where a method does not.
FLAGS = {
    "pointwise": ("pointwise", "pointwise does"),
    "linear": ("linear", "linear does"),
    "fit": ("fit", "fit does"),
    "force_low_rank": ("force", "force-low-rank does"),
    "rules": ("include_exclude", "include and exclude rules do"),
}

Parser = argparse.ArgumentParser | argparse._ArgumentGroup


def add_method(parser: Parser) -> None:
    """Add `--method`, and an option for each setting of all registered methods."""
    offered = offered_methods()
    told = [f"{name} ({method.help})" for name, method in offered.items()]
    parser.add_argument("--method", choices=offered, help=", ".join(told))
    for setting in settings(offered.values()).values():
        _add_setting(parser, setting)
    parser.add_argument("--pointwise", action="store_true", help="low-rank for 1x1 convolutions too")
    parser.add_argument(
        "--steering",
        choices=STEERINGS,
        default=PLAIN,
        help="count rows of pattern-pruned layers as skipped where nothing in a tile needs them (plain, "
        "the default), or as if each column got inputs of its own (ideal); the report shows both",
    )


def _add_setting(parser: Parser, setting: Setting) -> None:
    read = setting.read
    # Of Python's own types argparse says itself what it wanted.
    if not isinstance(read, type):
        read = checked(read)
    flag = f"--{setting.name.replace('_', '-')}"
    parser.add_argument(flag, type=read, metavar=setting.sign, help=setting.help)


def add_low_rank(parser: Parser) -> None:
    """Add `--groups`, `--rank` and `--pointwise`."""
    parser.add_argument("--groups", type=int, metavar="g", help="low-rank groups of every layer (default 1)")
    parser.add_argument(
        "--rank",
        type=str,
        metavar="r",
        help="rank of every group: a number, or a fraction of the output channels such as 1/8",
    )
    parser.add_argument("--pointwise", action="store_true", help="low-rank for 1x1 convolutions too")


def add_entries(parser: Parser, what: str) -> None:
    """Add `--entries`; `what` it means here."""
    parser.add_argument("--entries", type=int, metavar="e", help=what)


# Two lists would lose the order between the two options, by which rules are decided.
class _Rule(argparse.Action):
    """Collects `--include` and `--exclude` in one list, in the order in which they are given."""

    def __call__(self, parser: Any, namespace: Any, values: Any, option_string: str | None = None) -> None:
        namespace.rules = (*namespace.rules, LayerRule(values, option_string == "--include"))


def add_rules(parser: Parser) -> None:
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
    given = {}
    for setting in LowRank.settings:
        value = getattr(options, setting.name)
        if value is not None:
            given[setting.name] = value
    # Without a rank nothing becomes low-rank, so whatever else says something of it has no meaning.
    if "rank" not in given:
        for name, value in given.items():
            raise InputError(f"{name} (={value}) needs a rank too, such as 1/8")
        rules = getattr(options, "rules", ())
        if rules:
            raise InputError(
                f"{rules[0].verb} rule {rules[0].pattern} chooses low-rank layers, so it needs a rank too, "
                "such as 1/8"
            )
        # Every layer stays dense, and bits are all that is left to choose.
        return Quantise(pointwise=options.pointwise, linear=options.linear)
    return LowRank(
        **given,
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
    method = METHODS[options.method or _default(options)]
    given = _given_settings(method, options)
    for setting in needed_settings(method):
        if setting.name not in given:
            raise InputError(f"method {method.name} needs {setting.name}, such as {setting.example}")
    return method(**given, **_given_flags(method, options))


def _default(options: argparse.Namespace) -> str:
    # Groups alone are low-rank without a rank, which is then asked for.
    if (options.rank, options.groups) == (None, None):
        return Quantise.name
    return LowRank.name


def _given_settings(method: type[Method], options: argparse.Namespace) -> dict[str, Any]:
    """The values that the user gave, by setting."""
    given: dict[str, Any] = {}
    for name, setting in settings(offered_methods().values()).items():
        value = getattr(options, name)
        if value is None:
            continue
        # Refused instead of ignored: the user would take the result for one with it.
        if setting not in method.settings:
            raise UnwantedArgumentError(f"{name} (={value}) does not go with method {method.name}", name)
        given[name] = value
    return given


def _given_flags(method: type[Method], options: argparse.Namespace) -> dict[str, Any]:
    """The fields of a method that other options say."""
    given: dict[str, Any] = {}
    for flag, (field, words) in FLAGS.items():
        value = getattr(options, flag)
        if not value:
            continue
        # They choose layers for some methods; others would pass them over without a word.
        if flag not in method.flags:
            raise UnwantedArgumentError(
                f"{words} not go with method {method.name}; they choose low-rank layers, with rank", flag
            )
        given[field] = value
    if options.steering != PLAIN:
        if "steering" not in method.flags:
            raise UnwantedArgumentError(
                f"steering (={options.steering}) does not go with method {method.name}", "steering"
            )
        given["steering"] = options.steering
    return given
