"""What each layer of a network becomes under budgets, from data.

`best_plan` plans a network; `planning_problem` gives all that its layers may become, for plans under
other budgets (`solve_problem`), the whole front, and searches (`planning.search`); `alds_plan` is a baseline
to compare with; `mapping_plan` chooses mappings alone, without data; `PlanLosses` predicts the loss of any
plan, `Forecaster` the accuracy that training leaves of it. The names are imported when they are first used,
so that `planning.exact` and `planning.kinds` can be had without torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rankfold.planning.alds import Allocation as Allocation
    from rankfold.planning.alds import alds_plan as alds_plan
    from rankfold.planning.best import Planning as Planning
    from rankfold.planning.best import best_plan as best_plan
    from rankfold.planning.best import solve_problem as solve_problem
    from rankfold.planning.forecast.forecaster import Forecaster as Forecaster
    from rankfold.planning.mappings_alone import mapping_plan as mapping_plan
    from rankfold.planning.options import PlanningOptions as PlanningOptions
    from rankfold.planning.plan_loss import PlanLosses as PlanLosses
    from rankfold.planning.problem import PlanningProblem as PlanningProblem
    from rankfold.planning.problem_on_data import planning_problem as planning_problem

# Each name's module. `planning.exact` passes through here, and what it needs must not import torch.
_HOMES = {
    "Allocation": "alds",
    "Forecaster": "forecast.forecaster",
    "PlanLosses": "plan_loss",
    "Planning": "best",
    "PlanningOptions": "options",
    "PlanningProblem": "problem",
    "alds_plan": "alds",
    "best_plan": "best",
    "mapping_plan": "mappings_alone",
    "planning_problem": "problem_on_data",
    "solve_problem": "best",
}

__all__ = [
    "Allocation",
    "Forecaster",
    "PlanLosses",
    "Planning",
    "PlanningOptions",
    "PlanningProblem",
    "alds_plan",
    "best_plan",
    "mapping_plan",
    "planning_problem",
    "solve_problem",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'rankfold.planning' has no attribute {name!r}")
    return getattr(import_module(f"rankfold.planning.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return __all__
