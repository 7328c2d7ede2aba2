"""`LayerPlan`: what becomes of one layer, how it is laid on arrays, and with how many bits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass, field, replace
from typing import Any

from rankfold.arguments import plain_numbers_
from rankfold.errors import InputError
from rankfold.mapping.names import window_name
from rankfold.plan.kinds import DenseLayer, LayerKind, kind_from_json

EXAMPLE = (4, 8)  # of a window, for messages
# What a plan says of a layer whatever its kind, in the order of the file, and what goes without saying.
COMMON: dict[str, Any] = {
    "mapping": "",
    "weight_bits": None,
    "input_bits": None,
    "input_signed": None,
    "narrow_weights": False,
    "reason": "",
}


@dataclass(frozen=True)
class LayerPlan:
    """What becomes of one layer.

    Attributes:
        name: the layer's name in the network.
        kind: what it becomes.
        mapping: how it is laid on the array, one of its kind's `mappings`, or windows such as `4x8` of a kind
            that has some; empty: `sdk`, or the first one of a kind that cannot be laid so.
        weight_bits: 1 to 8, or None for float.
        input_bits: bits of the layer's input, and of the value between two stages; None for float.
        input_signed: whether the input can be negative; None: to be seen from the data.
        narrow_weights: whether weights of b bits leave out their lowest level, -2^(b-1) ("narrow range"), as
            cells of the arrays do not hold it. `quantise_` says so, whatever a plan said before.
        reason: why it is so, in words.
    """

    name: str
    kind: LayerKind = field(default_factory=DenseLayer)
    # By name only: two widths and a sign side by side are easily swapped.
    _: KW_ONLY
    mapping: str = ""
    weight_bits: int | None = None
    input_bits: int | None = None
    input_signed: bool | None = None
    narrow_weights: bool = False
    reason: str = ""

    def __post_init__(self) -> None:
        plain_numbers_(self)
        plain_numbers_(self.kind)
        if not self.mapping:
            object.__setattr__(self, "mapping", self.kind.mapping_for("sdk"))  # it is frozen
        if not self.kind.can_lie(self.mapping):
            raise InputError(
                f"plan, layer {self.name}: mapping (={self.mapping}) of a {self.kind.name} layer must be "
                f"one of {', '.join(self.kind.mappings)}{_windows_in_words(self.kind)}"
            )
        # A layer is quantised as a whole: `quantised` looks at its weights alone and speaks for both.
        if (self.weight_bits is None) != (self.input_bits is None):
            raise InputError(f"plan, layer {self.name}: give weight_bits and input_bits, or neither")
        if self.narrow_weights and (self.weight_bits is None or self.weight_bits == 1):
            raise InputError(
                f"plan, layer {self.name}: narrow_weights needs weight_bits of 2 or more; leave it out, "
                "as quantise_ sets it"
            )

    @property
    def quantised(self) -> bool:
        """Whether the layer has bit widths."""
        return self.weight_bits is not None

    def with_support(self, support: str) -> LayerPlan:
        """The layer with its kernel positions filled in, as text (see `plan.support`)."""
        return replace(self, kind=self.kind.with_support(support))

    def to_json(self) -> dict[str, Any]:
        """The layer's entry in a plan file; what goes without saying is left out."""
        content: dict[str, Any] = {"name": self.name, **self.kind.to_json()}
        for name, unsaid in COMMON.items():
            value = getattr(self, name)
            if value != unsaid:
                content[name] = value
        return content

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> LayerPlan:
        """The layer that an entry of a plan file says.

        Raises:
            InputError: fields are missing, belong to another kind, or contradict each other.
        """
        # What is left in the copy, once the common fields are taken out, must be the kind's own.
        own = dict(content)
        name = own.pop("name")
        common = {key: own.pop(key) for key in COMMON if key in own}
        try:
            kind = kind_from_json(own)
        except InputError as error:
            # A kind knows its fields, but not whose they are.
            raise InputError(f"plan, layer {name}: {error}") from None
        return cls(name, kind, **common)


def _windows_in_words(kind: LayerKind) -> str:
    """That a kind may have windows as its mapping, behind its other mappings."""
    if not kind.windows:
        return ""
    examples = [EXAMPLE] * kind.windows
    return f", or such as {window_name(examples)}"
