"""Windows of the output plane: one matrix for each, or a low-rank pair."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from numbers import Integral
from typing import ClassVar, Self

from rankfold.arguments import WHOLE, Wanted, check_fields
from rankfold.errors import InputError
from rankfold.lowrank import RankRule
from rankfold.mapping import ArraySpec
from rankfold.mapping.window_cover import cheapest_cover, cover_cycles
from rankfold.mapping.window_low_rank import cheapest_window, window_rank
from rankfold.mapping.window_matrix import filling_window, window_cycles, window_shape
from rankfold.plan.kinds import DenseLayer, LayerKind, WindowLayer, WindowLowRankLayer, WindowMarginsLayer
from rankfold.plan.methods.method import Method
from rankfold.plan.methods.setting import POSITIVE, RANK, Setting
from rankfold.workload import ConvShape, Network
from rankfold.workload.shape import Pair, parse_pair

AUTO = "auto"  # in each layer the window of the fewest cycles


def read_window(text: str) -> Pair | None:
    """(a, b) of `2x2`; None of `auto`.

    Raises:
        InputError: it is neither.
    """
    if text == AUTO:
        return None
    try:
        return parse_pair(text, "window")
    except InputError:
        raise InputError(f"window (={text}) must be {AUTO} or a size such as 2 or 2x3") from None


ROW_TILES = Setting(
    "row_tiles",
    "k",
    int,
    POSITIVE,
    help="row tiles that window layers drive, of as many inputs as an array has rows",
    example="2",
    sign="k",
)
WINDOW = Setting(
    "window",
    "w",
    read_window,
    {"type": "string", "pattern": f"^({AUTO}|[1-9][0-9]*(x[1-9][0-9]*)?)$"},
    help="output pixels that window layers compute at once, such as 2x2 (default auto: in each layer the "
    "window of the fewest cycles)",
    example="2x2",
    sign="AxB",
)


@dataclass(frozen=True, kw_only=True)
class _OfWindows(Method):
    """What the methods have in common that compute whole windows of a layer's output plane.

    Attributes:
        window: (a, b) output pixels, of layers whose plane is smaller at most as many; None: in each layer
            the window of the fewest cycles on the array.
        array: where the layers are to lie, R x C with columns counted in weights; `uniform_plan` fills it in.
    """

    window: Pair | None = None
    array: ArraySpec | None = None

    def _check(self, row_tiles: int | None) -> None:
        """Refuse row tiles or a window that no layer can have."""
        if row_tiles is not None and row_tiles < 1:
            raise InputError(f"row_tiles (={row_tiles}) must be 1 or more")
        if self.window is not None:
            WindowLayer(self.window)  # refuses what is no window

    @property
    def forced(self) -> bool:
        """Where the window is given: it is wanted whatever it costs."""
        return self.window is not None

    def on_array(self, array: ArraySpec) -> Self:
        """The method with its array."""
        return replace(self, array=array)

    def layer(self, shape: ConvShape) -> tuple[LayerKind, str]:
        """`layer_of_runs`, of a single one."""
        return self.layer_of_runs([shape])

    def layer_of_runs(self, runs: Sequence[ConvShape]) -> tuple[LayerKind, str]:
        """The window that fits every plane and with which all runs together need the fewest cycles; dense
        where there is no plane.
        """
        if self.array is None:
            raise InputError("windows are chosen for an array; make the plan with uniform_plan")
        if runs[0].is_linear:
            return DenseLayer(), "a window needs an output plane"
        if self.window is None:
            window = self._cheapest(runs, self.array)
        else:
            window = _fitting(self.window, runs)
        kind, words = self._made(runs[0], window, self.array)
        kind.check(runs[0])
        margins = None
        if self.window is None:
            margins = self._with_margins(runs, window, self.array)
        if margins is not None:
            return margins
        return kind, f"windows of {_words(window)}, {words}"

    def _with_margins(
        self, runs: Sequence[ConvShape], window: Pair, array: ArraySpec
    ) -> tuple[LayerKind, str] | None:
        """What becomes of a layer, and why, where margins with matrices of their own save cycles.

        Args:
            runs: the layer.
            window: of the fewest cycles where it overhangs the plane.
            array: R x C.
        """
        return None

    def check_changes(self, network: Network, kinds: dict[str, LayerKind], example: str) -> None:
        """Refuse a window that is larger than every plane, and a plan in which no layer has windows."""
        planes = [shape.output for shape in network.layers if not shape.is_linear]
        # Smaller planes have as much of it as fits them, but one should have what was asked for.
        if self.window is not None and not any(_is_within(self.window, plane) for plane in planes):
            largest = max(planes, default=(1, 1))
            raise InputError(
                f"window (={_words(self.window)}) fits no output plane of {network.name}, of which the "
                f"largest is {_words(largest)}; give a smaller one"
            )
        if not any(isinstance(kind, self.kinds) for kind in kinds.values()):
            raise InputError(f"no layer of {network.name} gets windows: {example}, and so on")

    @abstractmethod
    def _cheapest(self, runs: Sequence[ConvShape], array: ArraySpec) -> Pair:
        """The window of the fewest cycles."""

    @abstractmethod
    def _made(self, shape: ConvShape, window: Pair, array: ArraySpec) -> tuple[LayerKind, str]:
        """What becomes of a layer, and what is said of it beside its window."""


def _is_within(window: Pair, plane: Pair) -> bool:
    return window[0] <= plane[0] and window[1] <= plane[1]


def _words(sides: Pair) -> str:
    return f"{sides[0]}x{sides[1]}"


def _fitting(window: Pair, runs: Sequence[ConvShape]) -> Pair:
    """The window, on the smallest planes at most as large as these."""
    height = min(window[0], *(run.output[0] for run in runs))
    width = min(window[1], *(run.output[1] for run in runs))
    return height, width


def _driven(
    shape: ConvShape, window: Pair, array: ArraySpec, row_tiles: int | None
) -> tuple[int | None, str]:
    """Inputs of a window that so many row tiles drive, None for all, and how many that is in words."""
    inputs = window_shape(shape, window).n
    if row_tiles is None or row_tiles * array.rows >= inputs:
        return None, f"all {inputs} inputs"
    rows = row_tiles * array.rows
    return rows, f"{rows} of {inputs} inputs"


@dataclass(frozen=True, kw_only=True)
class Windows(_OfWindows):
    """Every layer computes whole windows of its output plane, from the inputs that are worth most.

    Attributes:
        row_tiles: k, tiles of R inputs that are driven for a window; layers whose windows have no more inputs
            use all.
        window: (a, b) output pixels, of layers whose plane is smaller at most as many; None: in each layer
            the window of the fewest cycles on the array (see `mapping.window_matrix.filling_window`), or
            windows of several shapes, each in a part of the plane, where these need fewer (see
            `mapping.window_cover`).
        array: where the layers are to lie, R x C with columns counted in weights; `uniform_plan` fills it in.
    """

    name: ClassVar[str] = "window"
    title: ClassVar[str] = "window layers"
    help: ClassVar[str] = "windows of free weights, with --row-tiles"
    settings: ClassVar[tuple[Setting, ...]] = (ROW_TILES, WINDOW)
    kinds: ClassVar[tuple[type[LayerKind], ...]] = (WindowLayer, WindowMarginsLayer)

    row_tiles: int

    def __post_init__(self) -> None:
        check_fields(self, row_tiles=WHOLE)
        self._check(self.row_tiles)

    def _cheapest(self, runs: Sequence[ConvShape], array: ArraySpec) -> Pair:
        """As `filling_window` finds it."""
        return filling_window(runs, array, self.row_tiles)

    def _made(self, shape: ConvShape, window: Pair, array: ArraySpec) -> tuple[LayerKind, str]:
        """The window and its rows."""
        rows, words = _driven(shape, window, array, self.row_tiles)
        return WindowLayer(window, rows), words

    def _with_margins(
        self, runs: Sequence[ConvShape], window: Pair, array: ArraySpec
    ) -> tuple[LayerKind, str] | None:
        """The cover of the plane that `cheapest_cover` finds, where the layer runs on one plane alone."""
        if len({run.output for run in runs}) > 1:
            return None
        places = cheapest_cover(runs[0], array, self.row_tiles)
        if len(places) == 1:
            return None
        kind = WindowMarginsLayer.of(places, runs[0], self.row_tiles * array.rows)
        driven = [part.rows for part in kind.parts]
        saved = window_cycles(runs[0], window, array, self.row_tiles * array.rows)
        saved -= cover_cycles(runs[0], places, array, driven)
        parts = " and ".join(_words(place.window) for place in places)
        return kind, f"windows of {parts} in parts of the plane, {saved:,} cycles fewer than {_words(window)}"


@dataclass(frozen=True, kw_only=True)
class WindowLowRank(_OfWindows):
    """Every layer computes whole windows of its output plane from a few values of each, by two matrices.

    Attributes:
        rank: r for each output pixel of a window, a number or a fraction of a layer's output channels such as
            `1/8`: the matrix of a window of N pixels has rank N r, rounded down.
        row_tiles: k, tiles of R inputs that are driven for a window; layers whose windows have no more inputs
            use all. None: all use all.
        window: (a, b) output pixels, of layers whose plane is smaller at most as many; None: in each layer
            the window of the fewest cycles on the array with N r <= R (see
            `mapping.window_low_rank.cheapest_window`).
        array: where the layers are to lie, R x C with columns counted in weights; `uniform_plan` fills it in.
    """

    name: ClassVar[str] = "window-low-rank"
    title: ClassVar[str] = "window low-rank"
    help: ClassVar[str] = "low-rank pairs of windows, of free weights, with --rank and perhaps --row-tiles"
    settings: ClassVar[tuple[Setting, ...]] = (RANK, ROW_TILES, WINDOW)
    kinds: ClassVar[tuple[type[LayerKind], ...]] = (WindowLowRankLayer,)

    rank: int | str
    row_tiles: int | None = None

    def __post_init__(self) -> None:
        rank = Wanted("a whole number or a fraction such as '1/8'", Integral, str)
        check_fields(self, rank=rank, row_tiles=WHOLE.or_none)
        self._rule  # noqa: B018 (refuses a rank that cannot be read)
        self._check(self.row_tiles)

    @property
    def _rule(self) -> RankRule:
        return RankRule.parse(str(self.rank))

    def _share(self, shape: ConvShape) -> Fraction:
        """r for each output pixel, whole or not."""
        if self._rule.relative:
            return self._rule.value * (shape.m // shape.groups)
        return self._rule.value

    def _cheapest(self, runs: Sequence[ConvShape], array: ArraySpec) -> Pair:
        """As `cheapest_window` finds it."""
        return cheapest_window(runs, array, self._share(runs[0]), self.row_tiles)

    def _made(self, shape: ConvShape, window: Pair, array: ArraySpec) -> tuple[LayerKind, str]:
        """The window, its rank and its rows."""
        rank = window_rank(window, self._share(shape))
        rows, words = _driven(shape, window, array, self.row_tiles)
        return WindowLowRankLayer(window, rank, rows), f"rank {rank}, {words}"
