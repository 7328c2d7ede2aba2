"""What each layer becomes: the plan, its file, and how plans are made."""

from rankfold.plan.coverage import Coverage, LayerCoverage, coverage
from rankfold.plan.masks import load_masks
from rankfold.plan.plan import (
    DENSE,
    IDEAL,
    LOW_RANK,
    NARROWED,
    PLAIN,
    PRUNED,
    PRUNINGS,
    SUPPORT,
    LayerPlan,
    Plan,
    check_plan,
    weights,
)
from rankfold.plan.pruned import pruned_plan
from rankfold.plan.rules import LayerRule, match_rules
from rankfold.plan.support import mask_to_support, support_to_mask, support_to_text, text_to_support
from rankfold.plan.uniform import uniform_plan

__all__ = [
    "DENSE",
    "IDEAL",
    "LOW_RANK",
    "NARROWED",
    "PLAIN",
    "PRUNED",
    "PRUNINGS",
    "SUPPORT",
    "Coverage",
    "LayerCoverage",
    "LayerPlan",
    "LayerRule",
    "Plan",
    "check_plan",
    "coverage",
    "load_masks",
    "mask_to_support",
    "match_rules",
    "pruned_plan",
    "support_to_mask",
    "support_to_text",
    "text_to_support",
    "uniform_plan",
    "weights",
]
