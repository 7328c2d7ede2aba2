"""Networks, and what becomes of their weights, as notebooks show them."""

from __future__ import annotations

from rankfold.plan.coverage import HEADERS, Coverage
from rankfold.report.numbers import count, size
from rankfold.report.rich.sheet import Sheet, sheet_of
from rankfold.workload import Network


@sheet_of.register
def _of_network(network: Network) -> Sheet:
    rows = []
    for layer in network.layers:
        channels = f"{layer.in_channels} → {layer.out_channels}"
        sizes = size(layer.kernel), channels, size(layer.input), size(layer.output)
        rows.append((layer.name, *sizes, count(layer.macs), count(layer.parameters)))
    for other in network.untouched:
        rows.append((other.name, "left alone", "", "", "", count(other.macs), count(other.parameters)))
    facts = [
        ("layers", count(len(network.layers))),
        ("multiply-accumulates", count(sum(layer.macs for layer in network.layers))),
    ]
    if network.parameters is not None:
        facts.append(("parameters", count(network.parameters)))
    return Sheet(
        title=f"{network.name}, input {size(network.input)}",
        facts=tuple(facts),
        headers=("layer", "kernel", "channels", "input", "output", "MACs", "weights"),
        rows=tuple(rows),
    )


@sheet_of.register
def _of_coverage(coverage: Coverage) -> Sheet:
    return Sheet(
        title="What becomes of every weight",
        facts=(("multiply-accumulates", count(coverage.macs)), ("parameters", count(coverage.parameters))),
        headers=HEADERS,
        rows=tuple(tuple(layer.row()) for layer in coverage.layers),
        words=("what", "becomes", "because"),
    )
