"""Fields of data classes as JSON has them, and as they were."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any


def shallow(record: Any) -> dict[str, Any]:
    """The fields of a data class, as they are."""
    # `dataclasses.asdict` would copy every number of every layer, only to be written.
    return {field.name: getattr(record, field.name) for field in fields(record)}


def tuples_of(content: Mapping[str, Any], *keys: str) -> dict[str, Any]:
    """The same with the lists of some keys as tuples."""
    own = dict(content)
    for key in keys:
        if own.get(key) is not None:
            own[key] = tuple(own[key])
    return own
