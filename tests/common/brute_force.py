"""The cheapest mapping by brute force: the matrix written out cell by cell, every tiling of the plane tried.

It shares no code with the library: rows, columns and diagonal blocks come from the definition of a
convolution.
"""

import itertools
import math
import operator
import sys
from functools import lru_cache, reduce

sys.setrecursionlimit(10_000)


def stored_blocks(shape, window, channels, outputs, support=None, spacing=(1, 1)):
    """Diagonal blocks of the stored matrix of a window: the rows that each of its columns reads.

    The window holds pixels that are `spacing` apart. The rows of a column are the bits of a number: bit i is
    set where it reads the i-th input of the window.

    A block joins the output channels of a group and the pixels whose kernels overlap, whether or not a
    support keeps the positions where they do.
    """
    if support is not None:
        support = tuple(map(tuple, support))
    blocks, _ = stored(shape, window, channels, support, spacing)
    # Columns are ordered by output channel first, and all channels of a group read the same.
    count = outputs[1] - outputs[0]
    return [block * count for block in blocks]


@lru_cache(1 << 12)
def stored(shape, window, channels, support, spacing):
    """The blocks for one output channel of each group, and the inputs (y, x, channel) of a group in order."""
    per_group = shape.in_channels // shape.groups
    steps = [stride * space for stride, space in zip(shape.stride, spacing, strict=True)]
    apart = [step > (k - 1) * d for step, k, d in zip(steps, shape.kernel, shape.dilation, strict=True)]
    taps = list(itertools.product(range(*channels), range(shape.kernel[0]), range(shape.kernel[1])))
    pixels = list(itertools.product(range(window[0]), range(window[1])))
    read = {}
    for v, u in pixels:
        read[v, u] = [
            (v * steps[0] + ky * shape.dilation[0], u * steps[1] + kx * shape.dilation[1], channel)
            for channel, ky, kx in taps
        ]
    inputs = sorted(set().union(*read.values()))
    bits = {place: 1 << number for number, place in enumerate(inputs)}
    blocks = {}
    for group, (v, u) in itertools.product(range(shape.groups), pixels):
        rows = 0
        for (channel, ky, kx), place in zip(taps, read[v, u], strict=True):
            if support is None or support[group * per_group + channel][ky * shape.kernel[1] + kx]:
                rows |= bits[place]
        block = blocks.setdefault((group, v * apart[0], u * apart[1]), [])
        block.append(rows)
    return [tuple(block) for block in blocks.values() if any(block)], inputs


def together(columns):
    """The rows that any of the columns reads."""
    return reduce(operator.or_, columns, 0)


@lru_cache(1 << 16)
def fewest_strips(lengths, capacity, limit):
    """Tiles of at most `capacity` lines of at most `limit` blocks, for blocks laid end to end: every way of
    cutting tried.
    """

    @lru_cache(None)
    def rest(block, done):
        if block == len(lengths):
            return 0
        best = math.inf
        used, index, start = 0, block, done
        for _ in range(limit):
            if index == len(lengths):
                break
            for take in range(1, min(lengths[index] - start, capacity - used) + 1):
                whole = start + take == lengths[index]
                best = min(best, 1 + rest(*((index + 1, 0) if whole else (index, start + take))))
            if used + lengths[index] - start > capacity:
                break
            used += lengths[index] - start
            index, start = index + 1, 0
        return best

    return rest(0, 0)


