"""Objects as notebooks and prompts show them: a table or picture there, one line here."""

from __future__ import annotations

from importlib import import_module

from rankfold.errors import in_one_line

LONGEST_LINE = 100  # letters of a text in a terminal


class Shown:
    """A class whose objects notebooks show as tables and pictures.

    What they show is made by `report.rich`, which stands behind all steps whose classes derive from this one;
    it is imported when a notebook asks.
    """

    __slots__ = ()

    def _repr_html_(self) -> str:
        html: str = import_module("rankfold.report.rich").html_of(self)
        return html


def in_brackets(name: str, words: str) -> str:
    """`<Plan of resnet20 on 64x64 arrays: ...>`, at most `LONGEST_LINE` letters.

    Args:
        name: of the class.
        words: what is told of the object; others may have named parts of it.
    """
    line = f"<{name} {in_one_line(words)}>"
    if len(line) <= LONGEST_LINE:
        return line
    return f"{line[: LONGEST_LINE - 2]}…>"
