"""Layers whose candidates depend on each other, joined so that fronts can take them for one.

Where one layer alone reads what another one gives, the channels between both can be put into one order, and
what the reader may become reads the first so many of them. The layer before it needs to give no more
(`Candidate.needs`): of those that nobody reads it loses nothing. That the reader is idle, as its kind says
(`LayerKind.computes`), is the case of no channel; then the layer before it costs and loses nothing at all.
This is one more constraint of the exact choice: for every layer l whose candidates need layer l' to read at
most k channels,

    sum over c that need k or fewer of  x_lc  <=  sum over c' that read k or fewer of  x_l'c'.

Layers that are merged one by one, as in fronts, are given what linked layers may be together: all their
allowed products, of which those go that another one of the same links is as good as.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from rankfold.planning.exact.candidate import Candidates, Choices, LayerChoices, Need, is_largest
from rankfold.planning.exact.merge_two import undominated_of_three

NOTHING = -1  # the layer that a candidate needs something of


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
            dependent = replace(idle[0], loss=0.0, needs=Need(other.name))
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
        quantities: two or three; the loss may be one of them.
    """
    assert len(quantities) in (2, 3)  # what exact choices, fronts and surfaces ask for
    needs = _needs(choices)
    together: dict[int, set[int]] = {number: {number} for number in range(len(choices))}
    for number, of_layer in enumerate(needs):
        for other in set(of_layer[:, 0].tolist()) - {NOTHING}:
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


def least(choices: Choices, quantity: str) -> float:
    """What any choice that is allowed costs at least of a quantity; infinite where none is."""
    amounts = [unit.amounts[:, 0].min(initial=np.inf) for unit in units(choices, (quantity, quantity))]
    return max(amounts) if is_largest(quantity) else math.fsum(amounts)


def _needs(choices: Choices) -> list[np.ndarray]:
    """For each layer, (C, 2) of each candidate: the number of the layer that it needs something of, and the
    most channels that this one may read.
    """
    numbers = {layer[0].entry.name: number for number, layer in enumerate(choices)}
    found = []
    for layer in choices:
        needs = np.full((len(layer), 2), (NOTHING, 0))
        for place, one in enumerate(layer):
            if one.needs is not None:
                needs[place] = numbers[one.needs.layer], one.needs.most
        found.append(needs)
    return found


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
        """What some layers may be together, perhaps nothing; of one layer, all that it may be."""
        first, *others = layers
        picks = np.arange(len(self.choices[first]))[:, None]
        amounts = self._amounts(self.choices[first])
        for number, layer in enumerate(others, start=2):
            own = self._amounts(self.choices[layer])
            before, behind = np.divmod(np.arange(len(picks) * len(own)), len(own))
            picks = np.column_stack((picks[before], behind))
            largest = np.array([is_largest(name) for name in self.quantities])
            both = np.where(largest, np.maximum(amounts[before], own[behind]), amounts[before] + own[behind])
            left = self._left(layers[:number], layers[number:], picks, both)
            picks, amounts = picks[left], both[left]
        return Unit(tuple(layers), picks, amounts)

    def _amounts(self, layer: Candidates) -> np.ndarray:
        """(C, Q)."""
        return np.array([[one.cost(name) for name in self.quantities] for one in layer], float)

    def _left(
        self, layers: Sequence[int], to_come: Sequence[int], picks: np.ndarray, amounts: np.ndarray
    ) -> np.ndarray:
        """Indices of the products that are allowed, and that none with the same links is as good as."""
        reads = [
            np.array([one.reads for one in self.choices[layer]])[own] for layer, own in _of(layers, picks)
        ]
        needs = [self.needs[layer][own] for layer, own in _of(layers, picks)]
        allowed = np.ones(len(picks), bool)
        still_open = []
        for needed, most in (of_layer.T for of_layer in needs):
            for layer, read in zip(layers, reads, strict=True):
                allowed &= (needed != layer) | (read <= most)
            # Needs of layers that are still to come stay open; those of others are met.
            comes = np.isin(needed, list(to_come))
            still_open += [np.where(comes, needed, NOTHING), np.where(comes, most, 0)]
        # What a layer reads counts as long as another one may ask for it.
        asked = {other for layer in to_come for other in self.needs[layer][:, 0].tolist()}
        still_read = [read for layer, read in zip(layers, reads, strict=True) if layer in asked]
        kept = np.flatnonzero(allowed)
        links = np.column_stack((*still_read, *still_open))[kept]
        links = links[:, (links != links[:1]).any(0)]  # what is the same of all tells none apart
        _, classes = np.unique(links, axis=0, return_inverse=True)
        found = [np.empty(0, int)]
        for number in np.unique(classes):
            own = kept[classes.reshape(-1) == number]
            columns = amounts[own].T
            found.append(own[undominated_of_three(columns[0], columns[-2], columns[-1])])
        return np.sort(np.concatenate(found))


def _of(layers: Sequence[int], picks: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """Each layer with (K,) its candidates in K products."""
    return zip(layers, picks.T, strict=True)
