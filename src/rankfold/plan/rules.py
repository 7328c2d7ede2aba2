"""Rules that say which layers may be low-rank, by name or pattern."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from rankfold.arguments import SWITCH, TEXT, check_fields
from rankfold.errors import InputError, did_you_mean


@dataclass(frozen=True)
class LayerRule:
    """One rule.

    Attributes:
        pattern: a layer's exact name, or a pattern with `*`, `?` and `[...]` that matches whole names.
        include: True: low-rank, also where the default would keep the layer dense; False: kept dense.
    """

    pattern: str
    include: bool

    def __post_init__(self) -> None:
        check_fields(self, pattern=TEXT, include=SWITCH)

    @property
    def verb(self) -> str:
        """`include` or `exclude`."""
        return "include" if self.include else "exclude"


@dataclass(frozen=True)
class Match:
    """The rule that decides about a layer, and whether it gives the layer's exact name."""

    rule: LayerRule
    exact: bool


def match_rules(rules: Sequence[LayerRule], names: Iterable[str]) -> dict[str, Match]:
    """The rule for each layer that has one.

    An exact name goes before patterns, and among patterns the first decides.

    Raises:
        InputError: a rule matches no layer, or one name is both included and excluded.
    """
    # Gone through once for each rule, so that an iterator would not do.
    names = list(names)
    found: dict[str, Match] = {}
    # Exact names in a pass of their own: they win wherever they stand among the rules.
    for rule in rules:
        if rule.pattern in names:
            before = found.get(rule.pattern)
            # Twice the same does no harm; of two opposites neither is more exact than the other.
            if before is not None and before.rule.include != rule.include:
                raise InputError(
                    f"layer {rule.pattern} is both included and excluded; keep one of the two rules"
                )
            found[rule.pattern] = Match(rule, True)
    for rule in rules:
        # By equality too: a name with brackets, read as a pattern, would not match itself. And in the
        # same case on every system, which plain `fnmatch` does not promise.
        matched = [name for name in names if name == rule.pattern or fnmatchcase(name, rule.pattern)]
        # A misspelt name would pass unnoticed, and its layer be compressed, or not, against all intent.
        if not matched:
            raise InputError(
                f"{rule.verb} rule {rule.pattern} matches no layer; the first ones are "
                f"{', '.join(names[:3])}; use * in patterns{did_you_mean(rule.pattern, names)}"
            )
        for name in matched:
            # Neither an exact name nor an earlier pattern is overruled.
            found.setdefault(name, Match(rule, False))
    return found
