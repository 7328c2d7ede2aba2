"""Rankfold makes convolutional networks small and fast on in-memory-computing arrays.

All verbs take objects: any `torch.nn.Module`, any iterable of batches (tensors, pairs of inputs and targets,
or dictionaries of inputs), a plan. Names ending in an underscore change the network in place. The names below
are imported when they are first used, so that `import rankfold` stays light.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from rankfold.version import __version__ as __version__

if TYPE_CHECKING:
    from rankfold.cost import network_cycles as cycles  # noqa: F401
    from rankfold.cost.energy import energy_of as energy  # noqa: F401
    from rankfold.cost.energy import load_table as load_table
    from rankfold.errors import InputError as InputError
    from rankfold.errors import RankfoldError as RankfoldError
    from rankfold.export.array_images.images import write_arrays as write_arrays
    from rankfold.export.onnx.write import write_onnx as write_onnx
    from rankfold.machine import Hardware as Hardware
    from rankfold.machine import NonIdealities as NonIdealities
    from rankfold.machine import load_hardware as hardware  # noqa: F401
    from rankfold.mapping import ArraySpec as ArraySpec
    from rankfold.mapping import map_layer as map_layer
    from rankfold.models.load import load_model as load_model
    from rankfold.plan import ChannelPruning as ChannelPruning
    from rankfold.plan import LayerRule as LayerRule
    from rankfold.plan import LowRank as LowRank
    from rankfold.plan import Pairs as Pairs
    from rankfold.plan import PatDNN as PatDNN
    from rankfold.plan import Plan as Plan
    from rankfold.plan import Quantise as Quantise
    from rankfold.plan import SharedSupport as SharedSupport
    from rankfold.plan import coverage as coverage
    from rankfold.plan import register_kind as register_kind
    from rankfold.plan import uniform_plan as uniform_plan
    from rankfold.planning import best_plan as best_plan
    from rankfold.planning.exact import Budget as Budget
    from rankfold.runs.evaluate import evaluate as evaluate
    from rankfold.runs.evaluate import load_run as load_run
    from rankfold.runs.run import run as run
    from rankfold.simulator import simulate as simulate
    from rankfold.surgery.compress import compress_ as compress_
    from rankfold.surgery.quantise import quantise_ as quantise_
    from rankfold.surgery.save import load_ as load_
    from rankfold.surgery.save import save as save
    from rankfold.training.data import load_images as load_images
    from rankfold.training.loaders import LoaderData as LoaderData
    from rankfold.training.recipe import Recipe as Recipe
    from rankfold.training.step_bounds import StepSizes as StepSizes
    from rankfold.workload import ConvShape as ConvShape
    from rankfold.workload import trace as trace
    from rankfold.workload import zoo_network as zoo_network


# Public name -> (module, its name there, what it is).
_NAMES: dict[str, tuple[str, str, str]] = {
    # Networks and arrays.
    "trace": ("workload", "trace", "the layers of a torch network, as shapes"),
    "zoo_network": ("workload", "zoo_network", "the layers of a network that the package knows by name"),
    "ConvShape": ("workload", "ConvShape", "the shape of one convolution"),
    "ArraySpec": ("mapping", "ArraySpec", "an array: rows x columns, and what its cells and DACs take"),
    "Hardware": ("machine", "Hardware", "arrays, converters, defects and technology in one description"),
    "hardware": ("machine", "load_hardware", "a description of hardware, by name or file"),
    "map_layer": ("mapping", "map_layer", "one convolution on arrays: windows, tiles, cycles"),
    "load_model": ("models.load", "load_model", "a network by name, or of a factory"),
    "load_images": ("training.data", "load_images", "a data set of images, decoded once"),
    "LoaderData": ("training.loaders", "LoaderData", "batches of one's own, to train and test on"),
    # Plans.
    "Plan": ("plan", "Plan", "what every layer becomes; a file that people can edit"),
    "uniform_plan": ("plan", "uniform_plan", "a plan that gives all layers one method"),
    "best_plan": ("planning", "best_plan", "the plan that loses least under budgets, from data"),
    "LowRank": ("plan", "LowRank", "method: group low-rank pairs"),
    "PatDNN": ("plan", "PatDNN", "method: a pattern for each kernel"),
    "Pairs": ("plan", "Pairs", "method: a pattern for each input channel"),
    "SharedSupport": ("plan", "SharedSupport", "method: kernel positions that all outputs share"),
    "ChannelPruning": ("plan", "ChannelPruning", "method: fewer channels"),
    "Quantise": ("plan", "Quantise", "method: bits alone"),
    "LayerRule": ("plan", "LayerRule", "which layers a method takes, by name or pattern"),
    "Budget": ("planning.exact", "Budget", "the most cycles, arrays or energy that a plan may need"),
    "coverage": ("plan", "coverage", "what a plan does with every weight, and why"),
    "register_kind": ("plan", "register_kind", "add a kind of layer"),
    # Costs.
    "cycles": ("cost", "network_cycles", "cycles, tiles and conversions of a network under a plan"),
    "energy": ("cost.energy", "energy_of", "energy, latency and area of a network under a plan"),
    "load_table": ("cost.energy", "load_table", "a table of components, by name or file"),
    # Networks under a plan.
    "compress_": ("surgery.compress", "compress_", "replace the layers of a network as a plan says"),
    "quantise_": ("surgery.quantise", "quantise_", "put in the quantisers that a plan says, calibrated"),
    "StepSizes": (
        "training.step_bounds",
        "StepSizes",
        "keeps quantisers whole in one's own training loop",
    ),
    "save": ("surgery.save", "save", "write a compressed network, without pickle"),
    "load_": ("surgery.save", "load_", "make a fresh network what was saved"),
    "simulate": ("simulator", "simulate", "the network as its arrays compute it"),
    "NonIdealities": ("machine", "NonIdealities", "converters, noise, drift and defects of arrays"),
    "evaluate": ("runs.evaluate", "evaluate", "the accuracy of a network"),
    "write_onnx": ("export.onnx.write", "write_onnx", "an ONNX file, in float or with quantisers"),
    "write_arrays": ("export.array_images.images", "write_arrays", "the cells to program into every array"),
    # Whole runs.
    "run": ("runs.run", "run", "the whole job: compress, quantise, fine-tune, evaluate, record"),
    "Recipe": ("training.recipe", "Recipe", "how a network is trained"),
    "load_run": ("runs.evaluate", "load_run", "the network, plan and result of a finished run"),
    # Errors.
    "RankfoldError": ("errors", "RankfoldError", "the base of all errors of the package"),
    "InputError": ("errors", "InputError", "what was given is wrong; one sentence says how"),
}

__all__ = sorted(_NAMES)
__doc__ += "\n" + "\n".join(f"{name}: {words}" for name, (_, _, words) in _NAMES.items()) + "\n"


def __getattr__(name: str) -> Any:
    if name not in _NAMES:
        raise AttributeError(f"module 'rankfold' has no attribute {name!r}")
    module, attribute, _ = _NAMES[name]
    return getattr(import_module(f"rankfold.{module}"), attribute)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
