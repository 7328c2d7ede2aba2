"""The mapping of every layer as it suits a number of arrays: the shortest interval, exactly.

For an interval of t activations a tile of n activations needs ceil(n / t) copies, so that a layer needs the
fewest arrays that any of its mappings does, sum over tiles of ceil(n / t), and the chip keeps the interval
exactly where these add up to no more than it has. They fall as t rises, so that the least t is found by
halving.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from rankfold.cost.choice import MappingOption, options_by_weight, runs_by_weight
from rankfold.cost.makespan import Load
from rankfold.cost.planned import Masks, bits_of
from rankfold.cost.stored import stored_stage
from rankfold.errors import InputError
from rankfold.plan import LayerPlan, Plan
from rankfold.workload import Network


@dataclass(frozen=True)
class _Option:
    """One mapping of a layer: (tiles, activations of each) of all its stored matrices."""

    mapping: str
    loads: tuple[Load, ...]
    cycles: int

    @property
    def slowest(self) -> int:
        """Activations of its busiest tile."""
        return max((times for _, times in self.loads), default=1)

    def arrays(self, interval: int) -> int:
        """Arrays with which it keeps an interval."""
        return sum(tiles * -(-times // interval) for tiles, times in self.loads)


class ChipMappings:
    """What every layer needs under each of its mappings, for any number of arrays.

    Layers whose weight runs several times, or is that of another layer, keep the mapping of the plan.

    Args:
        network: the network.
        plan: its plan, with cells, DACs and bits, see `energy.precise_plan`.
        masks: the weights that pattern-pruned layers keep, see `load_masks`.
        free: whether layers may have other mappings than the plan's.
    """

    def __init__(self, network: Network, plan: Plan, masks: Masks, *, free: bool) -> None:
        self._plan = plan
        self._choices: dict[str, list[_Option]] = {}
        runs = runs_by_weight(network)
        for name, options in options_by_weight(network, plan, masks).items():
            entry = plan.layer(name)
            if not free or len(runs[name]) > 1 or any(shape.shares for shape in runs[name]):
                # A plan may name windows that are none of the options.
                options = tuple(one for one in options if one.mapping == entry.mapping)
            self._choices[name] = [_option(plan, entry, option, len(runs[name])) for option in options]

    @property
    def fewest(self) -> int:
        """Arrays without which weights cannot stay."""
        return self._needed(None)

    def interval(self, arrays: int) -> int:
        """The least activations between two images on so many arrays.

        Raises:
            InputError: weights cannot stay on so few.
        """
        if self.fewest > arrays:
            raise InputError(
                f"the network needs {self.fewest:,} arrays for its weights to stay, and the chip has "
                f"{arrays:,}"
            )
        low = 1
        high = max((one.slowest for options in self._choices.values() for one in options), default=1)
        while low < high:
            middle = (low + high) // 2
            if self._needed(middle) <= arrays:
                high = middle
            else:
                low = middle + 1
        return low

    def plan(self, arrays: int) -> Plan:
        """The plan with the mappings of that interval; of those that need equally few arrays for it, the ones
        of the fewest activations.

        Raises:
            InputError: as `interval`.
        """
        interval = self.interval(arrays)
        layers = []
        for layer in self._plan.layers:
            options = self._choices.get(layer.name, [])
            if options:
                best = min(options, key=lambda one: (one.arrays(interval), one.cycles))
                layer = replace(layer, mapping=best.mapping)
            layers.append(layer)
        return replace(self._plan, layers=tuple(layers))

    def _needed(self, interval: int | None) -> int:
        """The fewest arrays with which all layers keep an interval; None: any."""
        needed = 0
        for options in self._choices.values():
            if options:
                needed += min(one.arrays(interval or max(one.slowest, 1)) for one in options)
        return needed


def _option(plan: Plan, entry: LayerPlan, option: MappingOption, runs: int) -> _Option:
    stages = option.laid_out.stages
    loads: list[Load] = []
    if stages:
        weight_bits, input_bits = bits_of(stages[0].shape, entry)
        slices = plan.array.cycles_per_vector(input_bits)
        wide = plan.array.columns_per_weight(weight_bits)
        for stage in stages:
            stored = stored_stage(stage, plan.array, slices, wide)
            loads += [(tiles, times * runs) for tiles, times in stored.loads]
    return _Option(option.mapping, tuple(loads), option.cycles)
