"""The house rule that a choice is a statement of its own, and no part of a call or a comprehension."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import rankfold

SOURCE = Path(rankfold.__file__).parent
COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)


def hidden_choices(text: str) -> Iterator[int]:
    """The lines with a conditional expression somewhere in an argument or a comprehension."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Call):
            for value in [*node.args, *(keyword.value for keyword in node.keywords)]:
                yield from _choices_in(value)
        if isinstance(node, COMPREHENSIONS):
            yield from (part.lineno for part in ast.walk(node) if isinstance(part, ast.IfExp))


def _choices_in(value: ast.AST) -> Iterator[int]:
    """The same of one argument; those of calls in it are theirs."""
    if isinstance(value, ast.IfExp):
        yield value.lineno
    if not isinstance(value, ast.Call):
        for part in ast.iter_child_nodes(value):
            yield from _choices_in(part)


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("f(\n    1 if a else 2)", [2]),
        ("f(x=1 if a else 2)", [1]),
        ("f(1 + (2 if a else 3), *(b if b else []))", [1, 1]),
        ("f(f'{1 if a else 2}', [{'k': 1 if a else 2}])", [1, 1]),
        ("f(lambda a: 1 if a else 2)", [1]),
        ("f(g(1 if a else 2))", [1]),
        ("[1 if a else 2 for a in b]", [1]),
        ("c = 1 if a else 2\nf(c)", []),
        ("[a for a in b if a]", []),
    ],
)
def test_they_are_found(text: str, lines: list[int]) -> None:
    assert list(hidden_choices(text)) == lines


def test_no_call_or_comprehension_has_one() -> None:
    found = []
    for path in sorted(SOURCE.rglob("*.py")):
        for line in hidden_choices(path.read_text(encoding="utf-8")):
            found.append(f"{path.relative_to(SOURCE)}:{line}")
    assert not found
