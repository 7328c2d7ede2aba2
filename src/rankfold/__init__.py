"""Rankfold makes convolutional networks small and fast on in-memory-computing arrays.

The names below are imported when they are first used, so that `import rankfold` stays light.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rankfold.cost import network_cycles as network_cycles
    from rankfold.cost.energy import ComponentTable as ComponentTable
    from rankfold.cost.energy import NetworkEnergy as NetworkEnergy
    from rankfold.cost.energy import cheapest_mappings as cheapest_mappings
    from rankfold.cost.energy import load_table as load_table
    from rankfold.cost.energy import network_energy as network_energy
    from rankfold.errors import InputError as InputError
    from rankfold.errors import RankfoldError as RankfoldError
    from rankfold.errors import UnsupportedLayerError as UnsupportedLayerError
    from rankfold.mapping import ArraySpec as ArraySpec
    from rankfold.mapping import Mapping as Mapping
    from rankfold.mapping import map_layer as map_layer
    from rankfold.mapping import map_low_rank as map_low_rank
    from rankfold.mapping import map_pruned as map_pruned
    from rankfold.models.load import load_model as load_model
    from rankfold.nn.low_rank import LowRankConv2d as LowRankConv2d
    from rankfold.nn.low_rank_linear import LowRankLinear as LowRankLinear
    from rankfold.plan import LayerRule as LayerRule
    from rankfold.plan import Plan as Plan
    from rankfold.plan import coverage as coverage
    from rankfold.plan import load_masks as load_masks
    from rankfold.plan import pruned_plan as pruned_plan
    from rankfold.plan import uniform_plan as uniform_plan
    from rankfold.planning.exact.budget import Budget as Budget
    from rankfold.planning.problem import PlanSettings as PlanSettings
    from rankfold.planning.problem import plan_network as plan_network
    from rankfold.runs.compress import compress as compress
    from rankfold.runs.evaluate import evaluate_folder as evaluate_folder
    from rankfold.runs.evaluate import load_compressed as load_compressed
    from rankfold.runs.settings import CompressSettings as CompressSettings
    from rankfold.simulator import ArrayNonIdealities as ArrayNonIdealities
    from rankfold.simulator import simulate as simulate
    from rankfold.surgery.compress import compress_ as compress_
    from rankfold.surgery.save import load_compressed_ as load_compressed_
    from rankfold.surgery.save import save_compressed as save_compressed
    from rankfold.training.data import load_images as load_images
    from rankfold.training.recipe import Recipe as Recipe
    from rankfold.workload import ConvShape as ConvShape
    from rankfold.workload import trace as trace
    from rankfold.workload import zoo_network as zoo_network

__version__ = "0.1.0"

_HOMES = {
    "ArrayNonIdealities": "simulator",
    "ArraySpec": "mapping",
    "Budget": "planning.exact.budget",
    "ComponentTable": "cost.energy",
    "CompressSettings": "runs.settings",
    "ConvShape": "workload",
    "InputError": "errors",
    "LayerRule": "plan",
    "LowRankConv2d": "nn.low_rank",
    "LowRankLinear": "nn.low_rank_linear",
    "Mapping": "mapping",
    "NetworkEnergy": "cost.energy",
    "Plan": "plan",
    "PlanSettings": "planning.problem",
    "RankfoldError": "errors",
    "Recipe": "training.recipe",
    "UnsupportedLayerError": "errors",
    "cheapest_mappings": "cost.energy",
    "compress": "runs.compress",
    "compress_": "surgery.compress",
    "coverage": "plan",
    "evaluate_folder": "runs.evaluate",
    "load_compressed": "runs.evaluate",
    "load_compressed_": "surgery.save",
    "load_images": "training.data",
    "load_masks": "plan",
    "load_model": "models.load",
    "load_table": "cost.energy",
    "map_layer": "mapping",
    "map_low_rank": "mapping",
    "map_pruned": "mapping",
    "network_cycles": "cost",
    "network_energy": "cost.energy",
    "plan_network": "planning.problem",
    "pruned_plan": "plan",
    "save_compressed": "surgery.save",
    "simulate": "simulator",
    "trace": "workload",
    "uniform_plan": "plan",
    "zoo_network": "workload",
}

__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'rankfold' has no attribute {name!r}")
    return getattr(import_module(f"rankfold.{_HOMES[name]}"), name)
