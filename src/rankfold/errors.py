"""The exceptions that users of Rankfold may see.

Everything a user can put right derives from `RankfoldError`; the command line prints its one sentence and
exits with code 2. Each class is also the built-in exception a Python caller would expect to catch.
"""

from collections.abc import Iterable


class RankfoldError(Exception):
    """Base of all errors that the user of the library can put right."""


class InputError(RankfoldError, ValueError):
    """A value, flag, shape or file content is wrong; the message says what, where and what would be right."""


class UnwantedArgumentError(InputError):
    """An argument has no place beside the others; without it the call would be right.

    Attributes:
        arguments: its name, or those of several of which one is to go; options of the command line are the
            fields that hold them, such as `max_drop`.
    """

    def __init__(self, message: str, *arguments: str) -> None:
        super().__init__(message)
        self.arguments = arguments


class FieldError(InputError):
    """A field of an object is out of range; whoever read the object from a file names its place there.

    Attributes:
        field: the name that the object has for it, such as `cell_bits`.
    """

    # Where an error comes from another process, Python makes it of its message and then sets its attributes.
    def __init__(self, message: str, field: str = "") -> None:
        super().__init__(message)
        self.field = field


class NarrowArrayError(InputError):
    """Not one weight fits in a row of an array; whoever knows the file that describes it names the field."""


class UnpricedCellsError(InputError):
    """The cells of an array store more bits than those that a component table has figures of."""


class UnsupportedLayerError(RankfoldError, ValueError):
    """A layer has an attribute that cannot be carried over exactly, so no work was started."""


class LostProcessError(RankfoldError, ConnectionError):
    """Another process of the same training has ended, and this one cannot go on without it."""


class MissingDependencyError(RankfoldError, ImportError):
    """An optional package is needed; the message says how to install it."""


# Longer texts in a message are cut in the middle: both ends tell what they are.
LONGEST_MESSAGE = 1000


def in_one_line(text: str) -> str:
    """A message as one line of bounded length, whatever texts of others it holds.

    A name in a file may hold line breaks, which would pass for lines of our own, and letters that control a
    terminal; both are written as Python writes them, such as `\\n`.
    """
    letters = []
    for letter in text:
        if letter.isprintable():
            letters.append(letter)
        else:
            letters.append(repr(letter)[1:-1])
    line = "".join(letters)
    if len(line) <= LONGEST_MESSAGE:
        return line
    half = LONGEST_MESSAGE // 2
    return f"{line[:half]} ... {line[-half:]}"


def first_line(error: BaseException) -> str:
    """The first line of what an error of another library says, or its kind where it says nothing."""
    if isinstance(error, SystemExit):
        return "it ends the process (sys.exit)"
    lines = str(error).strip().splitlines()
    if not lines:
        return type(error).__name__
    return lines[0]


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """`; did you mean resnet20?`, to follow a complaint about a word; empty where none known is like it."""
    import difflib

    near = difflib.get_close_matches(word, list(known), n=3, cutoff=0.6)
    if not near:
        return ""
    # Of several that are nearly as like, the one that begins like the word.
    near.sort(key=lambda name: _alike_from_the_start(name, word), reverse=True)
    return f"; did you mean {near[0]}?"


def _alike_from_the_start(one: str, other: str) -> int:
    """Letters that two words have in common at their beginning."""
    alike = 0
    for first, second in zip(one, other, strict=False):
        if first != second:
            break
        alike += 1
    return alike
