"""Layers, supports and candidates that tests of planning make up."""

import numpy as np
from hypothesis import strategies as st

from rankfold.mapping import ArraySpec
from rankfold.plan import LayerPlan
from rankfold.planning.exact import Candidate
from rankfold.planning.exact.slots import layer_slots
from rankfold.planning.kinds import layer_entries
from rankfold.workload import ConvShape, Network

ENTRY = LayerPlan("layer")
ROUNDED_LOSSES = st.floats(0, 2).map(lambda nats: round(nats, 9))
CANDIDATES = st.builds(
    Candidate,
    st.just(ENTRY),
    st.integers(0, 30),
    st.integers(0, 9),
    st.floats(0, 5).map(lambda picojoules: round(picojoules, 6)),
    st.just(1),
    st.one_of(ROUNDED_LOSSES, st.sampled_from([0.0, 0.5, 1e-5])),
    conversions=st.integers(0, 30),
    interval=st.floats(0, 4).map(lambda microseconds: round(microseconds, 1)),
)
PROBLEMS = st.lists(st.lists(CANDIDATES, min_size=1, max_size=5), min_size=1, max_size=4)
# 4 -> 8 channels, 3x3, between a first convolution and a classifier.
SLOT = layer_slots(
    Network(
        "net",
        (4, 6, 6),
        (
            ConvShape("first", 4, 4, (3, 3), (6, 6)),
            ConvShape("layer", 4, 8, (3, 3), (6, 6), padding=(1, 1, 1, 1)),
            ConvShape("last", 8, 8, (1, 1), (1, 1)),
        ),
    ),
    ArraySpec(16, 16),
)[1]


def nested(channels, positions, seed, shared=False):
    """Supports of every number of positions, each within the next larger one."""
    rng = np.random.default_rng(seed)
    order = np.array([rng.permutation(positions) for _ in range(1 if shared else channels)])
    ranks = np.broadcast_to(np.argsort(order, axis=1), (channels, positions))
    return {entries: ranks < entries for entries in range(1, positions + 1)}


def entries_of(slot, seed=0):
    """All that a layer may become, on supports drawn under `seed`."""
    shape = slot.shape
    if not slot.spatial:
        return list(layer_entries(slot, ()))
    sizes = shape.in_channels, shape.kernel[0] * shape.kernel[1], seed
    return list(layer_entries(slot, [nested(*sizes), nested(*sizes, shared=True)]))


def random_choices(layers, candidates=24, seed=0, most=5000):
    """Candidates with random costs and losses, of which few are worth their cost."""
    rng = np.random.default_rng(seed)
    choices = []
    for _ in range(layers):
        layer = []
        for cycles, loss in zip(
            rng.integers(most // 100, most, candidates), np.exp(rng.normal(-6, 2, candidates)), strict=True
        ):
            arrays, energy = int(rng.integers(1, 99)), float(rng.random() * 1e6)
            layer.append(Candidate(ENTRY, int(cycles), arrays, energy, 1, float(loss)))
        choices.append(layer)
    return choices


def trades(layers, candidates, seed=0, most=10**9):
    """Candidates of which none is as good as another: the front of many layers has very many points."""
    rng = np.random.default_rng(seed)
    choices = []
    for _ in range(layers):
        costs = np.sort(rng.integers(most // 10, most, candidates))
        losses = np.sort(np.exp(rng.normal(-6, 2, candidates)))[::-1]
        pairs = zip(costs, losses, strict=True)
        choices.append([Candidate(ENTRY, int(cost), 1, None, 1, float(loss)) for cost, loss in pairs])
    return choices
