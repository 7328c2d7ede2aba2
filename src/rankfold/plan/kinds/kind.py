"""`LayerKind`: what a layer becomes. Each kind is one small class with its own fields, which checks
itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import MISSING, Field, dataclass, fields
from typing import Any, ClassVar

from rankfold.errors import InputError
from rankfold.mapping import MAPPINGS, ArraySpec
from rankfold.mapping.names import windows_named
from rankfold.workload import ConvShape


@dataclass(frozen=True)
class LayerKind:
    """What one layer becomes; the base of all kinds.

    A kind is registered with `register_kind`, together with what the other steps need to know of it.

    Attributes:
        name: what plans call it (`kind`).
        variant: tells kinds of one name apart (`pruning` in plans); None where there is only one.
        mappings: how it can be laid on arrays, the names that plans may give.
        windows: stored matrices of a layer, where a plan may name the window of each as its mapping, such as
            `4x8`; 0: it may not.
        schema: JSON Schema of the kind's own fields in plans.
        needed: fields that a plan must give.
        changes_weight: whether the layer's weight is replaced.
        made_for_data: whether its weight can be made for what its inputs are on data.
        masked: whether the weights that it keeps are known from the weights alone, where they are saved as
            masks.
        one_kernel: whether it computes what some weight of the layer's own shape computes, the same one for
            all output pixels.
        computes: whether what it gives depends on what it reads; layers that alone feed one which does not
            compute for nothing.
        counts_linear: whether one fully connected layer of this kind makes all fully connected layers count.
    """

    # Of the class, no fields: plans hold only what differs from layer to layer.
    name: ClassVar[str]
    variant: ClassVar[str | None] = None
    mappings: ClassVar[tuple[str, ...]] = MAPPINGS
    windows: ClassVar[int] = 0
    schema: ClassVar[Mapping[str, Any]] = {}
    needed: ClassVar[tuple[str, ...]] = ()
    changes_weight: ClassVar[bool] = True
    made_for_data: ClassVar[bool] = False
    masked: ClassVar[bool] = False
    one_kernel: ClassVar[bool] = True
    computes: ClassVar[bool] = True
    counts_linear: ClassVar[bool] = False

    @property
    def shares_support(self) -> bool:
        """Whether all its outputs use the same kernel positions, or what else says which inputs they use,
        known already or to be chosen on data.
        """
        return False

    @property
    def known_support(self) -> str | None:
        """These positions as text (see `plan.support`, or the kind itself), where they are known."""
        return None

    def with_support(self, support: str) -> LayerKind:
        """The kind with its support filled in.

        Raises:
            InputError: it has none.
        """
        raise InputError(f"a {self.name} layer has no support")

    def with_steering(self, steering: str) -> LayerKind:
        """The kind with its rows counted under a steering of inputs; itself where it has none to set.

        Args:
            steering: `plain` or `ideal`, see `PatternLayer`.
        """
        return self

    def can_lie(self, mapping: str) -> bool:
        """Whether a layer of this kind can be laid on arrays so: by one of its mappings, or its windows."""
        if mapping in self.mappings:
            return True
        named = len(windows_named(mapping))
        return named > 0 and named == self.windows

    def mapping_for(self, wanted: str) -> str:
        """How a layer is laid out where a whole network shall be laid out as `wanted`: so if the kind can be,
        else with `sdk`, else with the first of its mappings.
        """
        for mapping in (wanted, "sdk"):
            if mapping in self.mappings:
                return mapping
        return self.mappings[0]

    def short(self) -> str:
        """What the layer becomes, in a few letters."""
        return self.name

    def check(self, shape: ConvShape) -> None:
        """Refuse a layer that cannot become this.

        Raises:
            InputError: it cannot; the message names the layer.
        """

    def holds(self, other: LayerKind) -> bool:
        """Whether a layer of this kind can have every weight that it can have as `other`.

        False where this is not certain. The planner drops candidates by it, so that True must be a proof.
        """
        return False

    def worse_than_dense(self, runs: Sequence[ConvShape], array: ArraySpec, mapping: str) -> str:
        """Why a layer would be worse off as this than as it is; empty where it would not be.

        Args:
            runs: the layer, once for each time that it runs.
            array: R x C.
            mapping: how the network is laid out.

        Returns:
            Why, with what would grow in brackets.
        """
        return ""

    def to_json(self) -> dict[str, Any]:
        """The kind's part of a layer in a plan file; fields that are None by default are left out then."""
        content: dict[str, Any] = {"kind": self.name}
        if self.variant is not None:
            content["pruning"] = self.variant
        for field in fields(self):
            value = getattr(self, field.name)
            # A missing field means the default, so that files need no null.
            if value is not None or field.default is not None:
                content[field.name] = as_json(value)
        return content

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> LayerKind:
        """The kind that a plan's layer says, from the fields that are the kind's own.

        Raises:
            InputError: a field is missing, or its value is wrong.
        """
        # Not the schema's work: the fields of all kinds stand side by side there, so it can ask for none.
        # `needed` are fields with a default in code that a file has to spell out all the same.
        for name in (*cls.needed, *cls._without_default()):
            if name not in content:
                raise InputError(f"a {cls.name} layer needs {name}")
        return cls(**{name: as_field(value) for name, value in content.items()})

    @classmethod
    def _without_default(cls) -> tuple[str, ...]:
        return tuple(field.name for field in fields(cls) if is_needed(field))


def as_json(value: Any) -> Any:
    """A field as JSON has it: tuples, such as a window (a, b), are lists there."""
    if isinstance(value, tuple):
        return [as_json(part) for part in value]
    return value


def as_field(value: Any) -> Any:
    """A value of JSON as a field: a kind is frozen and hashed, so its lists are tuples."""
    if isinstance(value, list):
        return tuple(as_field(part) for part in value)
    return value


def is_needed(field: Field[Any]) -> bool:
    """Whether a data class cannot be made without a field."""
    return field.default is MISSING and field.default_factory is MISSING
