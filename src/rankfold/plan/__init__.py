"""What each layer becomes: the plan, its file, and how plans are made."""

from rankfold.plan.plan import DENSE, LOW_RANK, LayerPlan, Plan, check_plan, weights
from rankfold.plan.uniform import uniform_plan

__all__ = ["DENSE", "LOW_RANK", "LayerPlan", "Plan", "check_plan", "uniform_plan", "weights"]
