"""The plan of the paper: one (g, r) for all layers, the first convolution and the classifier left as they are."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rankfold.errors import InputError
from rankfold.lowrank import RankRule, check_rank, full_rank
from rankfold.mapping import LOW_RANK_METHODS, ArraySpec
from rankfold.plan.plan import DENSE, LOW_RANK, LayerPlan, Plan, weights
from rankfold.plan.rules import LayerRule, Match, match_rules
from rankfold.plan.support import check_row_sparse, row_sparse_rank
from rankfold.workload import ConvShape, Network

EDGE_BITS = 8  # of the first convolution and the classifier, as is usual (Esser et al. 2020, section 2.3)


def uniform_plan(
    network: Network,
    array: ArraySpec,
    groups: int | None = None,
    rank: str | int | None = None,
    bits: int | None = None,
    mapping: str = "sdk",
    pointwise: bool = False,
    linear: bool = False,
    rules: Sequence[LayerRule] = (),
    fit: bool = False,
    entries: int | None = None,
) -> Plan:
    """Give every layer the same groups, rank and bit width.

    Args:
        network: the traced network.
        array: the array to plan for.
        groups: g; with `rank` None too, every layer stays dense. With a rank alone, 1.
        rank: r, as a number or a fraction of the output channels such as `1/8`.
        bits: of weights and inputs, 1 to 8; None keeps float. The first convolution and the classifier get 8.
        mapping: how dense layers are laid on the array; low-rank pairs follow with `im2col` and `best`, else with `sdk`.
        pointwise: low-rank for 1x1 convolutions too.
        linear: low-rank for fully connected layers too.
        rules: which layers shall be low-rank after all, or shall not; an exact name goes before patterns, the first pattern
            before others, and any rule before these defaults. An excluded layer is still quantised.
        fit: instead of refusing a (g, r) that a layer cannot have, give it the most groups up to g that divide its channels, and
            the next lower rank that is a whole number and not above full rank.
        entries: e, positions of each input channel that R_ may use, to be chosen on data; layers whose kernels have no more use
            all. None: all.

    Raises:
        InputError: bits out of range, groups, entries or rules without a rank, a (g, r) that a layer cannot have, entries that
            no kernel has more positions than, a rule that matches nothing, or one that names a layer which cannot be low-rank.
    """
    for name, value in (("groups", groups), ("entries", entries)):
        if value is not None and rank is None:
            raise InputError(f"{name} (={value}) needs a rank too, such as 1/8")
    if entries is not None and entries < 1:
        raise InputError(f"entries (={entries}) must be 1 or more")
    check_plan_bits(bits)
    if rules and rank is None:
        raise InputError(f"{rules[0].verb} rule {rules[0].pattern} chooses low-rank layers, so it needs a rank too, such as 1/8")
    # Low-rank pairs know no VW-SDK nor Tetris-SDK: `sdk` gives each stage its best window.
    pair_mapping = mapping if mapping in LOW_RANK_METHODS else "sdk"
    block_groups = 1 if groups is None else groups
    rule = None if rank is None else RankRule.parse(str(rank))
    layers = []
    for name, shape, why, width in candidates(network, bits, pointwise, linear, rules):
        layer = LayerPlan(name, DENSE, mapping=mapping, weight_bits=width, input_bits=width, reason=why or "no rank given")
        if rule is not None and not why:
            sparse = entries if entries is not None and entries < shape.kernel[0] * shape.kernel[1] else None
            some, chosen = _fitted(shape, block_groups, rule, sparse) if fit else (block_groups, rule.rank(shape))
            if sparse is None:
                check_rank(shape, some, chosen)
            else:
                check_row_sparse(shape, some, chosen, sparse)
            layer = LayerPlan(
                name, LOW_RANK, some, chosen, pair_mapping, width, width, reason=_in_words(shape, some, chosen, sparse),
                entries=sparse,
            )  # fmt: skip
        layers.append(layer)
    if rule is not None and all(layer.kind == DENSE for layer in layers):
        raise InputError(
            f"no layer of {network.name} can be low-rank: {layers[0].name} stays dense ({layers[0].reason}), and so on"
        )
    if entries is not None and all(layer.entries is None for layer in layers):
        raise InputError(
            f"entries (={entries}) leave out nothing in {network.name}: they must be fewer than the kernel of a low-rank layer "
            "has positions"
        )
    return Plan(network.name, network.input, array, tuple(layers))


def check_plan_bits(bits: int | None) -> None:
    """Refuse a bit width that no plan has.

    Raises:
        InputError: it is not from 1 to 8.
    """
    if bits is not None and not 1 <= bits <= 8:
        raise InputError(f"bits (={bits}) must lie between 1 and 8")


def candidates(
    network: Network, bits: int | None, pointwise: bool = False, linear: bool = False, rules: Sequence[LayerRule] = ()
) -> Iterator[tuple[str, ConvShape, str, int | None]]:
    """(name, shape, why it stays as it is, bits) of each weight; the reason is empty for layers to compress.

    The first convolution and the classifier stay, and get `EDGE_BITS`.

    Args:
        network: the network.
        bits: of the other layers; None for float.
        pointwise: compress 1x1 convolutions too.
        linear: compress fully connected layers too.
        rules: go before these defaults.
    """
    shapes = weights(network)
    matched = match_rules(rules, shapes)
    first = (network.convolutions or network.layers)[0].weight
    # A network without a fully connected layer may classify with a 1x1 convolution; a larger last kernel is no classifier.
    tail = network.layers[-1]
    last = tail.weight if tail.kernel == (1, 1) else ""
    for name, shape in shapes.items():
        width = None if bits is None or shape.fixed else (EDGE_BITS if name in (first, last) else bits)
        why = _decide(shape, matched.get(name), _why_dense(shape, name == first, name == last, pointwise, linear))
        yield name, shape, why, width


def _decide(shape: ConvShape, match: Match | None, why: str) -> str:
    """Why a layer stays as it is, empty where it shall be compressed: rules before the default `why`."""
    if match is None:
        return why
    if not match.rule.include:
        return f"excluded by {match.rule.pattern}"
    never = _why_never(shape)
    if never and match.exact:
        raise InputError(f"include rule {match.rule.pattern}: the layer cannot be low-rank: {never}; take the rule away")
    return never


def _why_never(shape: ConvShape) -> str:
    if shape.fixed:
        return shape.fixed
    return "depthwise convolution: a matrix of one input channel" if shape.in_channels == shape.groups else ""


def _why_dense(shape: ConvShape, first: bool, last: bool, pointwise: bool, linear: bool) -> str:
    if first:
        return "first convolution" if shape.kind == "conv" else "first layer"
    if last:
        return "classifier"
    if shape.kind == "linear" and not linear:
        return "fully connected layer"
    never = _why_never(shape)
    if never:
        return never
    if shape.kind == "conv" and shape.kernel == (1, 1) and not pointwise:
        return "1x1 convolution"
    return ""


def _fitted(shape: ConvShape, groups: int, rule: RankRule, entries: int | None) -> tuple[int, int]:
    """The (g, r) nearest below the wanted one that the layer can have."""
    channels = shape.in_channels // shape.groups
    most = max(divisor for divisor in range(1, min(groups, channels) + 1) if channels % divisor == 0)
    wanted = int(rule.value * (shape.m // shape.groups)) if rule.relative else int(rule.value)
    limit = full_rank(shape, most) if entries is None else row_sparse_rank(shape, most, entries)
    return most, max(1, min(wanted, limit))


def _in_words(shape: ConvShape, groups: int, rank: int, entries: int | None) -> str:
    pair = f"rank {rank}" if groups == 1 else f"{groups} groups of rank {rank}"
    return pair if entries is None else f"{pair}, {entries} of {shape.kernel[0] * shape.kernel[1]} positions"
