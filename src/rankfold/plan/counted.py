"""Which layers count on arrays, where nobody asks for fully connected ones."""

from __future__ import annotations

from rankfold.plan.plan import Plan, weights
from rankfold.workload import Network


def counts_linear(network: Network, plan: Plan) -> bool:
    """Whether fully connected layers count: the plan makes any of them low-rank, or there are no others."""
    if not network.convolutions:
        return True
    shapes = weights(network)
    return any(shapes[layer.name].is_linear and layer.kind.counts_linear for layer in plan.layers)
