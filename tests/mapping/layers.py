"""Random layers, arrays and supports for Hypothesis."""

import numpy as np
from hypothesis import strategies as st

from rankfold.mapping import ArraySpec
from rankfold.workload import ConvShape

ARRAYS = st.builds(ArraySpec, st.integers(1, 90), st.integers(1, 40))


@st.composite
def layers(draw, largest=12, channels=6):
    groups = draw(st.sampled_from([1, 1, 1, 2, 3]))
    kernel = draw(st.tuples(st.integers(1, 4), st.integers(1, 4)))
    dilation = draw(st.tuples(st.integers(1, 2), st.integers(1, 2)))
    size = tuple(draw(st.integers((k - 1) * d + 1, largest)) for k, d in zip(kernel, dilation, strict=True))
    return ConvShape(
        "layer",
        groups * draw(st.integers(1, channels)),
        groups * draw(st.integers(1, 9)),
        kernel,
        size,
        draw(st.tuples(st.integers(1, 3), st.integers(1, 3))),
        padding=draw(st.tuples(*[st.integers(0, 2)] * 4)),
        dilation=dilation,
        groups=groups,
    )


@st.composite
def supports(draw, shape):
    """A mask (C_in, kh*kw) that keeps something, or None."""
    if draw(st.booleans()):
        return None
    size = shape.in_channels, shape.kernel[0] * shape.kernel[1]
    keep = draw(st.sampled_from([0.2, 0.5, 0.8]))
    mask = np.random.default_rng(draw(st.integers(0, 999))).random(size) < keep
    mask.flat[draw(st.integers(0, mask.size - 1))] = True
    return mask


@st.composite
def cases(draw, **kinds):
    """A layer, an array and a support."""
    shape = draw(layers(**kinds))
    return shape, draw(ARRAYS), draw(supports(shape))
