"""The mappings of all layers together, within a number of arrays."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from rankfold.cost import Masks
from rankfold.cost.choice import MappingOption, options_by_weight
from rankfold.cost.planned import counted_layers
from rankfold.plan import LayerPlan, Plan
from rankfold.planning.exact.candidate import Candidate
from rankfold.planning.exact.knapsack import solve
from rankfold.planning.exact.quantities import ARRAYS, CYCLES
from rankfold.workload import Network


def mappings_within(
    network: Network,
    plan: Plan,
    counted: Plan,
    arrays: int,
    *,
    masks: Masks,
    linear: bool | None = None,
) -> Plan:
    """The plan with a mapping for each layer, so that all need the fewest cycles within so many arrays.

    Exact over the options of each layer: a multiple-choice knapsack, solved by branch and bound (see
    `solve`). Cycles are activations of arrays per image, with slices of the inputs where the array says what
    its DACs drive; every stored tile has an array of its own. Layers that stay as they are may have any one
    window, too, that pays for the layer alone (`cost.choice.window_options`). Layers that share a parameter
    are chosen for together, and have one set of arrays for all that are held alike; a window that pays only
    since another of them, on a plane of another size, stores it already is not looked for. Of choices that
    need equally many cycles the solver may take any.

    Args:
        network: the network.
        plan: its plan.
        counted: the same plan with the array and the bits that arrays and cycles are counted with.
        arrays: the most arrays, of all layers that count.
        masks: the weights that pattern-pruned layers keep, see `load_masks`.
        linear: whether fully connected layers count; None: where the plan makes any of them low-rank.

    Raises:
        InputError: even the mappings of the fewest arrays need more, or an array holds no weight of a layer.
    """
    options = options_by_weight(network, counted, masks)
    choices: list[list[Candidate]] = []
    # For each choice the mappings of its layers, by what they cost.
    meant: list[dict[tuple[int, int], tuple[LayerPlan, ...]]] = []
    for names in _by_parameter(network, plan, linear):
        entries = [plan.layer(name) for name in names]
        found: dict[tuple[int, int], tuple[LayerPlan, ...]] = {}
        ways = _ways([counted.layer(name) for name in names], options)
        # Of mappings that are one and the same on these arrays, that of the fewest cycles as papers count.
        for way in sorted(ways, key=lambda way: way.whole_cycles):
            laid_out = []
            for entry, mapping in zip(entries, way.mappings, strict=True):
                laid_out.append(replace(entry, mapping=mapping))
            found.setdefault((way.cycles, way.arrays), tuple(laid_out))
        meant.append(found)
        choices.append([Candidate(laid[0], *cost, None, 0) for cost, laid in found.items()])
    solution = solve(choices, {ARRAYS: float(arrays)}, CYCLES)
    chosen = {}
    for found, candidate in zip(meant, solution.chosen, strict=True):
        for entry in found[candidate.cycles, candidate.arrays]:
            chosen[entry.name] = entry
    layers = tuple(chosen.get(layer.name, layer) for layer in plan.layers)
    return replace(plan, layers=layers)


def _by_parameter(network: Network, plan: Plan, linear: bool | None) -> list[list[str]]:
    """The weights that count, those of one parameter together."""
    names: dict[str, dict[str, None]] = {}
    for shape in counted_layers(network, plan, linear):
        names.setdefault(shape.stored, {})[shape.weight] = None
    return [list(weights) for weights in names.values()]


@dataclass(frozen=True)
class _Way:
    """Mappings of some layers together, with cycles and arrays as of a `MappingOption`."""

    mappings: tuple[str, ...] = ()
    cycles: int = 0
    arrays: int = 0
    whole_cycles: int = 0

    def followed_by(self, option: MappingOption, arrays: int) -> _Way:
        """With the mapping of one more layer, which needs so many more arrays."""
        return _Way(
            (*self.mappings, option.mapping),
            self.cycles + option.cycles,
            self.arrays + arrays,
            self.whole_cycles + option.whole_cycles,
        )


# Layer by layer. What arrays hold so far decides what further layers find there, and only what one of these
# could use does: that is the state. Of all ways to a state, those count that no other undercuts in both
# cycles and arrays, as all that follows costs the same after each. What no later layer can use is forgotten:
# layers of one shape have as many states as sets of their mappings, however many they are, and layers that
# hold nothing alike have one.
def _ways(entries: Sequence[LayerPlan], options: Mapping[str, Sequence[MappingOption]]) -> list[_Way]:
    """The ways to lay out layers of one parameter that no other undercuts in both cycles and arrays."""
    held = [[_held(entry, option, len(entries)) for option in options[entry.name]] for entry in entries]
    states: dict[frozenset[Hashable], list[_Way]] = {frozenset(): [_Way()]}
    for number, entry in enumerate(entries):
        later = {key for layer in held[number + 1 :] for own in layer for key in own}
        following: dict[frozenset[Hashable], list[_Way]] = {}
        for contents, ways in states.items():
            for option, own in zip(options[entry.name], held[number], strict=True):
                arrays = sum(tiles for key, tiles in own.items() if key not in contents)
                further = [way.followed_by(option, arrays) for way in ways]
                following.setdefault(contents.union(own) & later, []).extend(further)
        states = {contents: _not_undercut(ways) for contents, ways in following.items()}
    (ways,) = states.values()
    return ways


def _held(entry: LayerPlan, option: MappingOption, layers: int) -> dict[Hashable, int]:
    """What arrays hold of a layer, and how many do; a layer that shares its parameter with none has no need
    to look.
    """
    if layers == 1:
        return {option.mapping: option.arrays}
    return {(key, entry.kind, entry.weight_bits): arrays for key, arrays in option.held.items()}


def _not_undercut(ways: Iterable[_Way]) -> list[_Way]:
    """Ways of rising cycles and falling arrays."""
    front: list[_Way] = []
    for way in sorted(ways, key=lambda way: (way.cycles, way.arrays, way.whole_cycles)):
        if not front or way.arrays < front[-1].arrays:
            front.append(way)
    return front
