"""JSON schemas of the package's files, read strictly."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

from rankfold.files import package_data

LARGEST = 2**63  # no count of ours comes near it, and arithmetic with larger ones may overflow
REFERENCE = "$ref"
DEFINITIONS = "$defs"


@cache
def schema_validator(package: str, name: str) -> Any:
    """A validator of `jsonschema` for a schema of the package.

    Numbers must be finite, and 4.0 is no whole number.

    Args:
        package: such as `rankfold.runs`.
        name: of the schema's file in it. Its references are to definitions of its own, none of which
            refers to itself.
    """
    return strict_validator(package_schema(package, name))


def package_schema(
    package: str,
    name: str,
    complete: Callable[[dict[str, Any]], None] | None = None,
) -> dict[str, Any]:
    """A schema of the package without references.

    Args:
        package: as in `schema_validator`.
        name: as in `schema_validator`.
        complete: changes the schema, in place, before its references are followed.
    """
    text = (package_data(package) / name).read_text(encoding="utf-8")
    schema = json.loads(text)
    if complete is not None:
        complete(schema)
    # To follow references for every number of a file takes `jsonschema` most of its time.
    resolved: dict[str, Any] = _resolved(schema, schema.pop(DEFINITIONS, {}))
    return resolved


def strict_validator(schema: Mapping[str, Any], *, whole_as_fractions: bool = False) -> Any:
    """A validator of `jsonschema` for a schema; numbers must be finite, and 4.0 is no whole number.

    Args:
        schema: it.
        whole_as_fractions: whether it is one all the same.
    """
    # Imported here, as only who reads a file needs it.
    import jsonschema

    # JSON Schema counts 4.0 as an integer; as a rank or a bit width it would fail much later.
    rules: dict[str, Any] = {"number": _is_finite}
    if not whole_as_fractions:
        rules["integer"] = _is_whole
    plain = jsonschema.Draft202012Validator.TYPE_CHECKER.redefine_many(rules)
    strict = jsonschema.validators.extend(  # type: ignore[no-untyped-call]
        jsonschema.Draft202012Validator, type_checker=plain
    )
    return strict(schema)


def _resolved(part: Any, definitions: Mapping[str, Any]) -> Any:
    """A part of a schema with what its references refer to in their place."""
    if isinstance(part, list):
        return [_resolved(value, definitions) for value in part]
    if not isinstance(part, dict):
        return part
    whole = dict(part)
    if REFERENCE in whole:
        name = whole.pop(REFERENCE).removeprefix(f"#/{DEFINITIONS}/")
        # What stands beside a reference goes before what the definition says.
        whole = {**definitions[name], **whole}
        # A definition may refer to others; to itself none does, so that this ends.
        return _resolved(whole, definitions)
    return {key: _resolved(value, definitions) for key, value in whole.items()}


def _is_whole(_: Any, value: Any) -> bool:
    # To Python, True is a whole number.
    if isinstance(value, bool) or not isinstance(value, int):
        return False
    return abs(value) < LARGEST


def _is_finite(checker: Any, value: Any) -> bool:
    # JSON knows no infinity, but Python's reader takes `Infinity` and `NaN`.
    if isinstance(value, float):
        return math.isfinite(value)
    return _is_whole(checker, value)
