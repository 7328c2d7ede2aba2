"""What the attributes and inputs of a node say, checked."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from rankfold.errors import InputError
from rankfold.workload.onnx.file import describe, import_onnx
from rankfold.workload.onnx.sizes import Dims


def operands(node: Any, data_place: int, weight_place: int) -> tuple[str, str]:
    """The names of a node's data and weight.

    Raises:
        InputError: it has too few inputs.
    """
    if len(node.input) <= weight_place:
        raise InputError(
            f"{describe(node)} has {len(node.input)} inputs, and needs {weight_place + 1}; export it again"
        )
    return node.input[data_place], node.input[weight_place]


def numbers(
    node: Any,
    options: Mapping[str, Any],
    name: str,
    default: Dims,
) -> Dims:
    """An attribute of as many whole numbers as `default` has, or `default` where it is not given.

    Raises:
        InputError: it has others.
    """
    given = options.get(name)
    if given is None or given == []:
        return default
    values = given
    if not isinstance(given, list):
        values = [given]
    if len(values) != len(default) or not all(isinstance(value, int) for value in values):
        raise InputError(
            f"{describe(node)} has {name} (={given}), which must be {len(default)} whole numbers; "
            "export it again"
        )
    return tuple(values)


def word(node: Any, options: Mapping[str, Any], name: str, default: str) -> str:
    """An attribute that is a word, or `default` where it is not given.

    Raises:
        InputError: it is none.
    """
    value = options.get(name, default.encode())
    if not isinstance(value, bytes):
        raise InputError(f"{describe(node)} has an {name} that is no word; export it again")
    return value.decode(errors="replace")


def graphs_inside(node: Any) -> Iterator[Any]:
    """The branches of an If, or the body of a Loop."""
    for attribute in node.attribute:
        if attribute.HasField("g"):
            yield attribute.g
        yield from attribute.graphs


def attributes(node: Any) -> dict[str, Any]:
    """All of a node, by name."""
    helper = import_onnx().helper
    return {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
