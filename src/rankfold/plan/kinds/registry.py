"""The kinds of layers there are, and what each step knows of them.

A kind is a class (see `LayerKind`) and, for each step that treats kinds differently, one object that says
how: its cost, its surgery, its candidates, its picture, its export. `register_kind` ties them together.
Objects may be named by `module:attribute`; their modules are imported when a step first asks, so that nothing
heavy is loaded before it is needed, and no step imports from one above it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields
from importlib import import_module
from typing import Any, TypeVar

from rankfold.arguments import shown
from rankfold.errors import InputError
from rankfold.plan.kinds.kind import LayerKind

T = TypeVar("T")

# The steps that treat kinds differently.
STEPS = ("cost", "surgery", "candidates", "picture", "workload", "onnx")

# What a plan says of a layer of any kind.
COMMON_FIELDS = (
    "name",
    "kind",
    "pruning",
    "mapping",
    "weight_bits",
    "input_bits",
    "input_signed",
    "narrow_weights",
    "reason",
)

# By what plans say: name and variant. The order is that of registration, and of lists in messages.
_KINDS: dict[tuple[str, str | None], type[LayerKind]] = {}
# What each step knows, by class: the object, or its address until a step asks.
_PARTS: dict[type[LayerKind], dict[str, Any]] = {}


def register_kind(kind: type[LayerKind], **parts: Any) -> None:
    """Make a kind of layer known to all steps.

    Args:
        kind: the class.
        parts: for each of `STEPS` that the kind goes through, the object that says how, or `module:attribute`
            of it.

    Raises:
        InputError: the name is taken, there is no such step, or the fields of the kind and its schema differ,
            or are other things in plans.
    """
    if not (isinstance(kind, type) and issubclass(kind, LayerKind)):
        raise InputError(f"kind must be a class of layers, a subclass of LayerKind, not {shown(kind)}")
    key = kind.name, kind.variant
    if key in _KINDS:
        raise InputError(f"a kind of layer named {_spoken(key)} is registered already; choose another name")
    unknown = sorted(set(parts) - set(STEPS))
    if unknown:
        raise InputError(f"kind {kind.name}: step (={unknown[0]}) must be one of {', '.join(STEPS)}")
    # Everything is checked before either table changes, so that a refused kind leaves no trace.
    _check_fields(kind)
    _KINDS[key] = kind
    _PARTS[kind] = dict(parts)


def _check_fields(kind: type[LayerKind]) -> None:
    """Refuse a kind whose layers plans could not hold, or that makes a field of others another thing.

    Raises:
        InputError: its fields and its schema differ, or another kind has such a field with another schema.
    """
    # Without a schema a field is refused in files; a schema without a field breaks the constructor.
    own = {field.name for field in fields(kind)}
    odd = sorted(own ^ set(kind.schema))
    if odd:
        raise InputError(
            f"kind {kind.name}: {odd[0]} must be a field of the data class and have a JSON Schema in "
            "`schema`, both"
        )
    for name, schema in kind.schema.items():
        if name in COMMON_FIELDS:
            raise InputError(
                f"kind {kind.name}: {name} is a field of every layer in plans; choose another name"
            )
        # The fields of all kinds share one flat object in plans, so that one name can have one schema only.
        others = [other.name for other in kinds() if other.schema.get(name, schema) != schema]
        if others:
            raise InputError(
                f"kind {kind.name}: {name} is a field of {others[0]} layers with another schema; choose "
                "another name"
            )


def unregister_kind(kind: type[LayerKind]) -> None:
    """Forget a kind again; one that is not registered is no error."""
    key = (kind.name, kind.variant)
    # Another kind may have the name: then this one was never registered.
    if _KINDS.get(key) is kind:
        del _KINDS[key]
    _PARTS.pop(kind, None)


@contextmanager
def registered(kind: type[LayerKind], **parts: Any) -> Iterator[None]:
    """Inside, the kind is registered."""
    register_kind(kind, **parts)
    try:
        yield
    finally:
        unregister_kind(kind)


def kinds() -> tuple[type[LayerKind], ...]:
    """All registered kinds, in the order in which they were registered."""
    return tuple(_KINDS.values())


def kind_names() -> tuple[str, ...]:
    """What plans call them, each name once."""
    return tuple(dict.fromkeys(name for name, _ in _KINDS))


def kind_called(name: str, variant: str | None = None) -> type[LayerKind] | None:
    """The kind that plans call so; None where none is registered."""
    return _KINDS.get((name, variant))


def part_of(kind: LayerKind | type[LayerKind], step: str, wanted: type[T]) -> T:
    """What a step knows of a kind.

    Args:
        kind: a kind, or a layer of it.
        step: one of `STEPS`.
        wanted: the type of what is asked for.

    Raises:
        InputError: the kind is not registered, or not for this step.
    """
    owner = kind if isinstance(kind, type) else type(kind)
    parts = _PARTS.get(owner)
    if parts is None:
        raise InputError(f"{owner.__name__} is not a registered kind of layer; call register_kind")
    if step not in parts:
        spoken = _spoken((owner.name, owner.variant))
        raise InputError(f"{spoken} layers have no {step} of their own, which is needed here")
    found = parts[step]
    if isinstance(found, str):
        # Imported when first asked for; the object then takes the place of its address.
        module, _, attribute = found.partition(":")
        found = getattr(import_module(module), attribute)
        parts[step] = found
    # Kinds may come from outside: their mistakes are named here, not where a method is missing later.
    if not isinstance(found, wanted):
        raise InputError(
            f"the {step} of {owner.__name__} is a {type(found).__name__}; it must be a {wanted.__name__}"
        )
    return found


def has_part(kind: LayerKind | type[LayerKind], step: str) -> bool:
    """Whether a kind is registered for a step."""
    owner = kind if isinstance(kind, type) else type(kind)
    return step in _PARTS.get(owner, {})


def kind_from_json(content: Mapping[str, Any]) -> LayerKind:
    """The kind in a plan's layer: `kind`, `pruning` and the fields that kinds have.

    Raises:
        InputError: no such kind, a field is missing, belongs to another kind or has a wrong value.
    """
    own = dict(content)
    name, variant = own.pop("kind"), own.pop("pruning", None)
    alike = [kind for kind in kinds() if kind.name == name]
    if not alike:
        *most, last = kind_names()
        raise InputError(f"kind (={name}) must be {', '.join(most)} or {last}")
    variants = [kind.variant for kind in alike]
    if variant is None and None not in variants:
        raise InputError(f"a {name} layer needs pruning")
    if variant not in variants:
        if variants == [None]:
            raise InputError(_misplaced("pruning", name))
        raise InputError(f"pruning (={variant}) must be {' or '.join(map(str, variants))}")
    kind = alike[variants.index(variant)]
    # The schema of plans lets fields of any kind pass, so those of others are found here.
    foreign = next((field for field in own if field not in kind.schema), None)
    if foreign is not None:
        raise InputError(_misplaced(foreign, variant or name))
    # Only now: a misplaced field is a better message than a missing one.
    return kind.from_json(own)


def field_schemas() -> dict[str, Any]:
    """JSON Schema of the fields that kinds have in plans, of all of them together."""
    found: dict[str, Any] = {}
    for kind in kinds():
        found.update(kind.schema)
    return found


def kind_schema(kind: type[LayerKind]) -> dict[str, Any]:
    """JSON Schema of what `LayerKind.to_json` says of a layer of one kind, and of nothing else."""
    properties: dict[str, Any] = {"kind": {"const": kind.name}, **kind.schema}
    if kind.variant is not None:
        properties["pruning"] = {"const": kind.variant}
    return {"type": "object", "properties": properties, "additionalProperties": False}


def _misplaced(field: str, name: str) -> str:
    """The complaint about a field that another kind has."""
    owners = [kind for kind in kinds() if field in kind.schema]
    if field == "pruning":
        owners = [kind for kind in kinds() if kind.variant is not None]
    names = list(dict.fromkeys(kind.name for kind in owners))
    if len(owners) == 1 and owners[0].variant is not None:
        return f"{field} is out of place: only {owners[0].variant} has one, this one is {name}"
    if len(names) == 1:
        return f"only a {names[0]} layer has {field}, this one is {name}"
    *most, last = names
    return f"only {', '.join(most)} and {last} layers have {field}, this one is {name}"


def _spoken(key: tuple[str, str | None]) -> str:
    name, variant = key
    if variant is None:
        return name
    return f"{name} ({variant})"
