"""Tables of a reproduction, as Markdown: the headlines, and accuracy and cycles by (g, r)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from rankfold.plan import IDEAL, LOW_RANK, PLAIN, SUPPORT
from rankfold.reproduce.headline import ROW_SPARSE, Comparison, Headline, Point, headline

ALIKE = "best"  # theirs mapped with the search is held against ours with the search, all else against ours with SDK


@dataclass(frozen=True)
class Opponent:
    """What low-rank, of all kernel positions or some, is held against: a method under a mapping and a reading of the cycles."""

    words: str
    method: str
    mapping: str
    steering: str = PLAIN


OPPONENTS = (
    Opponent("PatDNN, im2col", "patdnn", "im2col"),
    Opponent("PatDNN, SDK", "patdnn", "sdk"),
    Opponent("PatDNN, best", "patdnn", "best"),
    Opponent("PatDNN, im2col, ideal steering", "patdnn", "im2col", IDEAL),
    Opponent("PatDNN, SDK, ideal steering", "patdnn", "sdk", IDEAL),
    Opponent("PAIRS, im2col", "pairs", "im2col"),
    Opponent("PAIRS, SDK", "pairs", "sdk"),
    Opponent("PAIRS, best", "pairs", "best"),
    Opponent("shared support, SDK", SUPPORT, "sdk"),
    Opponent("shared support, best", SUPPORT, "best"),
    Opponent("low-rank, SDK", LOW_RANK, "sdk"),
    Opponent("low-rank, best", LOW_RANK, "best"),
    Opponent("channel pruning, SDK", "channel", "sdk"),
    Opponent("channel pruning, best", "channel", "best"),
    Opponent("dense, im2col", "quantise", "im2col"),
    Opponent("dense, SDK", "quantise", "sdk"),
    Opponent("dense, VW-SDK", "quantise", "vw-sdk"),
    Opponent("dense, best", "quantise", "best"),
)


def headlines(points: Sequence[Point], kind: str = LOW_RANK) -> dict[str, dict[str, Headline]]:
    """Low-rank against each opponent with as many bits: by array and by the opponent's words; without those not measured.

    Args:
        points: averaged over seeds.
        kind: of our points, `LOW_RANK` or `ROW_SPARSE`.
    """
    found: dict[str, dict[str, Headline]] = {}
    for array in dict.fromkeys(point.of.array for point in points):
        here = [point for point in points if point.of.array == array]
        for opponent in (opponent for opponent in OPPONENTS if opponent.method != kind):
            mapping = ALIKE if opponent.mapping == ALIKE else "sdk"
            ours = [point for point in here if point.kind == kind and point.of.mapping == mapping]
            bits = {point.of.bits for point in ours}
            theirs = [
                point
                for point in here
                if (point.kind, point.of.mapping, point.of.steering) == (opponent.method, opponent.mapping, opponent.steering)
                and point.of.bits in bits
            ]
            if ours and theirs:
                found.setdefault(array, {})[opponent.words] = headline(ours, theirs)
    return found


def headline_tables(found: dict[str, dict[str, Headline]], kind: str = LOW_RANK) -> str:
    """One table for each array, of our points of a kind."""
    parts = []
    for array, lines in found.items():
        rows = [
            f"### {array} arrays",
            "",
            f"| {kind} against | fewer cycles at no less accuracy | pair | points more at no more cycles | pair |",
            "| --- | --: | --- | --: | --- |",
        ]
        for words, line in lines.items():
            fewer = "–" if line.fewer is None else f"{line.fewer.ratio:.2f}x"
            better = "–" if line.better is None else f"{100 * line.better.gain:+.2f}"
            rows.append(f"| {words} | {fewer} | {_pair(line.fewer)} | {better} | {_pair(line.better)} |")
        parts.append("\n".join(rows))
    return "\n\n".join(parts or [f"Nothing to hold {kind} against has been measured yet."]) + "\n"


def headlines_to_json(found: dict[str, dict[str, Headline]]) -> dict[str, Any]:
    """The same for programs."""

    def point(of: Point) -> dict[str, Any]:
        return {
            "setting": of.label, "mapping": of.of.mapping, "steering": of.of.steering, "accuracy": of.accuracy,
            "cycles": of.cycles, "seeds": of.seeds, "spread": of.spread,
        }  # fmt: skip

    def pair(of: Comparison | None) -> dict[str, Any] | None:
        return None if of is None else {"ratio": of.ratio, "gain": of.gain, "ours": point(of.ours), "theirs": point(of.theirs)}

    return {
        array: {words: {"fewer_cycles": pair(line.fewer), "more_accuracy": pair(line.better)} for words, line in lines.items()}
        for array, lines in found.items()
    }


def low_rank_tables(points: Sequence[Point]) -> str:
    """Accuracy, and cycles under SDK for each array, by g and r; empty without low-rank points."""
    ours = [point for point in points if point.kind == LOW_RANK and point.of.mapping == "sdk"]
    if not ours:
        return ""
    groups = sorted({point.of.groups or 1 for point in ours})
    ranks = sorted({point.of.rank or "" for point in ours}, key=lambda rank: -_size(rank))
    arrays = list(dict.fromkeys(point.of.array for point in ours))

    def table(title: str, array: str, show: Any) -> str:
        found = {(point.of.groups or 1, point.of.rank): point for point in ours if point.of.array == array}
        rows = [f"### {title}", "", f"| g | {' | '.join(_words(rank) for rank in ranks)} |", f"| --: |{' --: |' * len(ranks)}"]
        for g in groups:
            cells = [show(found[g, rank]) if (g, rank) in found else "–" for rank in ranks]
            rows.append(f"| {g} | {' | '.join(cells)} |")
        return "\n".join(rows)

    parts = [table("Accuracy by groups g and rank r", arrays[0], _accuracy)]
    parts += [table(f"Cycles with SDK, {array} arrays", array, lambda point: f"{point.cycles:,.0f}") for array in arrays]
    return "\n\n".join(parts) + "\n"


def support_table(points: Sequence[Point]) -> str:
    """Accuracy, and cycles under SDK on each array, of row-sparse low-rank and shared supports; empty without any."""
    kinds = (ROW_SPARSE, SUPPORT)
    ours = [point for point in points if point.kind in kinds and (point.of.mapping, point.of.steering) == ("sdk", PLAIN)]
    if not ours:
        return ""
    arrays = list(dict.fromkeys(point.of.array for point in ours))
    heads = " | ".join(f"cycles, {array}" for array in arrays)
    rows = [f"| setting | accuracy | {heads} |", f"| --- | --: |{' --: |' * len(arrays)}"]
    for label in dict.fromkeys(point.label for point in sorted(ours, key=lambda point: kinds.index(point.kind))):
        same = {point.of.array: point for point in ours if point.label == label}
        each = [f"{same[array].cycles:,.0f}" if array in same else "–" for array in arrays]
        rows.append(f"| {label} | {_accuracy(next(iter(same.values())))} | {' | '.join(each)} |")
    return "\n".join(rows) + "\n"


def _pair(pair: Comparison | None) -> str:
    return "no such pair" if pair is None else f"{_point(pair.ours)} against {_point(pair.theirs)}"


def _point(point: Point) -> str:
    return f"{point.label} ({_accuracy(point)}, {point.cycles:,.0f} cycles, {point.seeds} seed{'s' * (point.seeds != 1)})"


def _accuracy(point: Point) -> str:
    spread = "" if point.spread is None else f" ± {100 * point.spread:.2f}"
    return f"{100 * point.accuracy:.2f}{spread} %"


def _size(rank: str) -> float:
    return float(Fraction(rank))


def _words(rank: str) -> str:
    return f"r = m/{rank.removeprefix('1/')}" if rank.startswith("1/") else f"r = {rank}"


def energy_table(points: Sequence[Point]) -> str:
    """Energy of every setting with SDK on each array, in nJ per image; empty where no row has an energy."""
    shown = [point for point in points if point.of.mapping == "sdk" and point.energy is not None]
    if not shown:
        return ""
    arrays = list(dict.fromkeys(point.of.array for point in shown))
    rows = [f"| setting | accuracy | {' | '.join(arrays)} |", f"| --- | --: |{' --: |' * len(arrays)}"]
    for label in dict.fromkeys(_with_steering(point) for point in shown):
        same = {point.of.array: point for point in shown if _with_steering(point) == label}
        each = [f"{same[array].energy / 1000:,.0f}" if array in same else "–" for array in arrays]  # type: ignore[operator]
        rows.append(f"| {label} | {_accuracy(next(iter(same.values())))} | {' | '.join(each)} |")
    return "\n".join(rows) + "\n"


def _with_steering(point: Point) -> str:
    return point.label + (", ideal steering" if point.of.steering == IDEAL else "")
