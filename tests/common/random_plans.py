"""Random kinds of layers, layers of plans, plans, and layers with supports, for Hypothesis."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st

from rankfold.mapping import ArraySpec
from rankfold.plan import (
    ChannelLayer,
    DenseLayer,
    GarosLayer,
    GroupedLayer,
    LayerKind,
    LayerPlan,
    LowRankLayer,
    Pairs2023Layer,
    Pairs2024Layer,
    PairsLayer,
    PatDNNChannelLayer,
    PatDNNLayer,
    PatDNNWholeLayer,
    Plan,
    SkippedLayer,
    SupportLayer,
    TrimmedLayer,
    WindowLayer,
    WindowLowRankLayer,
    WindowMarginsLayer,
    WindowPart,
)
from rankfold.plan.kinds import STEERINGS
from rankfold.workload import ConvShape

WORDS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12)
COUNTS = st.integers(1, 512)
BITS = st.integers(1, 8)
SIZES = st.integers(1, 300)
HOW_ROWS_COUNT = st.sampled_from(STEERINGS)
PUBLISHED = st.sampled_from([1, 2, 4, 5, 6, 7, 8])  # positions that published patterns keep


@st.composite
def support_texts(draw: st.DrawFn) -> str:
    """Kernel positions of some input channels, as plans have them."""
    numbers = draw(st.lists(st.integers(0, 2**25), min_size=1, max_size=6))
    return " ".join(f"{number:x}" for number in numbers)


MAYBE_SUPPORT = st.none() | support_texts()
MEMBERS = st.lists(st.sampled_from(["3:1", "c:2", "30:f0"]), min_size=2, max_size=4).map(" ".join)

CHANNELS = st.integers(1, 2**70).map(lambda number: f"{number:x}")
PAIRS = st.tuples(COUNTS, COUNTS)
PARTS = st.one_of(
    st.builds(WindowPart, PAIRS, PAIRS, PAIRS),
    st.builds(WindowPart, PAIRS, PAIRS, PAIRS, COUNTS, MAYBE_SUPPORT),
)

# Layers of every kind, whether or not there is a network that they fit.
LAYERS_OF: dict[type[LayerKind], st.SearchStrategy[LayerKind]] = {
    DenseLayer: st.builds(DenseLayer),
    LowRankLayer: st.one_of(
        st.builds(LowRankLayer, COUNTS, COUNTS),
        st.builds(LowRankLayer, COUNTS, COUNTS, COUNTS, MAYBE_SUPPORT),
    ),
    PatDNNLayer: st.builds(PatDNNLayer, COUNTS, HOW_ROWS_COUNT),
    PairsLayer: st.builds(PairsLayer, COUNTS, HOW_ROWS_COUNT, st.none() | COUNTS),
    PatDNNChannelLayer: st.builds(PatDNNChannelLayer, COUNTS, HOW_ROWS_COUNT),
    PatDNNWholeLayer: st.builds(PatDNNWholeLayer, COUNTS, HOW_ROWS_COUNT),
    Pairs2023Layer: st.builds(Pairs2023Layer, PUBLISHED, HOW_ROWS_COUNT),
    Pairs2024Layer: st.builds(Pairs2024Layer, PUBLISHED, HOW_ROWS_COUNT),
    GarosLayer: st.builds(GarosLayer, PUBLISHED, HOW_ROWS_COUNT, COUNTS),
    SupportLayer: st.builds(SupportLayer, COUNTS, HOW_ROWS_COUNT, MAYBE_SUPPORT),
    ChannelLayer: st.builds(ChannelLayer, COUNTS, COUNTS),
    WindowLayer: st.one_of(
        st.builds(WindowLayer, st.tuples(COUNTS, COUNTS)),
        st.builds(WindowLayer, st.tuples(COUNTS, COUNTS), COUNTS, MAYBE_SUPPORT),
    ),
    WindowLowRankLayer: st.one_of(
        st.builds(WindowLowRankLayer, st.tuples(COUNTS, COUNTS), COUNTS),
        st.builds(WindowLowRankLayer, st.tuples(COUNTS, COUNTS), COUNTS, COUNTS, MAYBE_SUPPORT),
    ),
    WindowMarginsLayer: st.builds(WindowMarginsLayer, st.lists(PARTS, min_size=2, max_size=4).map(tuple)),
    GroupedLayer: st.builds(GroupedLayer, st.integers(2, 16), st.none() | MEMBERS),
    SkippedLayer: st.builds(SkippedLayer),
    TrimmedLayer: st.one_of(
        st.builds(TrimmedLayer, CHANNELS, st.none() | CHANNELS),
        st.builds(TrimmedLayer, st.none(), CHANNELS, PAIRS, COUNTS, MAYBE_SUPPORT),
    ),
}


def layer_kinds() -> st.SearchStrategy[LayerKind]:
    """Layers of all kinds."""
    return st.one_of(*LAYERS_OF.values())


@st.composite
def layer_plans(draw: st.DrawFn) -> LayerPlan:
    """What a plan may say of one layer."""
    kind = draw(layer_kinds())
    weight_bits = draw(st.none() | BITS)
    input_bits = None
    if weight_bits is not None:
        input_bits = draw(BITS)
    return LayerPlan(
        draw(WORDS),
        kind,
        mapping=draw(st.sampled_from(kind.mappings)),
        weight_bits=weight_bits,
        input_bits=input_bits,
        input_signed=draw(st.none() | st.booleans()),
        reason=draw(st.just("") | WORDS),
    )


@st.composite
def plans(draw: st.DrawFn) -> Plan:
    """Plans of one to four layers."""
    layers = draw(st.lists(layer_plans(), min_size=1, max_size=4, unique_by=lambda layer: layer.name))
    image = draw(st.tuples(SIZES, SIZES, SIZES))
    return Plan(draw(WORDS), image, ArraySpec(draw(SIZES), draw(SIZES)), tuple(layers))


@st.composite
def supported_layers(draw: st.DrawFn) -> tuple[ConvShape, np.ndarray, int]:
    """A convolution with a kernel of several positions, a support (C_in, kh*kw) of it, and e of that."""
    groups = draw(st.sampled_from([1, 1, 2]))
    kernel = draw(st.sampled_from([(3, 3), (1, 3), (5, 2)]))
    channels = groups * draw(st.sampled_from([2, 4, 6]))
    size = draw(st.tuples(st.integers(5, 9), st.integers(5, 9)))
    shape = ConvShape("body", channels, groups * draw(st.integers(2, 6)), kernel, size, groups=groups)
    seed, entries = draw(st.integers(0, 9999)), draw(st.integers(1, kernel[0] * kernel[1] - 1))
    order = np.random.default_rng(seed).random((channels, kernel[0] * kernel[1])).argsort(axis=1)
    return shape, order < entries, entries
