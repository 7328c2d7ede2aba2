"""The mapping of every layer as it suits a number of arrays: the shortest interval, exactly.

For an interval of t activations a tile of n activations needs ceil(n / t) copies, so that a layer needs the
fewest arrays that any of its mappings does, sum over tiles of ceil(n / t), and the chip keeps the interval
exactly where these add up to no more than it has. They fall as t rises, so that the least t is found by
halving.

What is to be small may be energy, of which conversions are most: then, for an interval, each layer takes the
mapping of the least conversions + p times its arrays, with p the least price of an array at which all fit.
At a price of its own this is the best choice (Everett 1963); what is left of the arrays is the gap.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from rankfold.cost.choice import (
    MappingOption,
    mapping_option,
    mapping_options,
    runs_by_weight,
    window_options,
)
from rankfold.cost.makespan import Load, least_time
from rankfold.cost.planned import Masks
from rankfold.cost.stored import StageRun, StoredStage, runs_of_weight, stored_stages
from rankfold.errors import InputError
from rankfold.mapping import MAPPINGS, ArraySpec
from rankfold.plan import LayerPlan, Plan
from rankfold.workload import ConvShape, Network

PRICED = 1e-3  # to which the price of an array is found


@dataclass(frozen=True)
class _Option:
    """One mapping of a layer: (tiles, activations of each) of all its stored matrices, and columns that are
    converted for an image.
    """

    mapping: str
    loads: tuple[Load, ...]
    cycles: int
    conversions: int

    @property
    def slowest(self) -> int:
        """Activations of its busiest tile."""
        return max((times for _, times in self.loads), default=1)


class _Needs:
    """Arrays that every option of every layer needs for an interval, all at once.

    Args:
        options: those of each layer; each layer has one at least, and each option a load.
    """

    def __init__(self, options: Iterable[list[_Option]]) -> None:
        layers = list(options)
        each = [option for layer in layers for option in layer]
        # A layer of which nothing is stored needs no arrays.
        loads = [option.loads or ((0, 1),) for option in each]
        self._tiles, self._times = np.array([load for of_option in loads for load in of_option]).T
        self._slowest = np.array([option.slowest for option in each])
        counts = [len(of_option) for of_option in loads]
        self._first_loads = np.cumsum([0, *counts[:-1]])
        self._counts = np.array(counts)
        self._counts_of_layers = np.array([len(layer) for layer in layers])
        self._first_options = np.cumsum([0, *self._counts_of_layers[:-1]])

    @property
    def longest(self) -> int:
        """Activations of the busiest tile of any option."""
        return int(self._slowest.max())

    def of_options(self, interval: int | None) -> np.ndarray:
        """(options,) for each option; None: with one copy of each of its tiles."""
        kept: int | np.ndarray = interval or np.repeat(np.maximum(self._slowest, 1), self._counts)
        return np.asarray(np.add.reduceat(self._tiles * -(-self._times // kept), self._first_loads))

    def of_all(self, interval: int | None) -> int:
        """With the best option of each layer."""
        return int(np.minimum.reduceat(self.of_options(interval), self._first_options).sum())

    def of_cheapest(self, worth: np.ndarray, needed: np.ndarray) -> int:
        """Arrays of the options that are worth least, of equal ones those that need fewest.

        Args:
            worth: (options,) of each.
            needed: (options,) arrays of each.
        """
        layer = np.repeat(np.arange(len(self._counts_of_layers)), self._counts_of_layers)
        order = np.lexsort((needed, worth, layer))
        return int(needed[order[self._first_options]].sum())


@dataclass(frozen=True)
class SimplePlan:
    """A plan that chooses nothing layer by layer.

    Attributes:
        plan: the plan.
        loads: (tiles, activations of each) of all its stored matrices.
    """

    plan: Plan
    loads: tuple[Load, ...]

    @property
    def fewest(self) -> int:
        """Arrays without which its weights cannot stay."""
        return sum(tiles for tiles, _ in self.loads)

    def interval(self, arrays: int) -> int:
        """The least activations between two images on so many arrays, no fewer than `fewest`."""
        return least_time(self.loads, arrays)


class ChipMappings:
    """What every layer needs under each of its mappings, for any number of arrays.

    Layers whose weight runs several times, or is that of another layer, keep the mapping of the plan, and
    share arrays where these hold it alike.

    Args:
        network: the network.
        plan: its plan, with cells, DACs and bits, see `energy.precise_plan`.
        masks: the weights that pattern-pruned layers keep, see `load_masks`.
        free: whether layers may have other mappings than the plan's.
    """

    def __init__(self, network: Network, plan: Plan, masks: Masks, *, free: bool) -> None:
        self._plan = plan
        self._choices: dict[str, list[_Option]] = {}
        uses = Counter(run.stored for run in network.layers)
        weights = runs_by_weight(network)
        kept = _kept(plan, masks, [own for own in weights.values() if not free or uses[own[0].stored] > 1])
        for name, own in weights.items():
            if name in kept:
                self._choices[name] = [kept[name]]
            else:
                self._choices[name] = _options(own, plan.array, plan.layer(name), masks.get(name))
        self._needs = _Needs(self._choices.values()) if self._choices else None

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
        low, high = 1, 1
        if self._needs is not None:
            high = self._needs.longest
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
        if self._needs is None:
            return self._plan
        needed = self._needs.of_options(interval)
        return self._with([(int(own), one.cycles) for own, one in zip(needed, self._options, strict=True)])

    def frugal(self, arrays: int, interval: int) -> tuple[Plan, int]:
        """The plan with the mappings of few conversions with which all layers keep an interval, and the
        arrays that they then need.

        Args:
            arrays: at most so many.
            interval: in activations, no less than `interval(arrays)`.
        """
        if self._needs is None:
            return self._plan, 0
        needed = self._needs.of_options(interval)
        conversions = np.array([one.conversions for one in self._options], float)
        free, dear = 0.0, float(conversions.max() + 1)
        if self._needs.of_cheapest(conversions, needed) <= arrays:
            dear = 0.0
        while dear - free > PRICED * dear:
            price = (free + dear) / 2
            if self._needs.of_cheapest(conversions + price * needed, needed) <= arrays:
                dear = price
            else:
                free = price
        worth = conversions + dear * needed
        plan = self._with([(float(own), int(held)) for own, held in zip(worth, needed, strict=True)])
        return plan, self._needs.of_cheapest(worth, needed)

    @cached_property
    def simple(self) -> tuple[SimplePlan, ...]:
        """Plans that choose nothing layer by layer: the plan as it is, and with one of `MAPPINGS` for every
        layer that can have it; of those that store the same tiles for the same activations the first.
        """
        found: dict[tuple[tuple[Load, ...], ...], SimplePlan] = {}
        for name in (None, *MAPPINGS):
            # The first option of a layer is that of the plan.
            chosen = {}
            for layer, options in self._choices.items():
                chosen[layer] = next((one for one in options if one.mapping == name), options[0])
            loads = tuple(one.loads for one in chosen.values())
            plan = self._mapped({layer: one.mapping for layer, one in chosen.items()})
            found.setdefault(loads, SimplePlan(plan, tuple(load for own in loads for load in own)))
        return tuple(found.values())

    @cached_property
    def _options(self) -> list[_Option]:
        """Those of all layers, one after another."""
        return [option for options in self._choices.values() for option in options]

    def _with(self, worths: list[tuple[float, int]]) -> Plan:
        """The plan with the option of each layer that is worth least."""
        chosen, first = {}, 0
        for name, options in self._choices.items():
            own = zip(worths[first : first + len(options)], options, strict=True)
            chosen[name] = min(own, key=lambda one: one[0])[1].mapping
            first += len(options)
        return self._mapped(chosen)

    def _mapped(self, chosen: Mapping[str, str]) -> Plan:
        """The plan with mappings by layer; others keep theirs."""
        layers = []
        for layer in self._plan.layers:
            layers.append(replace(layer, mapping=chosen.get(layer.name, layer.mapping)))
        return replace(self._plan, layers=tuple(layers))

    def _needed(self, interval: int | None) -> int:
        """The fewest arrays with which all layers keep an interval; None: any."""
        if self._needs is None:
            return 0
        return self._needs.of_all(interval)


def _options(
    runs: Sequence[ConvShape], array: ArraySpec, entry: LayerPlan, mask: np.ndarray | None
) -> list[_Option]:
    """Every mapping of a layer, that of the plan first."""
    options = {entry.mapping: mapping_option(runs, array, entry, mask)}
    others = (*mapping_options(runs, array, entry, mask), *window_options(runs, array, entry, mask))
    options |= {other.mapping: other for other in others}
    found = []
    for option in options.values():
        laid_out = runs_of_weight(runs, option.laid_out, array, entry)
        stages = stored_stages((entry.name,) * len(runs), laid_out, array)
        found.append(_option(option, laid_out, stages))
    return found


def _kept(plan: Plan, masks: Masks, weights: Sequence[Sequence[ConvShape]]) -> dict[str, _Option]:
    """The mapping that the plan gives each of some weights; those of one parameter share arrays.

    What these share is told of the first of them, by whose name the parameter goes.

    Args:
        plan: the plan.
        masks: the weights that pattern-pruned layers keep.
        weights: the runs of each.
    """
    options, laid_out = {}, {}
    for own in weights:
        entry = plan.layer(own[0].weight)
        option = mapping_option(own, plan.array, entry, masks.get(entry.name))
        options[entry.name] = option
        laid_out[entry.name] = runs_of_weight(own, option.laid_out, plan.array, entry)
    parameters = [run.stored for own in weights for run in own]
    stages: dict[str, list[StoredStage]] = {}
    for stage in stored_stages(parameters, [run for runs in laid_out.values() for run in runs], plan.array):
        stages.setdefault(stage.name, []).append(stage)
    return {name: _option(option, laid_out[name], stages.get(name, ())) for name, option in options.items()}


def _option(
    option: MappingOption, runs: Sequence[Sequence[StageRun]], stages: Iterable[StoredStage]
) -> _Option:
    """One mapping of a layer, which runs so and has these on arrays."""
    loads = tuple(load for stage in stages for load in stage.loads)
    conversions = sum(stage.mapping.conversions * stage.slices for run in runs for stage in run)
    return _Option(option.mapping, loads, option.cycles, conversions)
