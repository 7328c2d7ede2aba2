"""The plan of one step, which leaves open what the last one shall be."""

from __future__ import annotations

from collections.abc import Mapping

from rankfold.planning.exact import Candidate, Solution, solve
from rankfold.planning.kinds import candidates_of
from rankfold.planning.problem import PlanningProblem


def step_solution(problem: PlanningProblem, limits: Mapping[str, float]) -> Solution:
    """The choice of least predicted loss within a step's limits, from which the last budgets can be kept.

    Not everything can become everything later: a window layer keeps its window, and loses rows. So the plan
    for the last budgets, as it would be made now, comes first; each layer may then become what can still
    become what it is there (`KindCandidates.leads_to`). That plan keeps all limits, which are no smaller, so
    that a step can be found wherever the last budgets can be kept.

    Args:
        problem: the network as it is, under the last budgets.
        limits: those of this step, at least the last ones.

    Raises:
        InputError: the last budgets cannot be kept.
    """
    last = solve(problem.candidates, problem.budgets)
    if dict(limits) == dict(problem.budgets):
        return last
    choices = []
    for layer, goal in zip(problem.candidates, last.chosen, strict=True):
        choices.append(tuple(one for one in layer if _leads_to(one, goal)))
    return solve(choices, limits)


def _leads_to(one: Candidate, goal: Candidate) -> bool:
    if one is goal:
        return True
    kind = one.entry.kind
    return candidates_of(kind).leads_to(kind, goal.entry.kind)
