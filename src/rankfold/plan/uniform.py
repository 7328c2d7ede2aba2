"""The plan of the paper: one (g, r) for all layers, the first convolution and the classifier left as they are."""

from __future__ import annotations

from collections.abc import Iterator

from rankfold.errors import InputError
from rankfold.lowrank import RankRule, check_rank
from rankfold.mapping import LOW_RANK_METHODS, ArraySpec
from rankfold.plan.plan import DENSE, LOW_RANK, LayerPlan, Plan, weights
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

    Raises:
        InputError: bits out of range, groups without a rank, or a (g, r) that a layer cannot have.
    """
    if groups is not None and rank is None:
        raise InputError(f"groups (={groups}) needs a rank too, such as 1/8")
    check_plan_bits(bits)
    # Low-rank pairs know no VW-SDK nor Tetris-SDK: `sdk` gives each stage its best window.
    pair_mapping = mapping if mapping in LOW_RANK_METHODS else "sdk"
    block_groups = 1 if groups is None else groups
    rule = None if rank is None else RankRule.parse(str(rank))
    layers = []
    for name, shape, why, width in candidates(network, bits, pointwise):
        layer = LayerPlan(name, DENSE, mapping=mapping, weight_bits=width, input_bits=width, reason=why or "no rank given")
        if rule is not None and not why:
            chosen = rule.rank(shape)
            check_rank(shape, block_groups, chosen)
            layer = LayerPlan(
                name, LOW_RANK, block_groups, chosen, pair_mapping, width, width, reason=_in_words(block_groups, chosen)
            )
        layers.append(layer)
    if rule is not None and all(layer.kind == DENSE for layer in layers):
        raise InputError(f"no layer of {network.name} can be low-rank: {layers[0].name} is the {layers[0].reason}, and so on")
    return Plan(network.name, network.input, array, tuple(layers))


def check_plan_bits(bits: int | None) -> None:
    """Refuse a bit width that no plan has.

    Raises:
        InputError: it is not from 1 to 8.
    """
    if bits is not None and not 1 <= bits <= 8:
        raise InputError(f"bits (={bits}) must lie between 1 and 8")


def candidates(network: Network, bits: int | None, pointwise: bool = False) -> Iterator[tuple[str, ConvShape, str, int | None]]:
    """(name, shape, why it stays as it is, bits) of each weight; the reason is empty for layers to compress.

    The first convolution and the classifier stay, and get `EDGE_BITS`.

    Args:
        network: the network.
        bits: of the other layers; None for float.
        pointwise: compress 1x1 convolutions too.
    """
    first = network.convolutions[0].weight
    # A network without a fully connected layer may classify with a 1x1 convolution; a larger last kernel is no classifier.
    tail = network.layers[-1]
    last = tail.weight if tail.kernel == (1, 1) else ""
    for name, shape in weights(network).items():
        width = None if bits is None else (EDGE_BITS if name in (first, last) else bits)
        yield name, shape, _why_dense(shape, name == first, name == last, pointwise), width


def _why_dense(shape: ConvShape, first: bool, last: bool, pointwise: bool) -> str:
    if first:
        return "first convolution"
    if last:
        return "classifier"
    if shape.kind == "linear":
        return "fully connected layer"
    if shape.in_channels == shape.groups:
        return "depthwise convolution: a matrix of one input channel"
    if shape.kernel == (1, 1) and not pointwise:
        return "1x1 convolution"
    return ""


def _in_words(groups: int, rank: int) -> str:
    return f"rank {rank}" if groups == 1 else f"{groups} groups of rank {rank}"
