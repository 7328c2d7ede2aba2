"""What a plan does with every weight of a network, before any work is started."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rankfold.arguments import takes
from rankfold.notebooks import Shown, in_brackets
from rankfold.plan.counted import counts_linear
from rankfold.plan.kinds import kind_names
from rankfold.plan.layer import LayerPlan
from rankfold.plan.plan import PLAN, Plan, weights
from rankfold.records.text_table import format_table, with_short_names
from rankfold.workload import ConvShape, Network
from rankfold.workload.network import NETWORK

# What becomes of a layer.
UNCOUNTED, LEFT_ALONE = "not mapped", "left alone"

HEADERS = ("layer", "what", "MACs", "parameters", "becomes", "because")
ALIGN = "<<>><<"
SHOWN = 4  # reasons in a line of the summary
WORTH_A_LINE = 5e-4  # share of the parameters that are no layer's weights


def fates() -> tuple[str, ...]:
    """Everything that may become of a weight, what is changed first."""
    # Dense is registered first, but nothing is changed there: it goes behind the kinds that change something.
    dense, *others = kind_names()
    return (*others, dense, UNCOUNTED, LEFT_ALONE)


@dataclass(frozen=True, kw_only=True)
class LayerCoverage:
    """What becomes of one weight.

    Attributes:
        name: the layer.
        what: what it is, such as `3x3 16->32` or `fully connected 64->10`.
        fate: `low-rank`, `pattern-pruned`, `channel-pruned`, `dense` (as it is, on arrays), `not mapped` (a
            fully connected layer, which is not counted) or `left alone` (a layer of another kind).
        why: the reason, with bits where the plan quantises it.
        macs: multiply-accumulates for one image over all its runs; None where they are not known.
        parameters: its weights, without bias.
        mac_share: of all multiply-accumulates that are known, 0 to 1.
        parameter_share: of all parameters of the network, 0 to 1.
    """

    name: str
    what: str
    fate: str
    why: str
    macs: int | None
    parameters: int
    mac_share: float
    parameter_share: float

    def row(self) -> list[str]:
        """Its row in the table of all layers."""
        # Only layers of other kinds may not know theirs.
        macs = "?"
        if self.macs is not None:
            macs = f"{self.mac_share:.1%}"
        return [self.name, self.what, macs, f"{self.parameter_share:.1%}", self.fate, self.why]


@dataclass(frozen=True)
class Coverage(Shown):
    """What becomes of all weights of a network.

    Attributes:
        layers: one entry for each weight, in order; layers of other kinds last.
        macs: multiply-accumulates for one image, of all layers where they are known.
        parameters: of the network, with biases and norms where these are known.
    """

    layers: tuple[LayerCoverage, ...]
    macs: int
    parameters: int

    def __repr__(self) -> str:
        became = Counter(layer.fate for layer in self.layers)
        words = ", ".join(f"{number} {fate}" for fate, number in became.items())
        return in_brackets("Coverage", f"of {len(self.layers)} weights: {words}")

    def of(self, fate: str) -> tuple[LayerCoverage, ...]:
        """The layers with this fate."""
        return tuple(layer for layer in self.layers if layer.fate == fate)

    def table(self) -> str:
        """One line for each weight: what it is, its shares, what becomes of it and why; and the totals."""
        rows = [layer.row() for layer in self.layers]
        return f"{format_table(HEADERS, with_short_names(rows), ALIGN)}\n\n{self.summary()}"

    def summary(self) -> str:
        """One line for each thing that becomes of layers, with their shares and reasons."""
        whole = f"{self.macs:,} multiply-accumulates and {self.parameters:,} parameters"
        lines = [f"coverage of {whole}:"]
        for fate in fates():
            layers = self.of(fate)
            if layers:
                lines.append(f"  {fate}: {_sums(layers)} ({_reasons(layers)})")
        # What belongs to no weight shows as what the shares lack of the whole.
        rest = 1 - sum(layer.parameter_share for layer in self.layers)
        if rest > WORTH_A_LINE:
            lines.append(f"  biases, norms and others: {rest:.1%} of parameters")
        return "\n".join(lines)

    def to_json(self) -> list[dict[str, Any]]:
        """One entry for each weight."""
        return [
            {
                "name": layer.name,
                "what": layer.what,
                "fate": layer.fate,
                "why": layer.why,
                "macs": layer.macs,
                "parameters": layer.parameters,
                "mac_share": layer.mac_share,
                "parameter_share": layer.parameter_share,
            }
            for layer in self.layers
        ]


@takes(network=NETWORK, plan=PLAN)
def coverage(network: Network, plan: Plan, linear: bool = False) -> Coverage:
    """What `plan` does with every weight of `network`, and why.

    Args:
        network: the network.
        plan: a plan for it.
        linear: whether dense fully connected layers are mapped too; they are in any case where costs count
            them, see `counts_linear`.
    """
    linear = linear or counts_linear(network, plan)
    shapes = weights(network)
    # A weight may run several times: its runs add up, its parameters count once.
    macs: Counter[str] = Counter()
    for layer in network.layers:
        macs[layer.weight] += layer.macs
    # Counts that are not known go in as 0, so that shares are of what is known.
    others: dict[str, int] = {other.name: other.macs or 0 for other in network.untouched}
    all_macs = sum(macs.values()) + sum(others.values())
    own = {name: _own_parameters(shape) for name, shape in shapes.items()}
    stored = sum(own.values())
    stored += sum(other.parameters for other in network.untouched)
    # Where the network does not know its total, it is what its layers hold. Shares never exceed 1 together.
    all_parameters = max(network.parameters or 0, stored)
    found = []
    for name, shape in shapes.items():
        entry = plan.layer(name)
        fate = entry.kind.name
        # One that keeps its weight is mapped on request only; one that is replaced runs on arrays anyhow.
        if shape.is_linear and not linear and not entry.kind.changes_weight:
            fate = UNCOUNTED
        found.append(
            LayerCoverage(
                name=name,
                what=_what(shape),
                fate=fate,
                why=_why(entry),
                macs=macs[name],
                parameters=own[name],
                mac_share=_share(macs[name], all_macs),
                parameter_share=_share(own[name], all_parameters),
            )
        )
    for other in network.untouched:
        # The network says both in one sentence; the table has a column for each.
        what, _, why = other.what.partition(" is left alone")
        found.append(
            LayerCoverage(
                name=other.name,
                what=what,
                fate=LEFT_ALONE,
                why=why.strip(" :") or "neither a convolution in one or two dimensions nor fully connected",
                macs=other.macs,  # None where it is not known, unlike in the sum
                parameters=other.parameters,
                mac_share=_share(others[other.name], all_macs),
                parameter_share=_share(other.parameters, all_parameters),
            )
        )
    return Coverage(tuple(found), all_macs, all_parameters)


def _own_parameters(shape: ConvShape) -> int:
    """The weights that are stored for a layer; one that shares those of another has none of its own."""
    if shape.shares:
        return 0
    return shape.parameters


def _what(shape: ConvShape) -> str:
    """What a layer is: `3x3 16->32 g2`, or `fully connected 64->10`."""
    sort = "x".join(map(str, shape.kernel))
    if shape.is_linear:
        sort = "fully connected"
    what = f"{sort} {shape.in_channels}->{shape.out_channels}"
    if shape.groups > 1:
        what += f" g{shape.groups}"
    return what


def _sums(layers: Sequence[LayerCoverage]) -> str:
    number = f"{len(layers)} layers"
    if len(layers) == 1:
        number = "1 layer"
    macs = sum(layer.mac_share for layer in layers)
    parameters = sum(layer.parameter_share for layer in layers)
    return f"{number}, {macs:.1%} of MACs, {parameters:.1%} of parameters"


def _reasons(layers: Sequence[LayerCoverage]) -> str:
    """Why this becomes of layers, each reason once."""
    # A dictionary, since a set would lose the order of the layers.
    reasons = {}
    for layer in layers:
        # The figures of each layer stand in brackets behind its reason, and in the table.
        reason, _, _ = layer.why.partition(" (")
        if layer.fate == LEFT_ALONE:
            reason = layer.what  # why is always the same: what they are
        reasons[reason] = True
    words = "; ".join(list(reasons)[:SHOWN])
    more = len(reasons) - SHOWN
    if more == 1:
        words += "; 1 more reason"
    elif more > 1:
        words += f"; {more} more reasons"
    return words


def _why(entry: LayerPlan) -> str:
    if entry.weight_bits is None:
        return entry.reason
    return f"{entry.reason}, {entry.weight_bits} bits"


def _share(part: int, whole: int) -> float:
    # A network whose counts are all unknown has a whole of 0.
    if not whole:
        return 0.0
    return part / whole
