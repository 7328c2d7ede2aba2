"""`LayerResult`: what a run made of one layer, as an entry of `result.json`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from functools import cache
from typing import Any

from rankfold.documents import in_schema
from rankfold.errors import InputError
from rankfold.plan.kinds import LayerKind, kind_called, kind_from_json, kind_names, kind_schema, kinds
from rankfold.plan.kinds.kind import is_needed
from rankfold.records.fields import shallow, tuples_of
from rankfold.records.schema import strict_validator
from rankfold.workload import ConvShape

Counts = dict[str, int]  # by the text of a `rankfold.cost.CostKey`, such as `low-rank-sdk`


@dataclass(frozen=True, kw_only=True)
class LayerResult:
    """One layer of the plan after the run.

    What is None in results of older versions is None here too.

    Attributes:
        name: the layer.
        kind: what plans call what it became.
        reason: why, as in the plan.
        groups: g of a low-rank pair.
        rank: r of a low-rank pair.
        error: relative Frobenius error of the weight before fine-tuning, against the dense one; None of
            layers that keep it or lose channels.
        plain_error: the bound of Theorem 1 on it; None where it does not hold: R_ keeps only some positions.
        parameters_before: weights and biases of the dense layer.
        parameters_after: weights and biases that are left.
        weight_bits: None for float.
        input_bits: None for float.
        cycles: per image, by the text of the mapping's key; None for a fully connected layer not counted.
        planned_cycles: as executed; None like `cycles`.
        utilisation: of the arrays, 0 to 1; None like `cycles`.
        window: of the (first) stage as executed, of a plane in parts of that of most cycles.
        tiles: of the same stage, in rows and columns of arrays.
        output_error: relative error of the output on calibration data, where the weight was made for them.
        shape: the convolution.
        pruning: which weights a pattern-pruned layer keeps.
        entries: kernel positions that the layer keeps; None: all.
        becomes: what the layer became, whole, as plans say it (`LayerKind.to_json`). `kind`, `pruning`,
            `groups`, `rank` and `entries` repeat some of it.
    """

    name: str
    kind: str
    reason: str
    groups: int | None
    rank: int | None
    error: float | None
    plain_error: float | None
    parameters_before: int
    parameters_after: int
    weight_bits: int | None
    input_bits: int | None
    cycles: Counts | None
    planned_cycles: int | None
    utilisation: float | None
    window: tuple[int, int] | None
    tiles: tuple[int, int] | None
    output_error: float | None = None
    shape: ConvShape | None = None
    pruning: str | None = None
    entries: int | None = None
    becomes: dict[str, Any] | None = None

    @property
    def layer_kind(self) -> LayerKind | None:
        """What the layer became; None for kinds that are not registered.

        Results of version 0.1 do not say all of it: support, steering and blocks are missing then, a
        channel-pruned layer has the channels of the dense one (its plan says which it kept), and it is None
        for kinds of which they do not say enough.
        """
        if self.becomes is not None:
            if self.becomes["kind"] not in kind_names():
                return None
            return kind_from_json(self.becomes)
        # What a result knows of a kind; its other fields take their defaults.
        known = {"groups": self.groups, "rank": self.rank, "entries": self.entries}
        if self.shape is not None:
            known["in_channels"] = self.shape.in_channels
            known["out_channels"] = self.shape.out_channels
        for kind in kinds():
            # Pattern-pruned kinds share a name and differ in the variant.
            if (kind.name, kind.variant) == (self.kind, self.pruning):
                return _with_fields(kind, known)
        return None

    def to_json(self) -> dict[str, Any]:
        """The layer's entry in `result.json`."""
        content = shallow(self)
        if self.shape is not None:
            shape = asdict(self.shape)
            # As version 0.1 wrote it where there is nothing to say.
            for name in ("shares", "zeros"):
                if not shape[name]:
                    del shape[name]
            content["shape"] = shape
        # Results of version 0.1, written again, stay as they were.
        if self.becomes is None:
            del content["becomes"]
        return content

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> LayerResult:
        """The layer that an entry of `result.json` says.

        Raises:
            InputError: there is no such convolution.
        """
        # JSON has lists alone, and frozen records compare and hash as tuples.
        own = tuples_of(content, "window", "tiles")
        if own.get("shape") is not None:
            shape = tuples_of(own["shape"], "kernel", "input", "stride", "padding", "dilation")
            own["shape"] = ConvShape(**shape)
        if own.get("becomes") is not None:
            _check_becomes(own)
        return cls(**own)


def _check_becomes(layer: Mapping[str, Any]) -> None:
    """Refuse a layer that became what its kind does not allow, or another kind than its entry says.

    Raises:
        InputError: it did; the message names the layer.
    """
    name, becomes = layer["name"], layer["becomes"]
    if becomes["kind"] != layer["kind"]:
        raise InputError(f"layer {name}: kind (={layer['kind']}) must be that of becomes ({becomes['kind']})")
    # What a kind that is not registered may be, nobody here can say.
    if becomes["kind"] not in kind_names():
        return
    kind = kind_called(becomes["kind"], becomes.get("pruning"))
    # Types first: the kind's class checks only what a schema cannot say.
    if kind is not None:
        in_schema(becomes, _validator_for((kind,)), f"layer {name} became no {kind.name} layer")
    try:
        kind_from_json(becomes)
    except InputError as error:
        raise InputError(f"layer {name}: {error}") from None


@cache
def _validator_for(alone: tuple[type[LayerKind]]) -> Any:
    # In a tuple, since a class by itself is no key to the checker of types.
    return strict_validator(kind_schema(*alone))


def _with_fields(kind: type[LayerKind], known: Mapping[str, int | None]) -> LayerKind | None:
    """A layer of a kind with those of its fields that are known; None where it needs others."""
    own: dict[str, Any] = {}
    for field in fields(kind):
        value = known.get(field.name)
        if value is not None:
            own[field.name] = value
        # The kind cannot be made without it, and a guess would be shown as a fact.
        elif is_needed(field):
            return None
    try:
        return kind(**own)
    except InputError:  # numbers that no such layer can have
        return None
