"""Which mapping every layer gets where nobody names one, and what each of them needs."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

from rankfold.cost.homes import held_by, stored_once
from rankfold.cost.kinds import AnyMapping, cost_of
from rankfold.cost.planned import (
    Masks,
    array_mapping,
    bits_of,
    busiest,
    drives,
    input_slices,
    planned_mapping,
)
from rankfold.mapping import ArraySpec
from rankfold.mapping.front import undominated, windows_worth_trying
from rankfold.mapping.names import window_name
from rankfold.plan import DenseLayer, LayerPlan, Plan
from rankfold.workload import ConvShape, Network

AUTO = "auto"  # the rule below, where a mapping is asked for
MOST_ARRAYS = 4  # times the arrays of the dense layer under im2col


@dataclass(frozen=True)
class MappingOption:
    """One way to lay a layer on the arrays.

    Attributes:
        mapping: its name.
        cycles: activations of arrays per image, over all runs of the layer: with slices of the inputs and
            turns of the rows where the array says what is driven at once, else with whole vectors.
        arrays: stored tiles, each on an array of its own.
        time: activations of the busiest tile of each stage, added up over stages and runs: how long the layer
            takes where all its tiles work side by side.
        whole_cycles: activations with whole vectors where a cell holds a whole weight, as papers count.
        laid_out: each run of the layer on the arrays.
    """

    mapping: str
    cycles: int
    arrays: int
    time: int
    whole_cycles: int
    laid_out: tuple[AnyMapping, ...] = field(compare=False, repr=False)

    @cached_property
    def held(self) -> dict[Hashable, int]:
        """What arrays hold of the layer, by stage and contents, and how many of them do.

        Layers that share a parameter and become one kind run on the same arrays where these agree, whatever
        their planes; see `StoredMatrix.contents`. Found when asked for, which only layers that share one do.
        """
        arrays: dict[Hashable, int] = {}
        for run in self.laid_out:
            for number, stage in enumerate(run.stages):
                arrays[number, held_by(stage)] = stage.tile_count
        return arrays


def mapping_options(
    runs: Sequence[ConvShape], array: ArraySpec, entry: LayerPlan, mask: np.ndarray | None = None
) -> tuple[MappingOption, ...]:
    """What the layer needs under every mapping that its kind can have, in the order of the kind.

    Args:
        runs: the convolutions that use the weight, at least one.
        array: R x C, with cells and DACs where they are known.
        entry: what the plan says of the layer.
        mask: the weights that a pattern-pruned layer keeps.

    Raises:
        InputError: the array holds no weight of the layer, or what the layer keeps is not known.
    """
    options = []
    for mapping in entry.kind.mappings:
        options.append(mapping_option(runs, array, replace(entry, mapping=mapping), mask))
    return tuple(options)


def mapping_option(
    runs: Sequence[ConvShape], array: ArraySpec, entry: LayerPlan, mask: np.ndarray | None
) -> MappingOption:
    """What the layer needs under the mapping of its entry; arguments as `mapping_options`."""
    cycles = time = whole_cycles = 0
    whole = ArraySpec(array.rows, array.columns)
    mapped = tuple(array_mapping(shape, array, entry, mask) for shape in runs)
    for shape, mapping in zip(runs, mapped, strict=True):
        whole_cycles += planned_mapping(shape, whole, entry, mask).cycles
        for stage, slices in zip(mapping.stages, input_slices(shape, array, entry), strict=True):
            cycles += drives(stage, array) * slices
            time += busiest(stage, array) * slices
    arrays = sum(stage.tile_count for stage in stored_once(mapped))
    return MappingOption(entry.mapping, cycles, arrays, time, whole_cycles, mapped)


def choose_mapping(runs: Sequence[ConvShape], array: ArraySpec, entry: LayerPlan) -> str:
    """The mapping of a layer where nobody names one.

    Some kinds have one of their own (`KindCost.own_mapping`). Else, of all mappings that need at most
    `MOST_ARRAYS` times as many arrays as the layer does dense under im2col, the one under which the layer
    takes the least time with all its tiles side by side; of equal ones that of the fewest cycles, then of the
    fewest arrays, then, as narrow arrays leave no choice, of the fewest cycles as papers count them. Where
    none keeps to that, the one of the fewest arrays.

    Args:
        runs: the convolutions that use the weight, at least one.
        array: R x C, with cells and DACs where they are known.
        entry: what the plan says of the layer.

    Raises:
        InputError: the array holds no weight of the layer.
    """
    own = cost_of(entry.kind).own_mapping
    if own is not None:
        return own
    plain = replace(entry, kind=DenseLayer(), mapping="im2col")
    most = MOST_ARRAYS * mapping_option(runs, array, plain, None).arrays
    options = mapping_options(runs, array, entry)
    within = [option for option in options if option.arrays <= most]
    if not within:
        return min(options, key=lambda option: (option.arrays, option.time)).mapping
    return min(within, key=_worth).mapping


def _worth(option: MappingOption) -> tuple[int, int, int, int]:
    return option.time, option.cycles, option.arrays, option.whole_cycles


def chosen_on(network: Network, plan: Plan, counted: Plan) -> Plan:
    """The plan with every layer's mapping chosen by the rule of `choose_mapping`.

    Args:
        network: the network.
        plan: its plan.
        counted: the same plan with the array and the bits that arrays and time are counted with.

    Raises:
        InputError: the array holds no weight of a layer.
    """
    runs = runs_by_weight(network)
    layers = []
    for layer in plan.layers:
        entry = counted.layer(layer.name)
        mapping = choose_mapping(runs[layer.name], counted.array, entry)
        layers.append(replace(layer, mapping=mapping))
    return replace(plan, layers=tuple(layers))


def window_options(
    runs: Sequence[ConvShape], array: ArraySpec, entry: LayerPlan, mask: np.ndarray | None = None
) -> tuple[MappingOption, ...]:
    """The windows that a plan may name for a layer and no other one is as good as, over all its runs.

    In cycles, arrays, and cycles as papers count them. Exact over all windows of the planes: of those
    that need the same positions on each of them only the smallest is tried (see `mapping.front`). None for
    kinds of several matrices, or on supports, which have theirs by `sdk`.

    Args:
        runs: the convolutions that use the weight, at least one.
        array: R x C, with cells where they are known.
        entry: what the plan says of the layer.
        mask: the weights that a pattern-pruned layer keeps.

    Raises:
        InputError: the array holds no weight of the layer.
    """
    if entry.kind.windows != 1 or entry.kind.shares_support:
        return ()
    in_weights = array
    if array.cell_bits is not None:
        in_weights = array.in_weights(bits_of(runs[0], entry)[0])
    options = []
    for window in windows_worth_trying([shape.output for shape in runs], in_weights.columns):
        options.append(mapping_option(runs, array, replace(entry, mapping=window_name([window])), mask))
    costs = np.array([(one.cycles, one.arrays, one.whole_cycles) for one in options], float)
    return tuple(options[index] for index in undominated(costs))


def options_by_weight(network: Network, plan: Plan, masks: Masks) -> dict[str, tuple[MappingOption, ...]]:
    """What every layer of a plan needs under each of its mappings, and under windows of its own.

    Args:
        network: the network.
        plan: its plan, with the array and the bits that arrays and cycles are counted with.
        masks: the weights that pattern-pruned layers keep, see `load_masks`.

    Raises:
        InputError: as `mapping_options`.
    """
    options = {}
    for name, runs in runs_by_weight(network).items():
        entry, mask = plan.layer(name), masks.get(name)
        of_layer = list(mapping_options(runs, plan.array, entry, mask))
        of_layer.extend(window_options(runs, plan.array, entry, mask))
        options[name] = tuple(of_layer)
    return options


def runs_by_weight(network: Network) -> dict[str, tuple[ConvShape, ...]]:
    """The layers that use each weight, in the order of the network."""
    runs: dict[str, tuple[ConvShape, ...]] = {}
    for shape in network.layers:
        runs[shape.weight] = (*runs.get(shape.weight, ()), shape)
    return runs
