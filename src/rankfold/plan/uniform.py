"""The plan of the paper: one setting for all layers, the first convolution and the classifier left as they
are.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from rankfold.arguments import WHOLE, Wanted, takes
from rankfold.errors import InputError
from rankfold.machine import Hardware
from rankfold.machine.hardware import HARDWARE
from rankfold.mapping import ArraySpec
from rankfold.plan.kinds import DenseLayer, LayerKind, SupportLayer
from rankfold.plan.layer import LayerPlan
from rankfold.plan.methods import Method, Quantise
from rankfold.plan.plan import Plan, weights
from rankfold.plan.rules import LayerRule, Match, match_rules
from rankfold.plan.support import text_to_support
from rankfold.workload import ConvShape, Network
from rankfold.workload.network import NETWORK

Bits = int | tuple[int, int] | None  # of weights and inputs: one for both, or one each; None: float
# Why layers stay as they are for what they are, not for where they stand.
DEPTHWISE = "depthwise convolution: a matrix of one input channel"
POINTWISE = "1x1 convolution"
EDGE_BITS = 8  # of the first convolution and the classifier, as is usual (Esser et al. 2020, section 2.3)


@takes(
    network=NETWORK,
    array=HARDWARE,
    method=Wanted("a method, such as LowRank(groups=4, rank='1/8')", Method, optional=True),
)
def uniform_plan(
    network: Network,
    array: ArraySpec | Hardware,
    method: Method | None = None,
    *,
    bits: Bits = None,
    mapping: str = "sdk",
) -> Plan:
    """Give every layer the same setting and bit width.

    Args:
        network: the traced network.
        array: the array or the hardware to plan for.
        method: the setting; None: every layer stays dense.
        bits: of weights and inputs, 1 to 8, or (of weights, of inputs); None keeps float. The first
            convolution and the classifier get 8.
        mapping: how dense layers are laid on the array; others follow where they can be laid so, else with
            `sdk`.

    Raises:
        InputError: bits out of range, a setting that a layer cannot have, a rule that matches nothing or
            names a layer which cannot be changed, or nothing is changed at all.
    """
    check_plan_bits(bits)
    method = method or Quantise()
    layers = []
    runs: dict[str, list[ConvShape]] = {}
    for run in network.layers:
        runs.setdefault(run.weight, []).append(run)
    spec = array.array if isinstance(array, Hardware) else array
    refused = ""
    supports = dict(network.supports)
    for name, shape, why, (weight_bits, input_bits) in candidates(
        network, bits, method.takes_pointwise, method.takes_linear, method.rules
    ):
        kind: LayerKind = DenseLayer()
        reason = why
        if name in supports:
            # It is as the network has it already, whatever the method makes of others.
            kind, reason = _supported(shape, supports[name]), "as the network has it"
        # The method is not asked about layers that stay, so its refusals are about those it would change.
        elif not why:
            kind, reason, worse = _changed(method, in_weights(spec, weight_bits), runs[name], mapping)
            if worse:
                refused = refused or f"{name} stays dense, as {worse}"
        layers.append(
            LayerPlan(
                name,
                kind,
                mapping=_mapping_for(kind, mapping),
                weight_bits=weight_bits,
                input_bits=input_bits,
                reason=reason,
            )
        )
    refused = refused or f"{layers[0].name} stays dense ({layers[0].reason})"
    method.check_changes(network, {layer.name: layer.kind for layer in layers}, refused)
    return Plan.of(network, array, layers)


def _changed(
    method: Method, array: ArraySpec, runs: Sequence[ConvShape], mapping: str
) -> tuple[LayerKind, str, str]:
    """What a layer becomes by a method, the reason for the plan, and why it would be worse off, if it would:
    then it stays dense.

    Args:
        method: the setting.
        array: as the layer sees it.
        runs: the layer, once for each time that it runs.
        mapping: how the network is laid out.
    """
    kind, reason = method.on_array(array).layer_of_runs(runs)
    worse = ""
    if not method.forced:
        worse = kind.worse_than_dense(runs, array, mapping)
    if worse:
        return DenseLayer(), worse, worse
    return kind, reason, ""


def in_weights(array: ArraySpec, weight_bits: int | None) -> ArraySpec:
    """The array as layers of such weights see it."""
    if weight_bits is None:
        return replace(array, cell_bits=None)
    return array.in_weights(weight_bits)


def _supported(shape: ConvShape, support: str) -> SupportLayer:
    """A layer that keeps only some kernel positions.

    Raises:
        InputError: they are not positions of its kernel, or all of them.
    """
    kept = text_to_support(support, shape).sum(axis=1)
    kind = SupportLayer(int(kept.max()), support=support)
    kind.check(shape)
    return kind


def _mapping_for(kind: LayerKind, wanted: str) -> str:
    """How a layer is laid out: as wanted; pairs and pruned layers know no VW-SDK nor Tetris-SDK and get `sdk`
    then.
    """
    # On a dense layer a mapping that does not exist is passed on, for `LayerPlan` to refuse it.
    if not kind.changes_weight:
        return wanted
    return kind.mapping_for(wanted)


def check_plan_bits(bits: Bits) -> None:
    """Refuse bit widths that no plan has.

    Raises:
        InputError: they are not from 1 to 8.
    """
    if isinstance(bits, tuple) and len(bits) != 2:
        raise InputError(f"bits (={bits}) must be one number, or two: of weights and of inputs")
    for label, width in zip(("weight bits", "input bits"), widths(bits), strict=True):
        what = label
        if not isinstance(bits, tuple):
            what = "bits"
        if width is None:
            continue
        if not WHOLE.fits(width) or not 1 <= width <= 8:
            raise InputError(f"{what} (={width}) must be a whole number from 1 to 8")


def widths(bits: Bits) -> tuple[int, int] | tuple[None, None]:
    """Bits of weights and of inputs; None for float."""
    if bits is None:
        return None, None
    if isinstance(bits, tuple):
        return bits
    return bits, bits


def candidates(
    network: Network,
    bits: Bits,
    pointwise: bool = False,
    linear: bool = False,
    rules: Sequence[LayerRule] = (),
) -> Iterator[tuple[str, ConvShape, str, tuple[int, int] | tuple[None, None]]]:
    """(name, shape, why it stays as it is, bits of weights and inputs) of each weight; the reason is empty
    for layers to compress.

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
    # Without any convolution, as in a perceptron, the first layer takes its place.
    first = (network.convolutions or network.layers)[0].weight
    # A network without a fully connected layer may classify with a 1x1 convolution; a larger last kernel is
    # no classifier.
    tail = network.layers[-1]
    last = ""  # no layer has this name
    if tail.kernel == (1, 1):
        last = tail.weight
    for name, shape in shapes.items():
        width = widths(bits)
        if bits is not None and name in (first, last):
            width = EDGE_BITS, EDGE_BITS
        if shape.fixed:
            # What cannot be replaced cannot be given quantisers either.
            width = None, None
        default = _why_dense(shape, name == first, name == last, pointwise, linear)
        why = _decide(shape, matched.get(name), default)
        yield name, shape, why, width


