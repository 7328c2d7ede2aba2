"""Low-rank pairs of the kernel."""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction
from numbers import Integral
from typing import ClassVar

from rankfold.arguments import SWITCH, WHOLE, Wanted, check_fields
from rankfold.errors import InputError
from rankfold.lowrank import RankRule, full_rank
from rankfold.plan.kinds import DenseLayer, LayerKind, LowRankLayer
from rankfold.plan.methods.method import Method
from rankfold.plan.methods.setting import ENTRIES, POSITIVE, RANK, Setting
from rankfold.plan.rules import LayerRule
from rankfold.plan.support import row_sparse_rank
from rankfold.workload import ConvShape, Network

GROUPS = Setting(
    "groups", "g", int, POSITIVE, help="low-rank groups of every layer (default 1)", example="4", sign="g"
)


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
        if self.groups < 1:
            raise InputError(f"groups (={self.groups}) must be 1 or more")
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
