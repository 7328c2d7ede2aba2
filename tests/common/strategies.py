"""Random layers, arrays, weights, supports, masks and moments for Hypothesis: all tests draw theirs here.

Sizes are small, so that many cases run quickly. Arrays of numbers come from a drawn seed: a seed is cheap to
draw and to shrink, and no test depends on single numbers.
"""

from typing import NamedTuple

import numpy as np
from hypothesis import strategies as st

from rankfold.lowrank import full_rank
from rankfold.mapping import ArraySpec
from rankfold.workload import ConvShape

SEEDS = st.integers(0, 9999)
GENERATORS = st.builds(np.random.default_rng, SEEDS)
ARRAYS = st.builds(ArraySpec, st.integers(1, 90), st.integers(1, 40))


def pairs(most, least=1):
    """(vertical, horizontal) numbers."""
    return st.tuples(st.integers(least, most), st.integers(least, most))


@st.composite
def conv_shapes(
    draw,
    *,
    largest=12,
    channels=6,
    outputs=9,
    groups=(1, 1, 1, 2, 3),
    kernels=pairs(4),  # noqa: B008
    strides=pairs(3),  # noqa: B008
    dilations=pairs(2),  # noqa: B008
    padding=2,
):
    """Any convolution.

    Args:
        draw: of Hypothesis.
        largest: side of the input.
        channels: of each group, at most.
        outputs: of each group, at most.
        groups: to choose from; a number that stands there more often is chosen more often.
        kernels: (kh, kw).
        strides: (vertical, horizontal).
        dilations: (vertical, horizontal).
        padding: on each side, at most.
    """
    number = draw(st.sampled_from(groups))
    kernel = draw(kernels)
    dilation = draw(dilations)
    size = []
    for taps, step in zip(kernel, dilation, strict=True):
        extent = (taps - 1) * step + 1
        size.append(draw(st.integers(extent, max(extent, largest))))
    return ConvShape(
        "layer",
        number * draw(st.integers(1, channels)),
        number * draw(st.integers(1, outputs)),
        kernel,
        tuple(size),
        draw(strides),
        padding=draw(st.tuples(*[st.integers(0, padding)] * 4)),
        dilation=dilation,
        groups=number,
    )


@st.composite
def shapes_of_plane(draw, planes, *, channels=3, groups=(1, 1, 2, 3)):
    """Any convolution without padding that has one of these planes (OH, OW) as output."""
    number = draw(st.sampled_from(groups))
    plane = draw(st.sampled_from(planes))
    kernel, stride, dilation = draw(pairs(3)), draw(pairs(3)), draw(pairs(3))
    size = []
    for axis in (0, 1):
        last_pixel = (plane[axis] - 1) * stride[axis]
        last_tap = (kernel[axis] - 1) * dilation[axis]
        size.append(last_pixel + last_tap + 1)
    return ConvShape(
        "layer",
        number * draw(st.integers(1, channels)),
        number * draw(st.integers(1, channels)),
        kernel,
        tuple(size),
        stride,
        dilation=dilation,
        groups=number,
    )


@st.composite
def supports(draw, shape, shares=(0.2, 0.5, 0.8)):
    """(C_in, kh*kw) booleans of which at least one is set, about one of these shares of them."""
    size = shape.in_channels, shape.kernel[0] * shape.kernel[1]
    share = draw(st.sampled_from(shares))
    support = draw(GENERATORS).random(size) < share
    support.flat[draw(st.integers(0, support.size - 1))] = True
    return support


@st.composite
def masks(draw, shape, shares=(0.1, 0.4, 0.8)):
    """(m, C_in/G, kh, kw) booleans, at least one of them set: any weights, or the same for all outputs."""
    size = (shape.m, shape.in_channels // shape.groups, *shape.kernel)
    drawn = size
    if draw(st.booleans()):
        drawn = (1, *size[1:])
    share = draw(st.sampled_from(shares))
    mask = np.broadcast_to(draw(GENERATORS).random(drawn) < share, size).copy()
    mask.flat[draw(st.integers(0, mask.size - 1))] = True
    return mask


@st.composite
def supported_layers(draw, **kinds):
    """A layer, an array and, every other time, a support: (shape, array, support or None)."""
    shape = draw(conv_shapes(**kinds))
    array = draw(ARRAYS)
    if draw(st.booleans()):
        return shape, array, None
    return shape, array, draw(supports(shape))


@st.composite
def pruned_layers(draw, **kinds):
    """A layer, an array and a mask of its weights."""
    shape = draw(conv_shapes(**kinds))
    return shape, draw(ARRAYS), draw(masks(shape))


class LowRankCase(NamedTuple):
    """A weight, and a size that its factors can have.

    Attributes:
        weight: (m, C_in/G, kh, kw).
        conv_groups: G.
        groups: g.
        rank: r.
    """

    weight: np.ndarray
    conv_groups: int
    groups: int
    rank: int

    @property
    def n(self):
        """Columns of each group."""
        return self.weight[0].size

    @property
    def matrices(self):
        """(G, m/G, n) the weight of each group."""
        return self.weight.reshape(self.conv_groups, -1, self.n)


@st.composite
def low_rank_cases(
    draw,
    *,
    groups=(1, 2, 3, 4),
    conv_groups=(1, 2, 3),
    channels=3,
    outputs=7,
    scale=6,
    full=False,
    uneven=True,
):
    """A weight of any scale with a size of its factors.

    Args:
        draw: of Hypothesis.
        groups: g, to choose from.
        conv_groups: G, to choose from.
        channels: of each of the g blocks, at most.
        outputs: of each group of the convolution, at most.
        scale: decades of the scale, up and down.
        full: of full rank only.
        uneven: sometimes of input channels of very different size, or of deficient rank.
    """
    number = draw(st.sampled_from(conv_groups))
    blocks = draw(st.sampled_from(groups))
    inputs = blocks * draw(st.integers(1, channels))
    kernel = draw(pairs(3))
    m = number * draw(st.integers(1, outputs))
    weight = draw(GENERATORS).standard_normal((m, inputs, *kernel))
    weight *= 10.0 ** draw(st.integers(-scale, scale))
    if uneven and draw(st.booleans()):
        weight *= np.logspace(0, -8, inputs)[:, None, None]
    if uneven and draw(st.integers(0, 4)) == 0:
        weight[m // 2 :] = 0
    shape = ConvShape("weight", number * inputs, m, kernel, kernel, groups=number)
    rank = full_rank(shape, blocks)
    if not full:
        rank = draw(st.integers(1, rank))
    return LowRankCase(weight, number, blocks, rank)


def correlated_patches(rng, groups, n, decay=0.01, samples=5):
    """(G, n, samples*n) patches of correlated inputs: the weakest direction has `decay` of the strongest."""
    mixing = rng.standard_normal((groups, n, n)) * np.geomspace(1, decay, n)
    return mixing @ rng.standard_normal((groups, n, samples * n))


def second_moments(patches):
    """(G, n, n) their mean products."""
    return patches @ patches.swapaxes(1, 2) / patches.shape[2]


def random_moments(rng, groups, n, decay=0.01):
    """(G, n, n) second moments of correlated inputs."""
    return second_moments(correlated_patches(rng, groups, n, decay))