def _decide(shape: ConvShape, match: Match | None, why: str) -> str:
    """Why a layer stays as it is, empty where it shall be compressed: rules before the default `why`."""
    if match is None:
        return why
    if not match.rule.include:
        return f"excluded by {match.rule.pattern}"
    # A pattern passes over what can never be changed. An exact name means this layer, so it is refused.
    never = _why_never(shape)
    if never and match.exact:
        raise InputError(
            f"include rule {match.rule.pattern}: the layer cannot be low-rank: {never}; take the rule away"
        )
    return never


def _why_never(shape: ConvShape) -> str:
    # Such as subclasses and layers with hooks, whose behaviour a replacement would lose.
    if shape.fixed:
        return shape.fixed
    # A group of one channel cannot be cut into blocks of channels, which are what g counts.
    if shape.in_channels == shape.groups:
        return DEPTHWISE
    return ""


def _why_dense(shape: ConvShape, first: bool, last: bool, pointwise: bool, linear: bool) -> str:
    # The layer's place before its sort: plans name the first reason that holds.
    if first:
        return "first layer" if shape.is_linear else "first convolution"
    if last:
        return "classifier"
    if shape.is_linear and not linear:
        return "fully connected layer"
    never = _why_never(shape)
    if never:
        return never
    if not shape.is_linear and shape.kernel == (1, 1) and not pointwise:
        return POINTWISE
    return ""
