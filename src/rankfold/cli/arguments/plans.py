"""The networks and plans that users name on the command line."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

from rankfold.cli.arguments.networks import find_network
from rankfold.cost import Masks
from rankfold.errors import InputError
from rankfold.mapping import DEFAULT_ARRAY, ArraySpec
from rankfold.plan import PRUNED, Plan, check_plan, load_masks, uniform_plan
from rankfold.workload import Network


def planned_network(options: argparse.Namespace) -> tuple[Network, Plan, Masks]:
    """The network, the plan and the masks that the options name: a plan's, a finished run's, or the uniform plan's."""
    if options.plan is not None:
        return given_plan(options)
    return finished_run(options) if Path(options.model).is_dir() else uniformly_planned(options)


def uniformly_planned(options: argparse.Namespace) -> tuple[Network, Plan, Masks]:
    """The network that the user named, and the uniform plan that the options ask for."""
    network = find_network(options.model, options.input)
    if getattr(options, "padding", None) is not None:
        network = replace(network, layers=tuple(layer.without_padding() for layer in network.layers))
    plan = uniform_plan(
        network, _array(options, DEFAULT_ARRAY), options.groups, options.rank, options.bits,
        mapping=options.method or "sdk", pointwise=options.pointwise, linear=options.linear, rules=options.rules, fit=options.fit,
        entries=options.entries,
    )  # fmt: skip
    return network, plan, {}


def finished_run(options: argparse.Namespace) -> tuple[Network, Plan, Masks]:
    """What a finished run made of its network, for the array of its plan or another."""
    for flag in ("groups", "rank", "entries", "pointwise", "method", "bits", "padding", "input", "fit", "rules"):
        if getattr(options, flag, None) not in (None, False, ()):
            flag = "include and --exclude" if flag == "rules" else flag
            raise InputError(f"--{flag} does not go with the folder of a run, whose plan says it; leave it away")
    folder = Path(options.model)
    plan = Plan.load(folder / "plan.json")
    network = find_network(plan.model, plan.input)
    check_plan(plan, network)
    masks = load_masks(folder / "model.safetensors") if any(layer.kind == PRUNED for layer in plan.layers) else {}
    return network, replace(plan, array=_array(options, plan.array)), masks


def given_plan(options: argparse.Namespace) -> tuple[Network, Plan, Masks]:
    """The plan of a file for the network that the user named, for the array of the plan or another."""
    for flag in ("groups", "rank", "entries", "bits", "pointwise", "method", "padding", "fit", "rules"):
        if getattr(options, flag, None) not in (None, False, ()):
            flag = "include and --exclude" if flag == "rules" else flag
            raise InputError(f"--plan already says what every layer becomes; leave --{flag} away, or edit {options.plan}")
    network = find_network(options.model, options.input)
    plan = Plan.load(options.plan)
    check_plan(plan, network)
    return network, replace(plan, array=_array(options, plan.array)), {}


def _array(options: argparse.Namespace, default: ArraySpec) -> ArraySpec:
    cells = {name: getattr(options, name, None) for name in ("cell_bits", "coding", "dac_bits")}  # `draw` has no such options
    given = {name: value for name, value in cells.items() if value is not None}
    return replace(options.array or default, **given)
