"""ALDS: groups and ranks of all layers so that the largest relative error is least within a budget.

Liebenwein, Maalouf, Feldman & Rus, "Compressing Neural Networks: Towards Determining the Optimal Layer-wise
Decomposition" (NeurIPS 2021). A layer's weight W (m x n) is split by input channels into g blocks, each of
which keeps r of its singular values. What is lost is the layer's relative error in the operator norm,

    error(g, r) = max over the blocks W_k of  sigma_(r+1)(W_k) / sigma_1(W),

and the layers' (g, r) are chosen so that the largest error of any layer is least. They do it by a heuristic,
within a budget of weights; here the budget is of cycles on arrays, and the choice is exact:

For a threshold t every layer takes its cheapest setting whose error is at most t. No choice whose largest
error is at most t needs fewer cycles, as each layer alone could not; so t is feasible if and only if these
settings fit the budget. Feasibility only grows with t, and the least feasible t is one of the errors of the
settings: a bisection over them finds it.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import cast

import numpy as np
from torch import nn

from rankfold.arguments import SWITCH, Wanted, takes
from rankfold.cost import planned_mapping
from rankfold.errors import InputError
from rankfold.lowrank import full_rank
from rankfold.machine import Hardware
from rankfold.machine.hardware import HARDWARE
from rankfold.mapping import LOW_RANK_METHODS, ArraySpec, map_low_rank
from rankfold.models.device import MODEL
from rankfold.plan import DenseLayer, LayerPlan, LowRankLayer, Plan
from rankfold.plan.uniform import Bits
from rankfold.planning.exact import CYCLES, Budget
from rankfold.planning.exact.slots import LayerSlot, layer_slots
from rankfold.surgery.by_weights import called_as_functions
from rankfold.workload import ConvShape, Network
from rankfold.workload.network import NETWORK


@dataclass(frozen=True)
class LayerSetting:
    """One thing that a layer may become.

    Attributes:
        entry: what the plan says of it then.
        cycles: per image, over all runs of the layer.
        error: relative error of its weight in the operator norm, 0 where it stays as it is.
    """

    entry: LayerPlan
    cycles: int
    error: float


@dataclass(frozen=True)
class Allocation:
    """A plan whose largest relative error is least within a budget.

    Attributes:
        plan: it.
        chosen: the setting of each layer, in the plan's order.
        dense: each layer kept, with its best mapping.
        budget: the most cycles.
    """

    plan: Plan
    chosen: tuple[LayerSetting, ...]
    dense: tuple[LayerSetting, ...]
    budget: float

    @property
    def cycles(self) -> int:
        """Per image, of all convolutions."""
        return sum(setting.cycles for setting in self.chosen)

    @property
    def dense_cycles(self) -> int:
        """Per image, of the dense network."""
        return sum(setting.cycles for setting in self.dense)

    @property
    def error(self) -> float:
        """The largest relative error of any layer."""
        return max(setting.error for setting in self.chosen)


@takes(
    model=MODEL,
    network=NETWORK,
    array=HARDWARE,
    budget=Wanted("a Budget, such as Budget.parse('cycles', '60%')", Budget),
    pointwise=SWITCH,
)
def alds_plan(
    model: nn.Module,
    network: Network,
    array: ArraySpec | Hardware,
    budget: Budget,
    *,
    bits: Bits = 4,
    mapping: str = "sdk",
    pointwise: bool = False,
) -> Allocation:
    """Give every layer groups and a rank, or leave it dense, by the allocation of ALDS.

    Every number of groups that divides a layer's input channels is tried with every rank. What the network's
    inputs are makes no difference; its factors are those of an SVD (`compress_(model, plan)` without data).

    Args:
        model: the dense network with its trained weights; it stays as it is.
        network: its trace.
        array: R x C, or the hardware.
        budget: the most cycles.
        bits: of weights and inputs, or (of weights, of inputs); None for float.
        mapping: of the low-rank pairs, one of `LOW_RANK_METHODS`; dense layers have their best mapping.
        pointwise: whether 1x1 convolutions may become low-rank.

    Raises:
        InputError: the budget is not of cycles, or cannot be kept; the message says what can be.
    """
    if budget.quantity != CYCLES:
        raise InputError(f"the allocation of ALDS keeps a budget of cycles, not of {budget.quantity}")
    if mapping not in LOW_RANK_METHODS:
        raise InputError(
            f"mapping of low-rank pairs (={mapping}) must be one of {', '.join(LOW_RANK_METHODS)}"
        )
    spec = array
    if isinstance(spec, Hardware):
        spec = spec.array
    slots = layer_slots(network, spec, bits, pointwise=pointwise)
    dense_plan = Plan.of(network, spec, [slot.entry for slot in slots])
    functions = called_as_functions(model, dense_plan)
    settings = []
    for slot in slots:
        runs = tuple(shape for shape in network.convolutions if shape.weight == slot.name)
        options = [LayerSetting(slot.entry, _cycles(runs, spec, slot.entry), 0.0)]
        if not slot.why_dense and slot.name not in functions:
            weight = cast(nn.Conv2d, model.get_submodule(slot.name)).weight
            values = weight.detach().cpu().double().numpy()  # (m, C_in/G, kh, kw)
            options += _low_rank_settings(slot, runs, values, spec, mapping)
        settings.append(options)
    dense = tuple(options[0] for options in settings)
    limit = budget.limit(sum(setting.cycles for setting in dense))
    chosen = least_largest_error(settings, limit)
    layers = [_explained(slot, setting) for slot, setting in zip(slots, chosen, strict=True)]
    return Allocation(Plan.of(network, array, layers), chosen, dense, limit)


def least_largest_error(settings: Sequence[Sequence[LayerSetting]], limit: float) -> tuple[LayerSetting, ...]:
    """One setting for each layer, so that the largest error is least within `limit` cycles.

    Args:
        settings: those of each layer, at least one.
        limit: the most cycles of all layers.

    Returns:
        The cheapest settings within the least largest error; of equally cheap ones that of the least error.

    Raises:
        InputError: not even the cheapest ones fit.
    """
    errors = sorted({setting.error for options in settings for setting in options})
    # Below the smallest error of some layer there is no setting for it.
    first = bisect_left(errors, max(min(setting.error for setting in options) for options in settings))
    errors = errors[first:]
    low, high = 0, len(errors) - 1
    least = sum(setting.cycles for setting in _cheapest(settings, errors[high]))
    if least > limit:
        raise InputError(
            f"no groups and ranks need {limit:,.0f} cycles or fewer; the least that any need is {least:,}"
        )
    while low < high:
        middle = (low + high) // 2
        if sum(setting.cycles for setting in _cheapest(settings, errors[middle])) <= limit:
            high = middle
        else:
            low = middle + 1
    return _cheapest(settings, errors[low])


def _cheapest(settings: Sequence[Sequence[LayerSetting]], most: float) -> tuple[LayerSetting, ...]:
    """Each layer's cheapest setting with an error of at most `most`."""
    chosen = []
    for options in settings:
        within = [setting for setting in options if setting.error <= most]
        chosen.append(min(within, key=lambda setting: (setting.cycles, setting.error)))
    return tuple(chosen)


