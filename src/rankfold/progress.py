"""`Progress`: how the library tells whoever waits for it how far its work is."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Protocol, TypeVar, runtime_checkable

from rankfold.arguments import Wanted

Inputs = TypeVar("Inputs")
Item = TypeVar("Item")
Target = TypeVar("Target")


@runtime_checkable
class Progress(Protocol):
    """Hears how far some work is; the command line draws bars with it."""

    def begin(self, what: str, total: int, unit: str = "images") -> None:
        """A part of the work begins; parts do not nest, so that one bar is enough to show them.

        Args:
            what: a few words for the part, such as `fine-tuning 3/10`.
            total: how many units it has.
            unit: what is counted, in the plural.
        """

    def advance(self, count: int = 1, detail: str = "") -> None:
        """`count` more units of the part that began last are done.

        Args:
            count: how many.
            detail: what came of the last of them, if it is worth a word.
        """

    def end(self, summary: str = "") -> None:
        """The part that began last is over; `summary` is a line worth keeping."""

    def note(self, text: str) -> None:
        """Something that the user should know."""


class Silent:
    """Hears everything and shows nothing."""

    def begin(self, what: str, total: int, unit: str = "images") -> None:
        """Show nothing."""

    def advance(self, count: int = 1, detail: str = "") -> None:
        """Show nothing."""

    def end(self, summary: str = "") -> None:
        """Show nothing."""

    def note(self, text: str) -> None:
        """Show nothing."""


def heard(
    batches: Iterable[tuple[Inputs, Target]],
    progress: Progress,
    what: str,
    total: int,
    size: Callable[[Inputs], int],
) -> Iterator[tuple[Inputs, Target]]:
    """The same batches, while `progress` hears how many samples are done.

    Args:
        batches: pairs of inputs and targets.
        progress: hears it.
        what: is done with them, in a few words.
        total: samples of all batches.
        size: how many samples inputs have.
    """
    progress.begin(what, total)
    for inputs, target in batches:
        yield inputs, target
        progress.advance(size(inputs))
    progress.end()


def counted(
    items: Iterable[Item], progress: Progress, what: str, total: int, unit: str = "layers"
) -> Iterator[Item]:
    """The same items, while `progress` hears how many are done.

    Args:
        items: each a unit of the work.
        progress: hears it.
        what: is done with them, in a few words.
        total: how many they are.
        unit: what they are, in the plural.
    """
    progress.begin(what, total, unit)
    for item in items:
        yield item
        progress.advance()
    progress.end()


# For `arguments.takes`.
PROGRESS = Wanted("a rankfold.progress.Progress", Progress, optional=True)
