"""What no latency on a chip can be below, whatever layers become, their copies, places and traffic.

Take a path of layers from the image to the result, each of which reads the one before (perhaps by way of
joins). Of a layer l whose busiest array is read tau_l times for an image, with r ns a read and b_l bundles, a
bundle takes t_l = tau_l r / b_l at least. For any layer k of the path (`chip.timing`, e(b) = max(e(b - 1),
a(n(b))) + t):

- its first bundle begins when each layer before it has made the rows that the first bundle of the next one
  needs, f_l bundles one after another;
- its bundles take tau_k r, one after another;
- its last bundle is needed by the last one of each layer behind it, as that needs all rows.

So the latency is at least L_k = sum over l before k of f_l t_l + tau_k r + sum over l behind k of t_l.

A tile that is read n times for an image needs ceil(n / tau) copies, so that a layer of W = sum of tiles x n
activations in all needs max(W / tau, tiles) arrays at least. All layers together have P. With a price p of an
array, for any p >= 0,

    L_k >= sum over l of min over candidates and tau of (c_l tau + p max(W / tau, tiles)) - p P,

with c_l what a read of the busiest array adds to L_k (0 off the path): Lagrangian duality, for which nothing
has to be convex. The minimum over tau is at sqrt(p W / c), within 1 and W / tiles. The right side is concave
in p, so that its largest value is found by narrowing; any other value is a bound, too. The bound is the best
of all k.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rankfold.chip.graph import TaskGraph, rows_read
from rankfold.planning.on_chip.costs import ChipCosts, Loads
from rankfold.workload import Network

NARROWED = 24  # times, by which the price of an array is known to a thousandth
GOLDEN = (5**0.5 - 1) / 2
LEAST_PRICE, MOST_PRICE = 1e-3, 1e6  # ns an array


@dataclass(frozen=True)
class PathLayer:
    """A layer of a path.

    Attributes:
        layer: its number among those that may become something.
        first: rows of its output that the first bundle of the next layer needs at least.
    """

    layer: int
    first: int


def longest_path(network: Network, graph: TaskGraph, layers: Sequence[str]) -> tuple[PathLayer, ...]:
    """The path of the most layers through a network; those that run more than once for an image are left out.

    Args:
        network: the network.
        graph: its tasks, kept dense.
        layers: the names of those that may become something.
    """
    runs = Counter(shape.weight for shape in network.layers)
    repeated = {shape.weight for shape in network.layers if shape.shares or runs[shape.weight] > 1}
    number_of = {name: number for number, name in enumerate(layers) if name not in repeated}
    counts: list[int] = []
    before: list[int | None] = []
    for task in graph.tasks:
        sources = [reading.source for reading in task.reads]
        best = max(sources, key=counts.__getitem__, default=None)
        before.append(best)
        layers_so_far = int(task.layer is not None)
        if best is not None:
            layers_so_far += counts[best]
        counts.append(layers_so_far)
    found: list[PathLayer] = []
    number = max(range(len(counts)), key=counts.__getitem__)
    needed = graph.tasks[number].rows  # of the task at hand, by the first bundle of what reads it
    while needed > 0:
        task, source = graph.tasks[number], before[number]
        if task.layer is not None:
            name = network.layers[task.layer].weight
            if name in number_of:
                found.append(PathLayer(number_of[name], needed))
        if source is None:
            break
        rows = graph.tasks[source].rows
        if task.layer is not None:
            # A larger window needs more rows than that of a single one.
            needed = rows_read(network.layers[task.layer], 1, rows)[0][0]
            if network.layers[task.layer].weight not in number_of:
                needed = min(needed, 1)  # it may be left out, and another layer read its source
        else:
            reading = next(one for one in task.reads if one.source == source)
            needed = reading.needs[min(needed, len(reading.needs)) - 1]
        number = source
    return tuple(reversed(found))


def least_latency(costs: ChipCosts) -> float:
    """ns that no latency of a choice of candidates is below, whose weights stay."""
    path = longest_path(costs.network, costs.graph, costs.names)
    arrays = [_Arrays.of(loads) for loads in costs.loads]
    fills, ones = [], []
    for step, following in zip(path, (*path[1:], None), strict=True):
        loads, output = costs.loads[step.layer], costs.rows[step.layer]
        first = step.first
        if following is not None and not costs.loads[following.layer].tasks.all():
            first = 1  # what the layer behind the next one needs, where that is left out
        fills.append(_share(loads, first, output))
        ones.append(_share(loads, 1, output))
    best = 0.0
    for middle in range(len(path)):
        slopes = [np.zeros(len(one.work)) for one in arrays]
        for place, step in enumerate(path):
            if place == middle:
                slopes[step.layer] = (arrays[step.layer].work > 0).astype(float)
            else:
                slopes[step.layer] = fills[place] if place < middle else ones[place]
        best = max(best, _Priced(arrays, slopes, costs.read_time, costs.chip.arrays).best())
    return best


@dataclass(frozen=True)
class _Arrays:
    """Of the candidates of a layer: activations of all tiles together, and the fewest arrays."""

    work: np.ndarray
    fewest: np.ndarray

    @classmethod
    def of(cls, loads: Loads) -> _Arrays:
        return cls((loads.tiles * loads.times).sum(axis=1).astype(float), loads.tiles.sum(axis=1))


def _share(loads: Loads, rows: int, output: int) -> np.ndarray:
    """(candidates,) the share of a layer's bundles that make so many rows of its output, of `output` rows."""
    bundles = -(-output // loads.rows)
    # Of a pair nobody says which stage is the busier one: one bundle of it.
    first = np.where(loads.tasks > 1, 1, -(-min(rows, output) // loads.rows))
    return np.where(loads.tasks > 0, first / bundles, 0.0)


class _Priced:
    """The bound of one k by the price of an array.

    Args:
        arrays: of the candidates of all layers.
        slopes: (candidates,) of each layer, the share of tau r that counts.
        read_time: ns.
        available: arrays that there are.
    """

    def __init__(
        self, arrays: Sequence[_Arrays], slopes: Sequence[np.ndarray], read_time: float, available: int
    ) -> None:
        self._work = np.concatenate([one.work for one in arrays])
        self._fewest = np.concatenate([one.fewest for one in arrays]).astype(float)
        self._slopes = read_time * np.concatenate(slopes)
        self._firsts = np.cumsum([0, *(len(one.work) for one in arrays[:-1])])
        self._available = available

    def at(self, price: float) -> float:
        """ns, for a price in ns an array."""
        most = np.maximum(self._work / np.maximum(self._fewest, 1), 1.0)
        squared = np.divide(price * self._work, self._slopes, out=most**2, where=self._slopes > 0)
        tau = np.clip(np.sqrt(squared), 1.0, most)
        worth = self._slopes * tau + price * np.maximum(self._work / tau, self._fewest)
        return float(np.minimum.reduceat(worth, self._firsts).sum() - price * self._available)

    def best(self) -> float:
        """The largest, by golden sections of the logarithm."""
        low, high = math.log(LEAST_PRICE), math.log(MOST_PRICE)
        left, right = high - GOLDEN * (high - low), low + GOLDEN * (high - low)
        at_left, at_right = self.at(math.exp(left)), self.at(math.exp(right))
        for _ in range(NARROWED):
            if at_left >= at_right:
                high, right, at_right = right, left, at_left
                left = high - GOLDEN * (high - low)
                at_left = self.at(math.exp(left))
            else:
                low, left, at_left = left, right, at_right
                right = low + GOLDEN * (high - low)
                at_right = self.at(math.exp(right))
        return max(at_left, at_right, 0.0)
