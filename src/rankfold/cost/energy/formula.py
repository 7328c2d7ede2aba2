"""`Formula`: an arithmetic expression of a component table, read without running code."""

from __future__ import annotations

import ast
import math
import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

from rankfold.errors import InputError

# All that a table can compute. Tables come from users, so nothing here reaches beyond numbers.
OPERATORS: dict[type[ast.AST], Callable[..., float]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.Pow: operator.pow,
    ast.USub: operator.neg,
    ast.UAdd: operator.pos,
}
FUNCTIONS: dict[str, Callable[..., float]] = {
    "ceil": math.ceil,
    "floor": math.floor,
    "log2": math.log2,
    "max": max,
    "min": min,
    "sqrt": math.sqrt,
}
LONGEST = 500  # letters


@dataclass(frozen=True)
class Formula:
    """An expression of numbers, names, + - * / **, and `FUNCTIONS`.

    Attributes:
        text: the expression.
        constants: (name, value) of its own constants.
        where: its place in the table, for complaints.
    """

    text: str
    constants: tuple[tuple[str, float], ...] = ()
    where: str = "formula"

    def check(self, variables: Mapping[str, float]) -> None:
        """Evaluate once, so that a wrong formula is refused where it is read.

        Raises:
            InputError: as `value`.
        """
        # Constants come on top of variables, so that one of the same name would hide it unseen.
        clash = [name for name, _ in self.constants if name in variables or name in FUNCTIONS]
        if clash:
            raise InputError(
                f"{self.where}: the constant {clash[0]} has the name of a variable or function; rename it"
            )
        self.value(variables)

    def value(self, variables: Mapping[str, float]) -> float:
        """The value for some variables; constants come on top.

        Raises:
            InputError: not an expression of the kind above, an unknown name, or a result that is no finite
                number of at least 0.
        """
        return _value(self, tuple(variables.items()))

    def _computed(self, variables: Mapping[str, float]) -> float:
        names = {**variables, **dict(self.constants)}
        try:
            found = float(self._evaluate(self._tree, names))
        except InputError:  # a ValueError that already says what is wrong
            raise
        except (ArithmeticError, ValueError, TypeError) as error:
            raise InputError(f"{self.where} (={self.text}) cannot be computed: {error}") from None
        if not math.isfinite(found) or found < 0:
            raise InputError(
                f"{self.where} (={self.text}) is {found:g}; it must be a finite number, 0 or more"
            )
        return found

    @cached_property
    def _tree(self) -> ast.expr:
        try:
            if len(self.text) > LONGEST:
                # Refused below in the words for every text that is no formula.
                raise SyntaxError
            return ast.parse(self.text, mode="eval").body
        # Null characters give a ValueError in some Pythons, deep nesting the last two.
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            shown = f"{self.where} (={self.text[:60]})"
            raise InputError(
                f"{shown} is not an arithmetic expression such as C * columns * vdd**2"
            ) from None

    def _evaluate(self, node: ast.expr, names: Mapping[str, float]) -> Any:
        match node:
            # To Python True is an int: it is caught first, and refused below.
            case ast.Constant(value=bool()):
                pass
            case ast.Constant(value=int() | float() as number):
                # Floats overflow at once, where powers of whole numbers would grow without end.
                return float(number)
            case ast.Name(id=name):
                if name not in names:
                    raise InputError(
                        f"{self.where} (={self.text}): {name} is unknown; known are "
                        f"{', '.join(sorted(names))}"
                    )
                return names[name]
            case ast.BinOp(left=left, op=op, right=right) if type(op) in OPERATORS:
                return OPERATORS[type(op)](self._evaluate(left, names), self._evaluate(right, names))
            case ast.UnaryOp(op=op, operand=operand) if type(op) in OPERATORS:
                return OPERATORS[type(op)](self._evaluate(operand, names))
            case ast.Call(func=ast.Name(id=name), args=arguments, keywords=[]) if name in FUNCTIONS:
                return FUNCTIONS[name](*(self._evaluate(argument, names) for argument in arguments))
        raise InputError(
            f"{self.where} (={self.text}): only numbers, names, + - * / ** and {', '.join(FUNCTIONS)} are "
            "understood"
        )


# Layers of one network differ in what they count, and rarely in what formulae depend on.
@lru_cache(maxsize=8192)
def _value(formula: Formula, variables: tuple[tuple[str, float], ...]) -> float:
    return formula._computed(dict(variables))