def relative_errors(weight: np.ndarray, conv_groups: int, groups: int) -> np.ndarray:
    """The relative errors of a weight whose blocks keep 1, 2, ... of their singular values.

    Args:
        weight: (m, C_in/G, kh, kw).
        conv_groups: G.
        groups: g, blocks of input channels in each of the G groups.

    Returns:
        (q,) max over blocks of sigma_(r+1) / max over the G groups of sigma_1, for r = 1 ... q, the full rank
        of a block; 0 where the weight is.
    """
    outputs = len(weight) // conv_groups
    matrices = weight.reshape(conv_groups, outputs, -1)  # (G, m/G, n)
    largest = float(np.linalg.norm(matrices, ord=2, axis=(1, 2)).max())
    blocks = matrices.reshape(conv_groups, outputs, groups, -1).swapaxes(1, 2)  # (G, g, m/G, n/g)
    values = np.linalg.svd(blocks, compute_uv=False)  # (G, g, q)
    dropped = np.append(values.max(axis=(0, 1))[1:], 0.0)
    if not largest:
        return np.zeros_like(dropped)
    return np.asarray(dropped / largest)


def _low_rank_settings(
    slot: LayerSlot,
    runs: Sequence[ConvShape],
    weight: np.ndarray,
    array: ArraySpec,
    mapping: str,
) -> Iterator[LayerSetting]:
    """Every (g, r) of a layer; of each g only ranks that no larger one makes as cheap."""
    shape = slot.shape
    channels = shape.in_channels // shape.groups
    for groups in range(1, channels + 1):
        if channels % groups:
            continue
        errors = relative_errors(weight, shape.groups, groups)
        fewest: int | None = None
        # From the largest rank down: a smaller one has no smaller error, and must save cycles for it.
        for rank in range(full_rank(shape, groups), 0, -1):
            cycles = sum(_pair_cycles(run.anonymous, array, groups, rank, mapping) for run in runs)
            if fewest is None or cycles < fewest:
                fewest = cycles
                entry = replace(slot.entry, kind=LowRankLayer(groups, rank), mapping=mapping)
                yield LayerSetting(entry, cycles, float(errors[rank - 1]))


# Many layers of a network have one shape.
@lru_cache(maxsize=1 << 15)
def _pair_cycles(shape: ConvShape, array: ArraySpec, groups: int, rank: int, mapping: str) -> int:
    return map_low_rank(shape, array, groups, rank, mapping).cycles


def _cycles(runs: Sequence[ConvShape], array: ArraySpec, entry: LayerPlan) -> int:
    """Cycles of a layer over its runs, with a weight in a cell; 0 for a fully connected one."""
    return sum(planned_mapping(shape, array, entry).cycles for shape in runs)


def _explained(slot: LayerSlot, setting: LayerSetting) -> LayerPlan:
    """The entry with its reason in words."""
    if slot.why_dense:
        return setting.entry
    reason = f"ALDS: relative error {setting.error:.3f}"
    if isinstance(setting.entry.kind, DenseLayer):
        reason = "ALDS: nothing within the largest error needs fewer cycles"
    return replace(setting.entry, reason=reason)
