"""What our methods win against others: the headlines of a reproduction, as tables and for programs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rankfold.cost import PUBLISHED
from rankfold.plan import METHODS, ChannelPruning, LowRank, Pairs, PatDNN, Quantise, SharedSupport
from rankfold.plan.kinds import IDEAL, PLAIN
from rankfold.plan.methods import Planned, WindowLowRank, Windows
from rankfold.reproduce.headline import (
    ROW_SPARSE,
    Comparison,
    Headline,
    Point,
    by_array,
    comparable,
    headline,
)
from rankfold.reproduce.words import accuracy_in_words, table

# Theirs under the search is held against ours under the search, and in the published reading against ours in
# it; all else against ours with SDK.
ALIKE = ("best", PUBLISHED)
DASH = "–"

# The methods that are held against the others, and what their files are called. The published claim is of
# low-rank.
OURS = {
    LowRank.name: "headlines.json",
    ROW_SPARSE: "headlines-row-sparse.json",
    Windows.name: "headlines-window.json",
    WindowLowRank.name: "headlines-window-low-rank.json",
    Planned.name: "headlines-planned.json",
}

Headlines = dict[str, dict[str, Headline]]  # by array, and by the opponent's words


@dataclass(frozen=True)
class Opponent:
    """What one of our methods is held against: a method under a mapping and a reading of the cycles."""

    words: str
    method: str
    mapping: str
    steering: str = PLAIN

    @property
    def our_mapping(self) -> str:
        """The mapping of ours that it is held against."""
        if self.mapping in ALIKE:
            return self.mapping
        return "sdk"


OPPONENTS = (
    Opponent("PatDNN, im2col", PatDNN.name, "im2col"),
    Opponent("PatDNN, SDK", PatDNN.name, "sdk"),
    Opponent("PatDNN, best", PatDNN.name, "best"),
    Opponent("PatDNN, im2col, ideal steering", PatDNN.name, "im2col", IDEAL),
    Opponent("PatDNN, SDK, ideal steering", PatDNN.name, "sdk", IDEAL),
    Opponent(f"{Pairs.title}, im2col", Pairs.name, "im2col"),
    Opponent(f"{Pairs.title}, SDK", Pairs.name, "sdk"),
    Opponent(f"{Pairs.title}, best", Pairs.name, "best"),
    Opponent("shared support, SDK", SharedSupport.name, "sdk"),
    Opponent("shared support, best", SharedSupport.name, "best"),
    Opponent("low-rank, SDK", LowRank.name, "sdk"),
    Opponent("low-rank, best", LowRank.name, "best"),
    Opponent("channel pruning, SDK", ChannelPruning.name, "sdk"),
    Opponent("channel pruning, best", ChannelPruning.name, "best"),
    Opponent("dense, im2col", Quantise.name, "im2col"),
    Opponent("dense, SDK", Quantise.name, "sdk"),
    Opponent("dense, VW-SDK", Quantise.name, "vw-sdk"),
    Opponent("dense, best", Quantise.name, "best"),
)


def opponents() -> tuple[Opponent, ...]:
    """The opponents above, and every other method that is registered: with im2col, SDK and under the search;
    and all of them in the published reading.
    """
    known = {opponent.method for opponent in OPPONENTS}
    made = []
    for method in METHODS.values():
        if method.name in known:
            continue
        made.append(Opponent(f"{method.title}, im2col", method.name, "im2col"))
        made.append(Opponent(f"{method.title}, SDK", method.name, "sdk"))
        made.append(Opponent(f"{method.title}, best", method.name, "best"))
    published = []
    for method in METHODS.values():
        published.append(Opponent(f"{method.title}, published reading", method.name, PUBLISHED))
    return (*OPPONENTS, *made, *published)


def headlines(points: Sequence[Point], method: str = LowRank.name) -> Headlines:
    """Our points of a method against each opponent of as many bits and the same teacher; without those that
    were not measured.

    Args:
        points: averaged over seeds.
        method: of our points, one of `OURS`.

    Returns:
        The headlines by array and by the opponent's words.
    """
    found: Headlines = {}
    for array, here in by_array(points).items():
        for opponent in opponents():
            if opponent.method == method:
                continue
            # An opponent that the grid does not have gets no row.
            line = _against(opponent, here, method)
            if line is not None:
                found.setdefault(array, {})[opponent.words] = line
    return found


def _against(opponent: Opponent, points: Sequence[Point], method: str) -> Headline | None:
    """Our points on one array against an opponent's; None where no two of them are comparable."""
    ours, theirs = [], []
    for point in points:
        if point.method == method and point.of.mapping == opponent.our_mapping:
            ours.append(point)
        if point.is_of(opponent.method, opponent.mapping, opponent.steering):
            theirs.append(point)
    if not any(comparable(one, other) for one in ours for other in theirs):
        return None
    return headline(ours, theirs)


def headline_tables(found: Headlines, method: str = LowRank.name) -> str:
    """One table for each array, of our points of a method."""
    if not found:
        return f"Nothing of the same bits and teacher to hold {method} against has been measured yet.\n"
    head = [
        f"{method} against",
        "fewer cycles at no less accuracy",
        "pair",
        "points more at no more cycles",
        "pair",
    ]
    parts = []
    for array, lines in found.items():
        rows = [[words, *_figures(line)] for words, line in lines.items()]
        parts.append(f"### {array} arrays\n\n{table(head, rows, '<><><')}")
    return "\n\n".join(parts) + "\n"


def _figures(line: Headline) -> list[str]:
    # A dash where no pair qualifies: 1.00x would read as a tie.
    fewer, better = DASH, DASH
    if line.fewer is not None:
        fewer = f"{line.fewer.ratio:.2f}x"
    if line.better is not None:
        better = f"{100 * line.better.gain:+.2f}"
    return [fewer, _pair(line.fewer), better, _pair(line.better)]


def _pair(pair: Comparison | None) -> str:
    if pair is None:
        return "no such pair"
    return f"{_point(pair.ours)} against {_point(pair.theirs)}"


def _point(point: Point) -> str:
    seeds = f"{point.seeds} seeds"
    if point.seeds == 1:
        seeds = "1 seed"
    return f"{point.label} ({accuracy_in_words(point)}, {point.cycles:,.0f} cycles, {seeds})"


def headlines_to_json(found: Headlines) -> dict[str, Any]:
    """The same for programs."""
    content: dict[str, Any] = {}
    for array, lines in found.items():
        content[array] = {words: _headline_to_json(line) for words, line in lines.items()}
    return content


def _headline_to_json(line: Headline) -> dict[str, Any]:
    return {"fewer_cycles": _pair_to_json(line.fewer), "more_accuracy": _pair_to_json(line.better)}


def _pair_to_json(pair: Comparison | None) -> dict[str, Any] | None:
    if pair is None:
        return None
    return {
        "ratio": pair.ratio,
        "gain": pair.gain,
        "ours": point_to_json(pair.ours),
        "theirs": point_to_json(pair.theirs),
    }


def point_to_json(point: Point) -> Mapping[str, Any]:
    """A point for programs."""
    return {
        "setting": point.label,
        "mapping": point.of.mapping,
        "steering": point.of.steering,
        "accuracy": point.accuracy,
        "cycles": point.cycles,
        "seeds": point.seeds,
        "spread": point.spread,
    }
