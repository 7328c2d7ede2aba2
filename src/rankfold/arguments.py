"""What the public functions take: one sentence for an argument of a wrong type."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from functools import wraps
from inspect import Parameter, signature
from numbers import Integral, Rational, Real
from operator import is_not
from typing import Any, TypeVar, cast

from rankfold.errors import InputError

F = TypeVar("F", bound=Callable[..., Any])
LONGEST = 60  # letters of a text that are shown
_PLAIN = frozenset((int, float, str, bool, type(None)))


class Wanted:
    """What an argument has to be.

    Args:
        words: the same for a message, such as `a Plan, as uniform_plan makes it`.
        types: of which it has to be one.
        optional: whether None will do too.
    """

    def __init__(self, words: str, *types: type, optional: bool = False) -> None:
        self.words, self.types, self.optional = words, types, optional

    @property
    def or_none(self) -> Wanted:
        """The same, or None."""
        return Wanted(self.words, *self.types, optional=True)

    def fits(self, value: object) -> bool:
        """Whether a value is one of them."""
        if self.optional and value is None:
            return True
        # To Python a truth value is a number; to users it is a slip.
        is_truth = isinstance(value, bool) and bool not in self.types
        return isinstance(value, self.types) and not is_truth

    def check(self, name: str, value: object) -> None:
        """Refuse an argument called `name`.

        Raises:
            InputError: it is something else.
        """
        if not self.fits(value):
            raise InputError(f"{name} must be {self.words}, not {shown(value)}")


TEXT = Wanted("a text", str)
WHOLE = Wanted("a whole number", Integral)  # NumPy's too
NUMBER = Wanted("a number", Real)
SWITCH = Wanted("True or False", bool)
PATH = Wanted("a path", str, os.PathLike)


def shown(value: object) -> str:
    """A value of the wrong type, for a message: `the text 'plan.json'`, `a list`, `the class Net`."""
    if value is None or isinstance(value, (bool, int, float)):
        return repr(value)
    if isinstance(value, str):
        cut = value
        if len(value) > LONGEST:
            cut = value[:LONGEST] + "..."
        return f"the text {cut!r}"
    if isinstance(value, os.PathLike):
        return f"the path {os.fspath(value)!r}"
    if isinstance(value, type):
        return f"the class {value.__name__}"
    name = type(value).__name__
    article = "a"
    if name[:1].lower() in "aeiou":
        article = "an"
    return f"{article} {name}"


def takes(**wanted: Wanted) -> Callable[[F], F]:
    """Check, at each call of a function, the types of the named arguments."""

    def decorate(function: F) -> F:
        parameters = list(signature(function).parameters.values())

        @wraps(function)
        def checked(*arguments: Any, **keywords: Any) -> Any:
            for name, value in _named(parameters, arguments, keywords):
                if name in wanted:
                    wanted[name].check(name, value)
            return function(*arguments, **keywords)

        return cast(F, checked)

    return decorate


def _named(
    parameters: list[Parameter], arguments: tuple[Any, ...], keywords: Mapping[str, Any]
) -> Iterator[tuple[str, Any]]:
    """The arguments of a call with their names; what is too much is left for Python to complain of."""
    place = 0
    for value in arguments:
        if place < len(parameters):
            yield parameters[place].name, value
            # `*budgets` takes all that follow.
            if parameters[place].kind is not Parameter.VAR_POSITIONAL:
                place += 1
    yield from keywords.items()


def check_fields(owner: object, **wanted: Wanted) -> None:
    """Refuse fields of a data class that are of a wrong type, before any comparison, which a text would not
    stand; numbers become Python's own, see `plain_numbers_`.

    Raises:
        InputError: the message names the class and the field.
    """
    for name, rule in wanted.items():
        rule.check(f"{type(owner).__name__} {name}", getattr(owner, name))
    plain_numbers_(owner)


def plain_numbers_(owner: object) -> None:
    """Make NumPy's numbers in the fields of a frozen data class Python's own, as files have them."""
    for name, value in vars(owner).items():
        plain = plain_number(value)
        if plain is not value:
            object.__setattr__(owner, name, plain)


def plain_number(value: Any) -> Any:
    """NumPy's number, or each of a tuple of numbers, as Python's own; anything else as it is."""
    # The types themselves first: what knows numbers of all kinds takes much longer.
    if type(value) in _PLAIN:
        return value
    if type(value) is tuple:
        if all(type(one) in _PLAIN for one in value):
            return value
        plain = tuple(map(plain_number, value))
        # Others than numbers, such as records, stay the very tuple that they were.
        if any(map(is_not, plain, value)):
            return plain
        return value
    if isinstance(value, Integral):
        return int(value)
    # Fractions are exact, and no kind of float.
    if isinstance(value, Real) and not isinstance(value, Rational):
        return float(value)
    return value
