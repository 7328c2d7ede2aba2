"""Layers whose candidates depend on each other, joined so that fronts can take them for one.

A layer whose values reach the outputs through another one alone (`Candidate.needs`) costs and loses nothing
where that one is idle, as its kind says (`LayerKind.computes`). This is one more constraint of the exact
choice, x_lc <= sum over idle c' of x_l'c'. A front merges layers one by one, so it is given what linked
layers may be together: all their allowed products, of which those go that another one of the same links is
as good as.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from rankfold.planning.exact.candidate import LOSS, Candidates, Choices, LayerChoices, is_largest
from rankfold.planning.exact.merge_two import undominated_of_three

NOTHING = -1  # that a candidate needs


def with_dependents(choices: Sequence[LayerChoices], behind: Mapping[str, str]) -> tuple[LayerChoices, ...]:
    """The choices, where layers may also be idle because the one behind them is, which loses nothing more.

    Args:
        choices: of each layer.
        behind: for layers whose values reach the outputs through another layer alone, that one.
    """
    known = {layer.name: layer for layer in choices}
    found = []
    for layer in choices:
        other = known.get(behind.get(layer.name, ""))
        idle = [one for one in layer.candidates if one.idle]
        # What loses nothing by itself needs no condition.
        loses = bool(idle) and idle[0].loss > 0
        if other is not None and loses and any(one.idle for one in other.candidates):
            dependent = replace(idle[0], loss=0.0, needs=other.name)
            layer = replace(layer, candidates=(*layer.candidates, dependent))
        found.append(layer)
    return tuple(found)


@dataclass(frozen=True, eq=False)
class Unit:
    """Layers that are chosen together, mostly one.

    Attributes:
        layers: their numbers.
        picks: (K, layers) the candidates that they may have together.
        amounts: (K, Q) what these come to, in each of the quantities asked for.
    """

    layers: tuple[int, ...]
    picks: np.ndarray
    amounts: np.ndarray


def units(choices: Choices, quantities: Sequence[str]) -> list[Unit]:
    """All layers, those that depend on each other together, in the order of the first of each.

    Args:
        choices: the candidates of each layer.
        quantities: one or two, and the loss at last.
    """
    assert quantities[-1] == LOSS and len(quantities) in (2, 3)  # what fronts and surfaces ask for
    needs = _needs(choices)
    together: dict[int, set[int]] = {number: {number} for number in range(len(choices))}
    for number, of_layer in enumerate(needs):
        for other in set(of_layer.tolist()) - {NOTHING}:
            joined = together[number] | together[other]
            together.update(dict.fromkeys(joined, joined))
    firsts = [number for number in range(len(choices)) if number == min(together[number])]
    return [_Joining(choices, needs, quantities).unit(sorted(together[first])) for first in firsts]


def spread(picks: np.ndarray, found: Sequence[Unit]) -> np.ndarray:
    """(P, L) the candidate of each layer, from the choice (P, U) of each unit."""
    layers = sum(len(unit.layers) for unit in found)
    whole = np.empty((len(picks), layers), picks.dtype)
    for unit, of_unit in zip(found, picks.T, strict=True):
        whole[:, list(unit.layers)] = unit.picks[of_unit]
    return whole


def _needs(choices: Choices) -> list[np.ndarray]:
    """For each layer, (C,) the number of the layer that each candidate needs to be idle."""
    numbers = {layer[0].entry.name: number for number, layer in enumerate(choices)}
    return [np.array([numbers[one.needs] if one.needs else NOTHING for one in layer]) for layer in choices]


@dataclass(frozen=True, eq=False)
class _Joining:
    """Joins layers.

    Attributes:
        choices: of all layers.
        needs: see `_needs`.
        quantities: that count.
    """

    choices: Choices
    needs: Sequence[np.ndarray]
    quantities: Sequence[str]

    def unit(self, layers: Sequence[int]) -> Unit:
        """What some layers may be together; of one layer, all that it may be."""
        first, *others = layers
        picks = np.arange(len(self.choices[first]))[:, None]
        amounts = self._amounts(self.choices[first])
        for number, layer in enumerate(others, start=2):
            own = self._amounts(self.choices[layer])
            before, behind = np.divmod(np.arange(len(picks) * len(own)), len(own))
            picks = np.column_stack((picks[before], behind))
            largest = np.array([is_largest(name) for name in self.quantities])
            both = np.where(largest, np.maximum(amounts[before], own[behind]), amounts[before] + own[behind])
            left = self._left(layers[:number], picks, both)
            picks, amounts = picks[left], both[left]
        return Unit(tuple(layers), picks, amounts)

    def _amounts(self, layer: Candidates) -> np.ndarray:
        """(C, Q)."""
        return np.array([[one.cost(name) for name in self.quantities] for one in layer], float)

    def _left(self, layers: Sequence[int], picks: np.ndarray, amounts: np.ndarray) -> np.ndarray:
        """Indices of the products that are allowed, and that none with the same links is as good as."""
        idle = np.stack(
            [
                np.array([one.idle for one in self.choices[layer]])[own]
                for layer, own in zip(layers, picks.T, strict=True)
            ],
            axis=1,
        )  # (K, layers)
        needs = np.stack([self.needs[layer][own] for layer, own in zip(layers, picks.T, strict=True)], axis=1)
        allowed = np.ones(len(picks), bool)
        for place, layer in enumerate(layers):
            needed = (needs == layer).any(axis=1)
            allowed &= ~needed | idle[:, place]
        # Needs of layers that are still to come stay open; those of others are met.
        still_open = np.where(np.isin(needs, list(layers)), NOTHING, needs)
        kept = np.flatnonzero(allowed)
        links = np.column_stack((idle, still_open))[kept]
        _, classes = np.unique(links, axis=0, return_inverse=True)
        found = []
        for number in range(classes.max() + 1):
            own = kept[classes.reshape(-1) == number]
            columns = amounts[own].T
            best = undominated_of_three(columns[0], columns[-2], columns[-1])
            found.append(own[best])
        return np.sort(np.concatenate(found))