def tiles_of(blocks, rows, columns):
    """Tiles of a block-diagonal matrix, blocks stacked by rows or side by side."""
    if not blocks:
        return 0
    whole = 0
    last = []
    width = max(len(block) for block in blocks)
    for block in blocks:
        cut = len(block) // columns * columns
        for start in range(0, cut, columns):
            whole += math.ceil(together(block[start : start + columns]).bit_count() / rows)
        if cut < len(block):
            last.append(together(block[cut:]).bit_count())
    stacked = whole + (fewest_strips(tuple(last), rows, columns // (width % columns)) if last else 0)
    tallest = max(together(block).bit_count() for block in blocks)
    if tallest > rows:
        return stacked
    return min(stacked, fewest_strips(tuple(len(block) for block in blocks), columns, rows // tallest))


def cheapest_tiling(size, cost):
    """Fewest cycles over every tiling of a plane with rectangles, also those that no straight cuts make."""
    height, width = size
    full = (1 << height * width) - 1

    @lru_cache(None)
    def fill(covered):
        if covered == full:
            return 0
        first = next(i for i in range(height * width) if not covered >> i & 1)
        y, x = divmod(first, width)
        best = math.inf
        for b in range(1, width - x + 1):
            if covered >> (y * width + x + b - 1) & 1:
                break
            mask = 0
            for a in range(1, height - y + 1):
                line = ((1 << b) - 1) << ((y + a - 1) * width + x)
                if covered & line:
                    break
                mask |= line
                if (a, b) in cost:
                    best = min(best, cost[a, b] + fill(covered | mask))
        return best

    return fill(0)


def fewest_cycles(shape, array, support=None):
    """Over neighbouring pixels together, or interleaved phases of the plane apart, those of which share
    inputs.
    """
    axes = zip(shape.kernel, shape.stride, shape.dilation, strict=True)
    spacing = tuple(1 if k == 1 else d // math.gcd(s, d) for k, s, d in axes)
    height, width = shape.output
    apart = 0
    for y, x in itertools.product(range(min(spacing[0], height)), range(min(spacing[1], width))):
        apart += fewest_of_plane(
            shape,
            array,
            support,
            (len(range(y, height, spacing[0])), len(range(x, width, spacing[1]))),
            spacing,
        )
    return min(apart, fewest_of_plane(shape, array, support, (height, width), (1, 1)))


def fewest_of_plane(shape, array, support, size, spacing):
    """Over no cut or one cut through the input or the output channels, and every tiling of each part's
    plane.
    """
    inputs, outputs = shape.in_channels // shape.groups, shape.m // shape.groups

    @lru_cache(None)
    def plane(channels, outs):
        cost = {
            (a, b): tiles_of(
                stored_blocks(shape, (a, b), channels, outs, support, spacing), array.rows, array.columns
            )
            for a in range(1, size[0] + 1)
            for b in range(1, size[1] + 1)
            if a * b <= array.columns
        }
        return cheapest_tiling(size, cost)

    best = plane((0, inputs), (0, outputs))
    if shape.groups == 1:
        for cut in range(1, inputs):
            best = min(best, plane((0, cut), (0, outputs)) + plane((cut, inputs), (0, outputs)))
        for cut in range(1, outputs):
            best = min(best, plane((0, inputs), (0, cut)) + plane((0, inputs), (cut, outputs)))
        dilated = any(
            k > 1 and d > 1 and q == 1 for k, d, q in zip(shape.kernel, shape.dilation, spacing, strict=True)
        )
        if (support is None or all(map(all, support))) and not dilated:
            best = min(best, fewest_sharing_overflow(shape, array, size, spacing))
    return best


def fewest_sharing_overflow(shape, array, size, spacing):
    """Over every window whose rows overflow the last full array, where several windows store what is left in
    one array.
    """
    best = math.inf
    for a, b in itertools.product(range(1, size[0] + 1), range(1, size[1] + 1)):
        blocks, inputs = stored(shape, (a, b), (0, shape.in_channels), None, spacing)
        if len(blocks) > 1 or a * b > array.columns:
            continue
        columns = blocks[0] * shape.m
        full, left = divmod(len(inputs), array.rows)
        if full == 0 or left == 0:
            continue
        windows = math.ceil(size[0] / a) * math.ceil(size[1] / b)
        for order in ((0, 1, 2), (1, 0, 2)):
            numbers = sorted(range(len(inputs)), key=lambda n: [inputs[n][axis] for axis in order])
            apart = together(1 << number for number in numbers[:left])
            touched = sum(1 for rows in columns if rows & apart)
            at_once = min(array.rows // left, array.columns // touched)
            if at_once > 1:
                shared = math.ceil(windows / at_once)
                best = min(best, windows * full * math.ceil(len(columns) / array.columns) + shared)
    return best
