"""How the tables of a reproduction write accuracies, ranks and rows."""

from __future__ import annotations

from collections.abc import Sequence

from rankfold.reproduce.headline import Point

RULES = {"<": "---", ">": "--:"}  # of the columns of a Markdown table


def table(head: Sequence[str], rows: Sequence[Sequence[str]], align: str) -> str:
    """A Markdown table.

    Args:
        head: a title for each column.
        rows: cells, already formatted.
        align: `<` or `>` for each column.
    """
    rules = [RULES[side] for side in align]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (head, rules, *rows))


def accuracy_in_words(point: Point) -> str:
    """`91.23 ± 0.10 %`, or without a spread where there is one seed."""
    spread = ""
    if point.spread is not None:
        spread = f" ± {100 * point.spread:.2f}"
    return f"{100 * point.accuracy:.2f}{spread} %"


def rank_in_words(rank: str) -> str:
    """`r = m/8` for `1/8`, and `r = 4` for `4`."""
    if rank.startswith("1/"):
        return f"r = m/{rank.removeprefix('1/')}"
    return f"r = {rank}"
