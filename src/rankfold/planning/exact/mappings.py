"""The mappings of all layers together, within a number of arrays."""

from __future__ import annotations

from dataclasses import replace

from rankfold.cost import Masks
from rankfold.cost.choice import options_by_weight
from rankfold.cost.planned import counted_layers
from rankfold.plan import Plan
from rankfold.planning.exact.candidate import ARRAYS, CYCLES, Candidate
from rankfold.planning.exact.knapsack import solve
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

    Exact: a multiple-choice knapsack, solved by branch and bound (see `solve`). Cycles are activations of
    arrays per image, with slices of the inputs where the array says what its DACs drive; every stored tile
    has an array of its own. Of choices that need equally many cycles the solver may take any.

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
    counting = {shape.weight for shape in counted_layers(network, plan, linear)}
    choices = []
    for name, options in options_by_weight(network, counted, masks).items():
        if name not in counting:
            continue
        entry = plan.layer(name)
        candidates = []
        known = set()
        # Of mappings that are one and the same on these arrays, that of the fewest cycles as papers count.
        for option in sorted(options, key=lambda option: option.whole_cycles):
            if (option.cycles, option.arrays) in known:
                continue
            known.add((option.cycles, option.arrays))
            laid_out = replace(entry, mapping=option.mapping)
            candidates.append(Candidate(laid_out, option.cycles, option.arrays, None, 0))
        choices.append(candidates)
    solution = solve(choices, {ARRAYS: float(arrays)}, CYCLES)
    chosen = {candidate.entry.name: candidate.entry for candidate in solution.chosen}
    layers = tuple(chosen.get(layer.name, layer) for layer in plan.layers)
    return replace(plan, layers=layers)
