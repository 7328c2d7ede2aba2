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
    from rankfold import cost as cost
    from rankfold import export as export
    from rankfold import mapping as mapping
    from rankfold import plan as plan
    from rankfold import planning as planning
    from rankfold import simulator as simulator
    from rankfold import surgery as surgery
    from rankfold import workload as workload
    from rankfold.cost import network_cycles as cycles  # noqa: F401
    from rankfold.cost.energy import energy_of as energy  # noqa: F401
    from rankfold.errors import InputError as InputError
    from rankfold.errors import RankfoldError as RankfoldError
    from rankfold.machine import Hardware as Hardware
    from rankfold.machine import NonIdealities as NonIdealities
    from rankfold.machine import load_hardware as hardware  # noqa: F401
    from rankfold.mapping import ArraySpec as ArraySpec
    from rankfold.models.load import load_model as load_model
    from rankfold.plan import LowRank as LowRank
    from rankfold.plan import Plan as Plan
    from rankfold.plan import uniform_plan as uniform_plan
    from rankfold.planning import best_plan as best_plan
    from rankfold.planning.exact import Budget as Budget
    from rankfold.runs.evaluate import evaluate as evaluate
    from rankfold.runs.evaluate import load_run as load_run
    from rankfold.runs.run import run as run
    from rankfold.simulator import simulate as simulate
    from rankfold.surgery.compress import compress_ as compress_
    from rankfold.surgery.quantise import quantise_ as quantise_
    from rankfold.surgery.saving import load_ as load_
    from rankfold.surgery.saving import save as save
    from rankfold.training.data import load_images as load_images
    from rankfold.training.loaders import LoaderData as LoaderData
    from rankfold.training.recipe import Recipe as Recipe
    from rankfold.training.reconstruction import reconstruct_ as reconstruct_
    from rankfold.workload import trace as trace
    from rankfold.workload import zoo_network as zoo_network


# Public name -> (module, its name there, what it is).
_NAMES: dict[str, tuple[str, str, str]] = {
    # Networks and arrays.
    "trace": ("workload", "trace", "the layers of a torch network, as shapes"),
    "zoo_network": ("workload", "zoo_network", "the layers of a network that the package knows by name"),
    "ArraySpec": ("mapping", "ArraySpec", "an array: rows x columns, and what its cells and DACs take"),
    "Hardware": ("machine", "Hardware", "arrays, converters, defects and technology in one description"),
    "hardware": ("machine", "load_hardware", "a description of hardware, by name or file"),
    "load_model": ("models.load", "load_model", "a network by name, or of a factory"),
    "load_images": ("training.data", "load_images", "a data set of images, decoded once"),
    "LoaderData": ("training.loaders", "LoaderData", "batches of one's own, to train and test on"),
    # Plans.
    "Plan": ("plan", "Plan", "what every layer becomes; a file that people can edit"),
    "uniform_plan": ("plan", "uniform_plan", "a plan that gives all layers one method"),
    "best_plan": ("planning", "best_plan", "the plan that loses least under budgets, from data"),
    "LowRank": ("plan", "LowRank", "method: group low-rank pairs"),
    "Budget": (
        "planning.exact",
        "Budget",
        "the most of a cost, such as cycles or energy, that a plan may need",
    ),
    # Costs.
    "cycles": ("cost", "network_cycles", "cycles, tiles and conversions of a network under a plan"),
    "energy": ("cost.energy", "energy_of", "energy, latency and area of a network under a plan"),
    # Networks under a plan.
    "compress_": ("surgery.compress", "compress_", "replace the layers of a network as a plan says"),
    "quantise_": ("surgery.quantise", "quantise_", "put in the quantisers that a plan says, calibrated"),
    "reconstruct_": ("training.reconstruction", "reconstruct_", "train block by block, without labels"),
    "save": ("surgery.saving", "save", "write a compressed network, without pickle"),
    "load_": ("surgery.saving", "load_", "make a fresh network what was saved"),
    "simulate": ("simulator", "simulate", "the network as its arrays compute it"),
    "NonIdealities": ("machine", "NonIdealities", "converters, noise, drift and defects of arrays"),
    "evaluate": ("runs.evaluate", "evaluate", "the accuracy of a network"),
    # Whole runs.
    "run": ("runs.run", "run", "the whole job: compress, quantise, fine-tune, evaluate, record"),
    "Recipe": ("training.recipe", "Recipe", "how a network is trained"),
    "load_run": ("runs.evaluate", "load_run", "the network, plan and result of a finished run"),
    # Errors.
    "RankfoldError": ("errors", "RankfoldError", "the base of all errors of the package"),
    "InputError": ("errors", "InputError", "what was given is wrong; one sentence says how"),
}

# What is needed less often: a room of the house -> what it is, and what of it people ask for.
_ROOMS: dict[str, tuple[str, tuple[str, ...]]] = {
    "workload": ("shapes of layers", ("ConvShape", "Network")),
    "mapping": ("one layer on arrays, tile by tile", ("map_layer", "execute")),
    "plan": (
        "the other methods, rules by name, what becomes of every weight, kinds of one's own",
        (
            "PatDNN",
            "Pairs",
            "SharedSupport",
            "Windows",
            "ChannelPruning",
            "Quantise",
            "LayerRule",
            "coverage",
            "register_kind",
        ),
    ),
    "cost": (
        "chips of many arrays; cost.energy has the tables of components",
        ("schedule", "network_cycles"),
    ),
    "planning": (
        "what layers may become, for fronts and other budgets",
        ("planning_problem", "solve_problem"),
    ),
    "surgery": ("channel pruning, and what surgery reports", ("channel_plan", "LayerReport")),
    "simulator": ("chips one after another", ("calibrate_adc_", "program_", "only")),
    "export": ("files for other tools", ("write_onnx", "write_arrays", "write_csv", "write_zigzag", "merge")),
}

__all__ = sorted([*_NAMES, *_ROOMS])
__doc__ += "\n" + "\n".join(f"{name}: {words}" for name, (_, _, words) in _NAMES.items()) + "\n"
__doc__ += "\nRooms with more:\n\n"
__doc__ += "\n".join(f"{name}: {words} ({', '.join(names)})" for name, (words, names) in _ROOMS.items())


def __getattr__(name: str) -> Any:
    if name in _ROOMS:
        return import_module(f"rankfold.{name}")
    if name in _NAMES:
        module, attribute, _ = _NAMES[name]
        return getattr(import_module(f"rankfold.{module}"), attribute)
    for room, (_, names) in _ROOMS.items():
        if name in names:
            raise AttributeError(f"module 'rankfold' has no attribute {name!r}; it is rankfold.{room}.{name}")
    raise AttributeError(f"module 'rankfold' has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
