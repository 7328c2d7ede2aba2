"""How budgets shrink from step to step, and how each step trains."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from rankfold.arguments import shown
from rankfold.errors import InputError
from rankfold.training.recipe import Recipe

# Between the seeds of two steps, so that each sees the images in another order; a prime, so that steps of one
# run hardly ever meet those of a run under another seed.
STRIDE = 15_485_863
SEEDS = 2**31 - 1


def step_epochs(steps: int | Sequence[int], epochs: int) -> tuple[int, ...]:
    """The epochs of each step.

    Args:
        steps: how many there are, of one epoch each and all that is left in the last; or the epochs of each.
        epochs: of all together.

    Raises:
        InputError: these are no steps, or they do not have so many epochs.
    """
    if type(steps) is int and steps >= 1:
        if epochs < steps and steps > 1:
            raise InputError(
                f"{steps} steps need an epoch each, and there are {epochs} in all; give fewer steps, or more "
                "epochs"
            )
        return (1,) * (steps - 1) + (epochs - steps + 1,)
    if not isinstance(steps, (list, tuple)) or not steps:
        raise InputError(f"steps (={shown(steps)}) must be a number of 1 or more, or the epochs of each")
    if any(type(each) is not int or each < 0 for each in steps):
        raise InputError(f"epochs of steps (={shown(steps)}) must be whole numbers of 0 or more")
    if sum(steps) != epochs:
        raise InputError(
            f"the steps have {sum(steps)} epochs together, and the recipe {epochs}; give both alike"
        )
    return tuple(steps)


def step_limits(
    dense: Mapping[str, float], limits: Mapping[str, float], number: int, steps: int
) -> dict[str, float]:
    """What the plan of one step may need: of equal ratio from step to step, down to the limits.

    With D of the dense network and T allowed at last, step i of n has D (T / D)^(i / n): each step takes
    away the same share of what is left, as each of them can be expected to lose as much. A limit that the
    dense network keeps holds from the first step on.

    Args:
        dense: what the dense network needs of each quantity.
        limits: the most of each at last.
        number: of the step, from 1.
        steps: how many there are.
    """
    if number == steps:
        return dict(limits)  # to the last digit
    found = {}
    for quantity, limit in limits.items():
        whole = max(dense[quantity], limit)
        found[quantity] = whole * (limit / whole) ** (number / steps)
    return found


def step_recipe(recipe: Recipe, number: int, epochs: int) -> Recipe:
    """How one step, from 1, is trained: a cycle of the learning rate of its own.

    The rate rises and falls anew in every step: to rewind it did better after each pruning than to go on at a
    small one (Renda, Frankle & Carbin, ICLR 2020). The momentum begins at zero, as the loss that it was
    gathered on is no longer that of the network.
    """
    seed = (recipe.seed + STRIDE * (number - 1)) % SEEDS
    return replace(recipe, epochs=epochs, seed=seed)
