"""The methods of compression: one setting for all layers of a network, and what it makes of each.

A method is what users choose (`--method` on the command line, `method` in grids of runs); a kind is what one
layer becomes by it. `register_method` makes one known to the command line, grids and their tables.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import KW_ONLY, dataclass, fields, replace
from fractions import Fraction
from numbers import Integral
from typing import Any, ClassVar

from rankfold.arguments import NUMBER, SWITCH, TEXT, WHOLE, Wanted, check_fields
from rankfold.errors import InputError
from rankfold.lowrank import RankRule, full_rank
from rankfold.mapping import ArraySpec
from rankfold.mapping.window_low_rank import cheapest_window, window_rank
from rankfold.mapping.window_matrix import filling_window, window_shape
from rankfold.plan.kinds import (
    PLAIN,
    SUPPORT,
    ChannelLayer,
    DenseLayer,
    LayerKind,
    LowRankLayer,
    PairsLayer,
    PatDNNLayer,
    SupportLayer,
    WindowLayer,
    WindowLowRankLayer,
)
from rankfold.plan.kinds.kind import is_needed
from rankfold.plan.rules import LayerRule
from rankfold.plan.support import check_entries, row_sparse_rank
from rankfold.pruning import PAIRS, PATDNN
from rankfold.workload import ConvShape, Network
from rankfold.workload.shape import Pair, parse_pair


@dataclass(frozen=True)
class Setting:
    """A number or word that users choose of a method: one of its fields.

    Attributes:
        name: of the field, and of the option on the command line.
        short: what stands before its value in names of folders, and in tables.
        read: makes a value of an option's text, or raises ValueError or InputError.
        schema: JSON Schema of a value in grids.
        help: what it is, for the command line.
        example: of its text, for messages.
        sign: what stands for its value in help.
    """

    name: str
    short: str
    read: Callable[[str], Any]
    schema: Mapping[str, Any]
    _: KW_ONLY
    help: str
    example: str = "1"
    sign: str = "N"

    def in_grids(self, text: str) -> Any:
        """A value as grids have it: a text stays one, and means what it does as an option."""
        if self.schema.get("type") == "string":
            return text
        return self.read(text)


_POSITIVE = {"type": "integer", "minimum": 1}
GROUPS = Setting(
    "groups", "g", int, _POSITIVE, help="low-rank groups of every layer (default 1)", example="4", sign="g"
)
RANK = Setting(
    "rank",
    "r",
    str,
    {"type": ["string", "integer"]},
    help="rank of every group: a number, or a fraction of the output channels such as 1/8",
    example="1/8",
    sign="r",
)
ENTRIES = Setting(
    "entries",
    "e",
    int,
    _POSITIVE,
    help="positions kept of each kernel: by pattern pruning, by support, or with --rank by the first stage "
    "of pairs",
    example="4",
    sign="e",
)
BLOCK = Setting(
    "block",
    "block",
    int,
    _POSITIVE,
    help="output channels that share a pattern under pairs (default: all)",
    example="16",
)
RATIO = Setting(
    "ratio",
    "ratio",
    float,
    {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1},
    help="share of the channels that channel pruning removes",
    example="0.5",
    sign="S",
)


def read_window(text: str) -> Pair | None:
    """(a, b) of `2x2`; None of `auto`.

    Raises:
        InputError: it is neither.
    """
    if text == AUTO:
        return None
    return parse_pair(text, "window")


AUTO = "auto"
ROW_TILES = Setting(
    "row_tiles",
    "k",
    int,
    _POSITIVE,
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


@dataclass(frozen=True)
class Method:
    """One setting for all layers; the base of all methods.

    Attributes:
        name: what `--method` calls it.
        title: what tables call it, as papers spell it.
        help: what it does, in a few words, for the command line.
        settings: what users choose of it.
        flags: which of `pointwise`, `linear`, `fit`, `force_low_rank`, `rules` and `steering` on the command
            line it follows.
        kinds: what it makes of layers, beside dense ones.
        maker: `module:attribute` of a function (model, network, array, method, *, bits) that makes its plan,
            where that takes the network's weights; empty: `uniform_plan` makes it.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    help: ClassVar[str] = ""
    settings: ClassVar[tuple[Setting, ...]] = ()
    flags: ClassVar[tuple[str, ...]] = ()
    kinds: ClassVar[tuple[type[LayerKind], ...]] = ()
    maker: ClassVar[str] = ""

    @property
    def rules(self) -> tuple[LayerRule, ...]:
        """Which layers it shall change after all, or not."""
        return ()

    @property
    def takes_pointwise(self) -> bool:
        """Whether it changes 1x1 convolutions."""
        return False

    @property
    def takes_linear(self) -> bool:
        """Whether it changes fully connected layers."""
        return False

    def everywhere(self) -> Method:
        """The setting for all layers that can have it, also where it saves nothing, as papers give it."""
        return self

    @property
    def forced(self) -> bool:
        """Whether it changes layers that are worse off for it, too."""
        return False

    def on_array(self, array: ArraySpec) -> Method:
        """The method for layers on an array.

        Args:
            array: R x C, columns counted in weights.
        """
        # What most methods make of a layer does not depend on the array.
        return self

    def layer(self, shape: ConvShape) -> tuple[LayerKind, str]:
        """What becomes of a layer that may be changed, and why, in words.

        Raises:
            InputError: the setting does not fit the layer.
        """
        raise NotImplementedError

    def layer_of_runs(self, runs: Sequence[ConvShape]) -> tuple[LayerKind, str]:
        """What becomes of a layer that runs on several planes: what becomes of it on the first of them.

        Args:
            runs: at least one, with the same weight.

        Raises:
            InputError: the setting does not fit the layer.
        """
        return self.layer(runs[0])

    def check_changes(self, network: Network, kinds: dict[str, LayerKind], example: str) -> None:
        """Refuse a plan in which the method changes nothing.

        Args:
            network: the network.
            kinds: what becomes of each layer, by name.
            example: a layer that stays as it is, and why, in words.

        Raises:
            InputError: it changes nothing.
        """


