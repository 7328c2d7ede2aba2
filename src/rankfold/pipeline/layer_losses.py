"""What each layer of a network may become, with its costs and the loss predicted from calibration data."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np
from torch import nn

from rankfold.lowrank import decompose_for_data, nested_supports, reconstruct, refit, shared_supports
from rankfold.nn.moments import PatchMoments
from rankfold.nn.sensitivity import LayerSensitivity, predicted_loss
from rankfold.plan import DENSE, LayerPlan, text_to_support
from rankfold.planner import ENERGY, LayerChoices, pareto, without_hopeless
from rankfold.planner.costing import Costing
from rankfold.planner.entries import LayerSlot, layer_entries


def layer_choices(
    slots: Sequence[LayerSlot],
    model: nn.Module,
    sensitivities: Mapping[str, LayerSensitivity],
    moments: Mapping[str, PatchMoments],
    costing: Costing,
    budgeted: Sequence[str],
    done: Callable[[str], None],
) -> tuple[LayerChoices, ...]:
    """The candidates of every layer that an optimum may need, with their losses.

    Args:
        slots: the layers.
        model: the dense network.
        sensitivities: of the layers that may be compressed.
        moments: of their inputs, those that the factors are made for.
        costing: prices what they may become.
        budgeted: the quantities that budgets are kept on, or that are to be small.
        done: hears of each layer that is ready.
    """
    found = []
    for slot in slots:
        name = slot.entry.name
        dense = costing.candidate(slot.entry, ENERGY in budgeted)
        if slot.why_dense:
            entries = layer_entries(slot, {})
            candidates = pareto([costing.candidate(entry, ENERGY in budgeted) for entry in entries], budgeted)
        else:
            weight = model.get_submodule(name).weight
            assert isinstance(weight, nn.Parameter)
            layer = _Layer(slot, weight.detach().cpu().double().numpy(), moments[name], sensitivities[name])
            every = [costing.candidate(entry, ENERGY in budgeted) for entry in layer_entries(slot, layer.families)]
            left = without_hopeless(every, budgeted)
            candidates = pareto([replace(one, loss=layer.loss(one.entry)) for one in left], budgeted)
        found.append(LayerChoices(slot.shape, dense, candidates, slot.why_dense))
        done(name)
    return tuple(found)


class _Layer:
    """One layer that may be compressed: replaced as its entries say, each structure once."""

    def __init__(self, slot: LayerSlot, weight: np.ndarray, moments: PatchMoments, sensitivity: LayerSensitivity) -> None:
        self._shape, self._weight, self._moments, self._sensitivity = slot.shape, weight, moments, sensitivity
        self._losses: dict[tuple[int | None, int | None, str | None], float] = {(None, None, None): 0.0}
        groups = slot.shape.groups
        self.families = (
            {how.__name__: how(weight, groups, moments.second) for how in (nested_supports, shared_supports)}
            if slot.spatial
            else {}
        )

    def loss(self, entry: LayerPlan) -> float:
        """The predicted loss of an entry."""
        key = entry.groups, entry.rank, entry.support
        if entry.kind != DENSE and key not in self._losses:
            self._losses[key] = predicted_loss(self._weight, self._replacement(entry), self._sensitivity)
        return self._losses[key]

    def _replacement(self, entry: LayerPlan) -> np.ndarray:
        groups, second = self._shape.groups, self._moments.second
        support = None if entry.support is None else text_to_support(entry.support, self._shape)
        if entry.groups is None or entry.rank is None:
            assert support is not None  # every layer that is neither dense nor low-rank has one here
            return refit(self._weight, groups, second, support)
        factors = decompose_for_data(self._weight, groups, entry.groups, entry.rank, second, support=support)
        return reconstruct(factors, groups, entry.groups)
