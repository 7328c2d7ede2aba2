"""What a layer can become. Each kind has one file here, and one in every step that treats it differently."""

from rankfold.plan.kinds.channel import ChannelLayer
from rankfold.plan.kinds.dense import DenseLayer
from rankfold.plan.kinds.grouped import GroupedLayer
from rankfold.plan.kinds.kind import LayerKind
from rankfold.plan.kinds.low_rank import LowRankLayer
from rankfold.plan.kinds.pattern import (
    IDEAL,
    PLAIN,
    PUBLISHED_KERNEL,
    STEERINGS,
    GarosLayer,
    Pairs2023Layer,
    Pairs2024Layer,
    PairsLayer,
    PatDNNChannelLayer,
    PatDNNLayer,
    PatDNNWholeLayer,
    PatternLayer,
)
from rankfold.plan.kinds.registry import (
    STEPS,
    field_schemas,
    has_part,
    kind_called,
    kind_from_json,
    kind_names,
    kind_schema,
    kinds,
    part_of,
    register_kind,
    registered,
    unregister_kind,
)
from rankfold.plan.kinds.skipped import SkippedLayer
from rankfold.plan.kinds.support import SUPPORT, SupportLayer
from rankfold.plan.kinds.trimmed import TrimmedLayer
from rankfold.plan.kinds.window import WindowLayer
from rankfold.plan.kinds.window_low_rank import WindowLowRankLayer
from rankfold.plan.kinds.window_margins import WindowMarginsLayer, WindowPart

__all__ = [
    "IDEAL",
    "PLAIN",
    "PUBLISHED_KERNEL",
    "STEERINGS",
    "STEPS",
    "SUPPORT",
    "ChannelLayer",
    "DenseLayer",
    "GarosLayer",
    "GroupedLayer",
    "LayerKind",
    "LowRankLayer",
    "Pairs2023Layer",
    "Pairs2024Layer",
    "PairsLayer",
    "PatDNNChannelLayer",
    "PatDNNLayer",
    "PatDNNWholeLayer",
    "PatternLayer",
    "SkippedLayer",
    "SupportLayer",
    "TrimmedLayer",
    "WindowLayer",
    "WindowLowRankLayer",
    "WindowMarginsLayer",
    "WindowPart",
    "field_schemas",
    "has_part",
    "kind_called",
    "kind_from_json",
    "kind_names",
    "kind_schema",
    "kinds",
    "part_of",
    "register_kind",
    "registered",
    "unregister_kind",
]


# As text, since these rooms stand above this one and import it.
_HOMES = {
    "cost": "rankfold.cost.kinds",
    "surgery": "rankfold.surgery.kinds",
    "candidates": "rankfold.planning.kinds",
    "picture": "rankfold.report.kinds",
    "workload": "rankfold.export.kinds",
    "onnx": "rankfold.surgery.onnx.kinds",
}


def _register(kind: type[LayerKind], module: str, *steps: str) -> None:
    """Register a kind of this package: what a step knows of it is `PART` of the step's module of that
    name.
    """
    register_kind(kind, **{step: f"{_HOMES[step]}.{module}:PART" for step in steps})


# Dense first: it is the default, and `coverage.fates` counts on it. A step that is missing is one that the
# kind cannot take: PatDNN, PAIRS and channel pruning are no candidates of the planner, for example.
_register(DenseLayer, "dense", "cost", "surgery", "candidates", "picture", "workload", "onnx")
_register(LowRankLayer, "low_rank", "cost", "surgery", "candidates", "picture", "workload", "onnx")
_register(PatDNNLayer, "pattern", "cost", "surgery", "picture")
_register(PairsLayer, "pattern", "cost", "surgery", "picture")
for _published in (PatDNNChannelLayer, PatDNNWholeLayer, Pairs2023Layer, Pairs2024Layer, GarosLayer):
    _register(_published, "pattern", "cost", "surgery", "picture")
_register(SupportLayer, "support", "cost", "surgery", "candidates", "picture", "workload")
_register(ChannelLayer, "channel", "cost", "surgery", "picture", "workload")
_register(WindowLayer, "window", "cost", "surgery", "candidates", "picture", "workload")
_register(WindowLowRankLayer, "window_low_rank", "cost", "surgery", "candidates", "picture", "workload")
_register(WindowMarginsLayer, "window_margins", "cost", "surgery", "candidates", "picture", "workload")
_register(GroupedLayer, "grouped", "cost", "surgery", "candidates", "picture", "workload")
_register(SkippedLayer, "skipped", "cost", "surgery", "candidates", "picture", "workload")
_register(TrimmedLayer, "trimmed", "cost", "surgery", "candidates", "picture", "workload")
