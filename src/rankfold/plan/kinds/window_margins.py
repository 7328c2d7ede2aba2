"""Window layers whose margins have matrices of their own: parts of a plane, each with windows of its own."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, ClassVar

from rankfold.arguments import plain_numbers_
from rankfold.errors import InputError
from rankfold.mapping import ArraySpec, map_layer
from rankfold.mapping.window_cover import PlanePart, cover_cycles, covers, part_shape
from rankfold.plan.kinds.kind import LayerKind, as_field, as_json, is_needed
from rankfold.plan.kinds.window import WindowLayer
from rankfold.workload import ConvShape
from rankfold.workload.shape import Pair

MOST_PARTS = 16  # far more than those of any cover (`mapping.window_cover.PARTS`)
BETWEEN = "; "  # the supports of parts that are written in one text


@dataclass(frozen=True)
class WindowPart:
    """A rectangle of the output plane, and the window layer that computes it.

    Attributes:
        corner: (top, left) its first output pixel.
        size: (height, width) its output pixels.
        window: (a, b) output pixels of its windows.
        rows: inputs of a window that are driven, of each group of the convolution; None: all.
        support: these inputs, positions (ph, pw) of each input channel (see `plan.support`); None: to be
            chosen on data, unless all are driven.
    """

    corner: Pair
    size: Pair
    window: Pair
    rows: int | None = None
    support: str | None = None

    def __post_init__(self) -> None:
        plain_numbers_(self)
        for name, least in (("corner", 0), ("size", 1)):
            sides = getattr(self, name)
            whole = isinstance(sides, tuple) and all(type(side) is int and side >= least for side in sides)
            if not whole or len(sides) != 2:
                raise InputError(
                    f"{name} (={sides}) of a part must be a pair of whole numbers from {least} on, such as "
                    "(6, 1)"
                )
        self.layer  # noqa: B018 (refuses what no window layer has)

    @property
    def layer(self) -> WindowLayer:
        """What the rectangle becomes, as if it were a plane of its own."""
        return WindowLayer(self.window, self.rows, self.support)

    @property
    def place(self) -> PlanePart:
        """The rectangle and its windows."""
        return PlanePart(self.corner, self.size, self.window)


@dataclass(frozen=True)
class WindowMarginsLayer(LayerKind):
    """A plane in parts, each computed by windows of its own, from chosen inputs by weights that are all free.

    Where a window does not divide a plane, windows of a `WindowLayer` reach beyond it. Here they end with the
    rectangle that they fill, and the margins have windows of other shapes (see `mapping.window_cover`).

    Attributes:
        parts: rectangles that fill the plane, each pixel once, and that straight cuts make.
    """

    name: ClassVar[str] = "window-margins"
    mappings: ClassVar[tuple[str, ...]] = WindowLayer.mappings
    made_for_data: ClassVar[bool] = True
    one_kernel: ClassVar[bool] = False
    schema: ClassVar[Mapping[str, Any]] = {
        "parts": {
            "type": "array",
            "minItems": 2,
            "maxItems": MOST_PARTS,
            "items": {
                "type": "object",
                "required": ["corner", "size", "window"],
                "additionalProperties": False,
                "properties": {
                    "corner": {
                        "type": "array",
                        "items": {"type": "integer", "minimum": 0},
                        "minItems": 2,
                        "maxItems": 2,
                    },
                    "size": WindowLayer.schema["window"],
                    **WindowLayer.schema,
                },
            },
        }
    }

    parts: tuple[WindowPart, ...]

    def __post_init__(self) -> None:
        if not isinstance(self.parts, tuple) or not all(isinstance(part, WindowPart) for part in self.parts):
            raise InputError(f"parts (={self.parts!r:.60}) must be a tuple of WindowPart")
        if len(self.parts) < 2:
            raise InputError("a plane in parts has two or more; a single one is a window layer")
        if len(self.parts) > MOST_PARTS:
            raise InputError(f"a plane in parts has at most {MOST_PARTS}, not {len(self.parts):,}")

    @classmethod
    def of(cls, places: Iterable[PlanePart], shape: ConvShape, rows: int | None) -> WindowMarginsLayer:
        """The parts of a cover, of which each drives so many inputs of each group, or all that it has.

        Args:
            places: the rectangles and their windows.
            shape: the layer.
            rows: None: all.
        """
        parts = []
        for place in places:
            layer = WindowLayer(place.window).with_rows(part_shape(shape, place), rows)
            parts.append(WindowPart(place.corner, place.size, place.window, layer.rows))
        return cls(tuple(parts))

    @property
    def places(self) -> tuple[PlanePart, ...]:
        """The rectangles and their windows."""
        return tuple(part.place for part in self.parts)

    @property
    def plane(self) -> Pair:
        """(OH, OW) that the parts fill."""
        ends = [part.end for part in self.places]
        return max(bottom for bottom, _ in ends), max(right for _, right in ends)

    @property
    def shares_support(self) -> bool:
        """Whether a part drives only some inputs of its windows."""
        return any(part.rows is not None for part in self.parts)

    @property
    def known_support(self) -> str | None:
        """Those of the parts that drive only some, one after another."""
        supports = []
        for part in self.parts:
            if part.rows is not None:
                if part.support is None:
                    return None
                supports.append(part.support)
        return BETWEEN.join(supports) or None

    def with_support(self, support: str) -> LayerKind:
        """The layer with these, as `known_support` has them."""
        if not self.shares_support:
            return super().with_support(support)
        texts = support.split(BETWEEN)
        wanted = [index for index, part in enumerate(self.parts) if part.rows is not None]
        if len(texts) != len(wanted):
            raise InputError(
                f"support names the inputs of {_parts(len(texts))}, and {_parts(len(wanted))} drive only "
                f"some; give one for each, separated by {BETWEEN!r}"
            )
        parts = list(self.parts)
        for index, text in zip(wanted, texts, strict=True):
            parts[index] = replace(parts[index], support=text)
        return WindowMarginsLayer(tuple(parts))

    def short(self) -> str:
        """`w2x2 r64 + w4x1 r64`."""
        return " + ".join(part.layer.short() for part in self.parts)

    def check(self, shape: ConvShape) -> None:
        """Refuse a layer that cannot be replaced, whose plane is another, or a part that it cannot have."""
        WindowLayer((1, 1)).check(shape)  # refuses what no window layer can be
        self.check_plane(shape)
        for part in self.parts:
            part.layer.check(part_shape(shape, part.place))

    def check_plane(self, shape: ConvShape) -> None:
        """Refuse a layer of another plane.

        Raises:
            InputError: the parts do not fill it.
        """
        if not self.fits(shape):
            height, width = shape.output
            raise InputError(
                f"plan, layer {shape.name}: its parts must be rectangles, made by straight cuts, that fill "
                f"its plane of {height}x{width} outputs, each of them once; window layers fit any plane"
            )

    def fits(self, shape: ConvShape) -> bool:
        """Whether the parts fill a layer's plane."""
        return covers(self.places, (0, 0), shape.output)

    def worse_than_dense(self, runs: Sequence[ConvShape], array: ArraySpec, mapping: str) -> str:
        """Why it saves nothing: it needs more cycles than the dense layer."""
        rows = [part.rows for part in self.parts]
        dense = sum(map_layer(run, array, mapping).cycles for run in runs)
        own = sum(cover_cycles(run, self.places, array, rows) for run in runs)
        if own > dense:
            return f"{self.short()} saves nothing ({own:,} cycles instead of {dense:,})"
        return ""

    def holds(self, other: LayerKind) -> bool:
        """Whether `other` has the same parts, each with windows of the same size that drive no other inputs.

        With all inputs it holds every layer of one kernel, whose shifted copies it begins with.
        """
        if isinstance(other, WindowMarginsLayer):
            if self.places != other.places:
                return False
            pairs = zip(self.parts, other.parts, strict=True)
            return all(own.layer.holds(part.layer) for own, part in pairs)
        return not self.shares_support and other.one_kernel

    def to_json(self) -> dict[str, Any]:
        """The parts, each with the fields that it has."""
        parts = []
        for part in self.parts:
            values = {field.name: as_json(getattr(part, field.name)) for field in fields(part)}
            parts.append({name: value for name, value in values.items() if value is not None})
        return {"kind": self.name, "parts": parts}

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> WindowMarginsLayer:
        """The layer that a plan says.

        Raises:
            InputError: a field is missing, or its value is wrong.
        """
        if "parts" not in content:
            raise InputError(f"a {cls.name} layer needs parts")
        parts = []
        for part in content["parts"]:
            for field in fields(WindowPart):
                if is_needed(field) and field.name not in part:
                    raise InputError(f"a part of a {cls.name} layer needs {field.name}")
            parts.append(WindowPart(**{name: as_field(value) for name, value in part.items()}))
        return cls(tuple(parts))


def _parts(count: int) -> str:
    return "1 part" if count == 1 else f"{count} parts"
