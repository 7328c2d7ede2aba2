"""What each layer becomes: the plan, its file, and how plans are made."""

from rankfold.plan.coverage import Coverage, LayerCoverage, coverage
from rankfold.plan.kinds import (
    ChannelLayer,
    DenseLayer,
    LayerKind,
    LowRankLayer,
    PairsLayer,
    PatDNNLayer,
    PatternLayer,
    SupportLayer,
    WindowLayer,
    WindowLowRankLayer,
    register_kind,
)
from rankfold.plan.layer import LayerPlan
from rankfold.plan.masks import load_masks, masks_for
from rankfold.plan.methods import (
    METHODS,
    ChannelPruning,
    LowRank,
    Method,
    Pairs,
    PatDNN,
    Quantise,
    Setting,
    SharedSupport,
    WindowLowRank,
    Windows,
    register_method,
)
from rankfold.plan.plan import Plan, check_plan, weights
from rankfold.plan.rules import LayerRule, match_rules
from rankfold.plan.support import mask_to_support, support_to_mask, support_to_text, text_to_support
from rankfold.plan.uniform import uniform_plan

__all__ = [
    "METHODS",
    "ChannelLayer",
    "ChannelPruning",
    "Coverage",
    "DenseLayer",
    "LayerCoverage",
    "LayerKind",
    "LayerPlan",
    "LayerRule",
    "LowRank",
    "LowRankLayer",
    "Method",
    "Pairs",
    "PairsLayer",
    "PatDNN",
    "PatDNNLayer",
    "PatternLayer",
    "Plan",
    "Quantise",
    "Setting",
    "SharedSupport",
    "SupportLayer",
    "WindowLayer",
    "WindowLowRank",
    "WindowLowRankLayer",
    "Windows",
    "check_plan",
    "coverage",
    "load_masks",
    "mask_to_support",
    "masks_for",
    "match_rules",
    "register_kind",
    "register_method",
    "support_to_mask",
    "support_to_text",
    "text_to_support",
    "uniform_plan",
    "weights",
]