@dataclass(frozen=True, kw_only=True)
class Quantise(Method):
    """Bits alone: every layer stays dense.

    Attributes:
        pointwise: whether 1x1 convolutions are among the layers that a method could change.
        linear: whether fully connected layers are.
    """

    name: ClassVar[str] = "quantise"
    title: ClassVar[str] = "dense"
    help: ClassVar[str] = "bits alone, the default without --rank"
    flags: ClassVar[tuple[str, ...]] = ("pointwise",)

    pointwise: bool = False
    linear: bool = False

    def __post_init__(self) -> None:
        check_fields(self, pointwise=SWITCH, linear=SWITCH)

    @property
    def takes_pointwise(self) -> bool:
        """`pointwise`."""
        return self.pointwise

    @property
    def takes_linear(self) -> bool:
        """`linear`."""
        return self.linear

    def layer(self, shape: ConvShape) -> tuple[LayerKind, str]:
        """Dense."""
        return DenseLayer(), "no rank given"


@dataclass(frozen=True, kw_only=True)
class LowRank(Method):
    """Group low-rank convolution (Jeon et al., DATE 2025): the same (g, r) for all layers.

    Attributes:
        rank: r of each group, a number or a fraction of a layer's output channels such as `1/8`.
        groups: g, blocks of input channels with factors of their own.
        entries: e, kernel positions of each input channel that R_ may use, chosen on data; layers whose
            kernels have no more use all. None: all.
        pointwise: whether 1x1 convolutions become low-rank too.
        linear: whether fully connected layers do.
        include_exclude: which layers shall be low-rank after all, or shall not; an exact name goes before
            patterns, the first pattern before others, and any rule before these defaults. An excluded layer
            is still quantised.
        fit: instead of refusing a (g, r) that a layer cannot have, give it the most groups up to g that
            divide its channels, and the next lower rank that is a whole number, from 1 to full rank; a rank
            below 1 is not raised to 1 where that is full rank, and the layer stays dense.
        force: make pairs also of layers that are worse off for it: that then store no fewer numbers, or need
            more cycles under the plan's mapping. Without it these stay dense. Published settings, the same
            for all layers, have such layers now and then.
    """

    name: ClassVar[str] = "low-rank"
    title: ClassVar[str] = "low-rank"
    help: ClassVar[str] = "with --rank, and the default with it"
    settings: ClassVar[tuple[Setting, ...]] = (RANK, GROUPS, ENTRIES)
    flags: ClassVar[tuple[str, ...]] = ("pointwise", "linear", "fit", "force_low_rank", "rules")
    kinds: ClassVar[tuple[type[LayerKind], ...]] = (LowRankLayer,)

    rank: int | str
    groups: int = 1
    entries: int | None = None
    pointwise: bool = False
    linear: bool = False
    include_exclude: tuple[LayerRule, ...] = ()
    fit: bool = False
    force: bool = False

    def __post_init__(self) -> None:
        rank = Wanted("a whole number or a fraction such as '1/8'", Integral, str)
        check_fields(
            self,
            rank=rank,
            groups=WHOLE,
            entries=WHOLE.or_none,
            pointwise=SWITCH,
            linear=SWITCH,
            include_exclude=Wanted("a tuple of LayerRule", tuple),
            fit=SWITCH,
            force=SWITCH,
        )
        for rule in self.include_exclude:
            Wanted("a LayerRule(pattern, include)", LayerRule).check("LowRank include_exclude", rule)
        self._rule  # noqa: B018 (refuses a rank that cannot be read)
        if self.entries is not None and self.entries < 1:
            raise InputError(f"entries (={self.entries}) must be 1 or more")

    @property
    def rules(self) -> tuple[LayerRule, ...]:
        """`include_exclude`."""
        return self.include_exclude

    @property
    def takes_pointwise(self) -> bool:
        """`pointwise`."""
        return self.pointwise

    @property
    def takes_linear(self) -> bool:
        """`linear`."""
        return self.linear

    @property
    def forced(self) -> bool:
        """`force`."""
        return self.force

    def everywhere(self) -> LowRank:
        """With `force`."""
        return replace(self, force=True)

    @property
    def _rule(self) -> RankRule:
        return RankRule.parse(str(self.rank))

    def layer(self, shape: ConvShape) -> tuple[LayerKind, str]:
        """The pair with this (g, r), or with the next lower one where it is to fit."""
        positions = shape.kernel[0] * shape.kernel[1]
        entries = self.entries
        # Such a pair keeps everything anyhow. As a plain one it has the bound of Theorem 1, and ONNX files
        # can hold it.
        if entries is not None and entries >= positions:
            entries = None
        groups, rank = self._chosen(shape, entries)
        if self.fit and self._wanted(shape) < rank == full_rank(shape, groups):
            return DenseLayer(), f"rank {self.rank} is below 1 in it, and 1 is its full rank"
        pair = LowRankLayer(groups, rank, entries)
        pair.check(shape)
        words = f"rank {rank}"
        if groups > 1:
            words = f"{groups} groups of rank {rank}"
        if entries is not None:
            words += f", {entries} of {positions} positions"
        return pair, words

    def _chosen(self, shape: ConvShape, entries: int | None) -> tuple[int, int]:
        """(g, r) for a layer."""
        if not self.fit:
            # The rule refuses a share that is no whole number, and the caller what does not fit.
            return self.groups, self._rule.rank(shape)
        # g must divide the input channels of each of the layer's own G groups; 1 always does.
        channels = shape.in_channels // shape.groups
        divisors = [count for count in range(1, min(self.groups, channels) + 1) if channels % count == 0]
        groups = max(divisors)
        # Rounded down, as a low-rank layer is to be no larger than asked for.
        wanted = int(self._wanted(shape))
        limit = full_rank(shape, groups)
        # Positions that R_ drops add nothing to its rank.
        if entries is not None:
            limit = row_sparse_rank(shape, groups, entries)
        # An eighth of four channels rounds down to 0, which is no layer at all.
        return groups, max(1, min(wanted, limit))

    def _wanted(self, shape: ConvShape) -> Fraction:
        """r as it is asked for, whole or not."""
        if self._rule.relative:
            return self._rule.value * (shape.m // shape.groups)
        return self._rule.value

    def check_changes(self, network: Network, kinds: dict[str, LayerKind], example: str) -> None:
        """Refuse a plan without a low-rank layer, and entries that leave out nothing."""
        pairs = [kind for kind in kinds.values() if isinstance(kind, LowRankLayer)]
        if not pairs:
            hint = ""
            if not self.force:
                hint = "; where it saves nothing, force=True does it all the same"
            raise InputError(f"no layer of {network.name} can be low-rank: {example}, and so on{hint}")
        # `layer` took e back from every pair whose kernel is too small for it.
        if self.entries is not None and not any(pair.shares_support for pair in pairs):
            raise InputError(
                f"entries (={self.entries}) leave out nothing in {network.name}: they must be fewer than "
                "the kernel of a low-rank layer has positions"
            )


@dataclass(frozen=True)
class _Pruning(Method):
    """What the methods that keep e positions of every kernel have in common.

    Attributes:
        entries: e; layers whose kernels have no more positions stay as they are.
        steering: how rows are counted, `plain` or `ideal` (see `PatternLayer`).
    """

    settings: ClassVar[tuple[Setting, ...]] = (ENTRIES,)
    flags: ClassVar[tuple[str, ...]] = ("steering",)

    entries: int
    steering: str = PLAIN

    def __post_init__(self) -> None:
        check_fields(self, entries=WHOLE, steering=TEXT)
        if self.entries < 1:
            raise InputError(f"entries (={self.entries}) must be 1 or more")
        self._kind()  # refuses what no layer can have

    def _kind(self) -> LayerKind:
        raise NotImplementedError

    def layer(self, shape: ConvShape) -> tuple[LayerKind, str]:
        """The pruned layer; dense where the kernel has no more positions."""
        positions = shape.kernel[0] * shape.kernel[1]
        if self.entries >= positions:
            return DenseLayer(), f"its kernel has only {positions} positions"
        check_entries(shape, self.entries)
        return self._kind(), f"{self.title}, {self.entries} of {positions} positions"

    def check_changes(self, network: Network, kinds: dict[str, LayerKind], example: str) -> None:
        """Refuse a plan in which no layer is pruned."""
        if not any(kind.changes_weight for kind in kinds.values()):
            raise InputError(
                f"entries (={self.entries}) prune no layer of {network.name}: they must be fewer than a "
                "kernel has positions"
            )


@dataclass(frozen=True)
class PatDNN(_Pruning):
    """Every kernel keeps e positions by a pattern of its own, out of one library (Niu et al., ASPLOS
    2020).
    """

    name: ClassVar[str] = PATDNN
    title: ClassVar[str] = "PatDNN"
    help: ClassVar[str] = "a pattern for each kernel, with --entries"
    kinds: ClassVar[tuple[type[LayerKind], ...]] = (PatDNNLayer,)

    def _kind(self) -> LayerKind:
        return PatDNNLayer(self.entries, self.steering)


@dataclass(frozen=True)
class Pairs(_Pruning):
    """All kernels of an input channel keep the same e positions (PAIRS, Rhe et al., 2023).

    Attributes:
        block: output channels that share a pattern; None: all of a group.
    """

    name: ClassVar[str] = PAIRS
    title: ClassVar[str] = "PAIRS"
    help: ClassVar[str] = "a pattern for each input channel, with --entries"
    settings: ClassVar[tuple[Setting, ...]] = (ENTRIES, BLOCK)
    kinds: ClassVar[tuple[type[LayerKind], ...]] = (PairsLayer,)

    block: int | None = None

    def _kind(self) -> LayerKind:
        return PairsLayer(self.entries, self.steering, self.block)


@dataclass(frozen=True)
class SharedSupport(_Pruning):
    """All kernels of an input channel keep the same e positions, chosen for the layer's output on data."""

    name: ClassVar[str] = SUPPORT
    title: ClassVar[str] = "shared support"
    help: ClassVar[str] = "kernel positions that all outputs share, with --entries"
    kinds: ClassVar[tuple[type[LayerKind], ...]] = (SupportLayer,)

    def _kind(self) -> LayerKind:
        return SupportLayer(self.entries, self.steering)


@dataclass(frozen=True, kw_only=True)
class Windows(Method):
    """Every layer computes whole windows of its output plane, from the inputs that are worth most.

    Attributes:
        row_tiles: k, tiles of R inputs that are driven for a window; layers whose windows have no more inputs
            use all.
        window: (a, b) output pixels, of layers whose plane is smaller at most as many; None: in each layer
            the window of the fewest cycles on the array (see `mapping.window_matrix.filling_window`).
        array: where the layers are to lie, R x C with columns counted in weights; `uniform_plan` fills it in.
    """

    name: ClassVar[str] = "window"
    title: ClassVar[str] = "window layers"
    help: ClassVar[str] = "windows of free weights, with --row-tiles"
    settings: ClassVar[tuple[Setting, ...]] = (ROW_TILES, WINDOW)
    kinds: ClassVar[tuple[type[LayerKind], ...]] = (WindowLayer,)

    row_tiles: int
    window: Pair | None = None
    array: ArraySpec | None = None

    def __post_init__(self) -> None:
        check_fields(self, row_tiles=WHOLE)
        if self.row_tiles < 1:
            raise InputError(f"row_tiles (={self.row_tiles}) must be 1 or more")
        if self.window is not None:
            WindowLayer(self.window)  # refuses what is no window

    @property
    def forced(self) -> bool:
        """Where the window is given: it is wanted whatever it costs."""
        return self.window is not None

    def on_array(self, array: ArraySpec) -> Windows:
        """The method with its array."""
        return replace(self, array=array)

    def layer(self, shape: ConvShape) -> tuple[LayerKind, str]:
        """The window and its rows; dense where there is no plane."""
        return self.layer_of_runs([shape])

    def layer_of_runs(self, runs: Sequence[ConvShape]) -> tuple[LayerKind, str]:
        """The window that fits every plane and with which all runs together need the fewest cycles."""
        shape = runs[0]
        if self.array is None:
            raise InputError("windows are chosen for an array; make the plan with uniform_plan")
        if shape.is_linear:
            return DenseLayer(), "a window needs an output plane"
        if self.window is None:
            window = filling_window(runs, self.array, self.row_tiles)
        else:
            window = _fitting(self.window, runs)
        inputs = window_shape(shape, window).n
        rows = self.row_tiles * self.array.rows
        kind = WindowLayer(window, rows)
        words = f"windows of {window[0]}x{window[1]}, {rows} of {inputs} inputs"
        if rows >= inputs:
            kind = WindowLayer(window)
            words = f"windows of {window[0]}x{window[1]}, all {inputs} inputs"
        kind.check(shape)
        return kind, words


@dataclass(frozen=True, kw_only=True)
class WindowLowRank(Method):
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
    window: Pair | None = None
    array: ArraySpec | None = None

    def __post_init__(self) -> None:
        rank = Wanted("a whole number or a fraction such as '1/8'", Integral, str)
        check_fields(self, rank=rank, row_tiles=WHOLE.or_none)
        self._rule  # noqa: B018 (refuses a rank that cannot be read)
        if self.row_tiles is not None and self.row_tiles < 1:
            raise InputError(f"row_tiles (={self.row_tiles}) must be 1 or more")
        if self.window is not None:
            WindowLayer(self.window)  # refuses what is no window

    @property
    def _rule(self) -> RankRule:
        return RankRule.parse(str(self.rank))

    @property
    def forced(self) -> bool:
        """Where the window is given: it is wanted whatever it costs."""
        return self.window is not None

    def on_array(self, array: ArraySpec) -> WindowLowRank:
        """The method with its array."""
        return replace(self, array=array)

    def layer(self, shape: ConvShape) -> tuple[LayerKind, str]:
        """The window, its rank and its rows; dense where there is no plane."""
        return self.layer_of_runs([shape])

    def layer_of_runs(self, runs: Sequence[ConvShape]) -> tuple[LayerKind, str]:
        """The window that fits every plane and with which all runs together need the fewest cycles."""
        shape = runs[0]
        if self.array is None:
            raise InputError("windows are chosen for an array; make the plan with uniform_plan")
        if shape.is_linear:
            return DenseLayer(), "a window needs an output plane"
        share = self._rule.value
        if self._rule.relative:
            share *= shape.m // shape.groups
        if self.window is None:
            window = cheapest_window(runs, self.array, share, self.row_tiles)
        else:
            window = _fitting(self.window, runs)
        inputs = window_shape(shape, window).n
        rank = window_rank(window, share)
        kind = WindowLowRankLayer(window, rank)
        words = f"all {inputs} inputs"
        if self.row_tiles is not None and self.row_tiles * self.array.rows < inputs:
            rows = self.row_tiles * self.array.rows
            kind = WindowLowRankLayer(window, rank, rows)
            words = f"{rows} of {inputs} inputs"
        kind.check(shape)
        return kind, f"windows of {window[0]}x{window[1]}, rank {rank}, {words}"


def _fitting(window: Pair, runs: Sequence[ConvShape]) -> Pair:
    """The window, on the smallest planes at most as large as these."""
    height = min(window[0], *(run.output[0] for run in runs))
    width = min(window[1], *(run.output[1] for run in runs))
    return height, width


@dataclass(frozen=True)
class ChannelPruning(Method):
    """Whole channels go.

    Which ones depends on the weights: its plan is made by `surgery.channels.channel_plan`.

    Attributes:
        ratio: share of the channels to remove, above 0 and below 1.
    """

    name: ClassVar[str] = "channel"
    title: ClassVar[str] = "channel pruning"
    help: ClassVar[str] = "fewer channels, with --ratio"
    settings: ClassVar[tuple[Setting, ...]] = (RATIO,)
    kinds: ClassVar[tuple[type[LayerKind], ...]] = (ChannelLayer,)
    maker: ClassVar[str] = "rankfold.surgery.channels:channel_plan"

    ratio: float

    def __post_init__(self) -> None:
        check_fields(self, ratio=NUMBER)
        if not 0 < self.ratio < 1:
            raise InputError(
                f"ratio (={self.ratio}) must be the share of channels to remove, above 0 and below 1"
            )

    def layer(self, shape: ConvShape) -> tuple[LayerKind, str]:
        """Refused: the shape alone does not say it."""
        raise InputError(
            "channel pruning looks at the network's weights; make its plan with "
            "rankfold.surgery.channel_plan(model, ...)"
        )


# By name, in the order of registration.
METHODS: dict[str, type[Method]] = {}


def register_method(method: type[Method]) -> None:
    """Make a method known to the command line, to grids of runs, and to their tables.

    Raises:
        InputError: the name is taken, a setting is no field of the method, or another method has a setting of
            that name which is another thing.
    """
    if method.name in METHODS:
        raise InputError(f"a method named {method.name} is registered already; choose another name")
    own = {field.name for field in fields(method)}
    known = settings()
    for setting in method.settings:
        if setting.name not in own:
            raise InputError(f"method {method.name}: setting {setting.name} must be a field of the class")
        # All methods share the options of the command line, and the columns of tables.
        if known.get(setting.name, setting) != setting:
            raise InputError(
                f"method {method.name}: another method has a setting {setting.name}, which is another thing; "
                "choose another name"
            )
    METHODS[method.name] = method


@contextmanager
def registered_method(method: type[Method]) -> Iterator[None]:
    """Inside, the method is registered."""
    register_method(method)
    try:
        yield
    finally:
        del METHODS[method.name]


def settings() -> dict[str, Setting]:
    """The settings of all registered methods by name, each once."""
    found: dict[str, Setting] = {}
    for method in METHODS.values():
        for setting in method.settings:
            found.setdefault(setting.name, setting)
    return found


def needed_settings(method: type[Method]) -> tuple[Setting, ...]:
    """The settings that a method cannot do without."""
    needed = {field.name for field in fields(method) if is_needed(field)}
    return tuple(setting for setting in method.settings if setting.name in needed)


for _method in (LowRank, PatDNN, Pairs, SharedSupport, Quantise, ChannelPruning, Windows, WindowLowRank):
    register_method(_method)
