"""The networks and plans that users name on the command line."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

from rankfold import run_files
from rankfold.cli.arguments.arrays import add_array, chosen_bits, chosen_hardware, read_files
from rankfold.cli.arguments.mappings import laid_out, named_mapping
from rankfold.cli.arguments.methods import add_entries, add_low_rank, low_rank_method
from rankfold.cli.arguments.models import add_factory
from rankfold.cli.arguments.networks import MODEL_HELP, add_input, find_network, is_file, is_name
from rankfold.cli.arguments.values import given, refuse_given
from rankfold.cost import Masks
from rankfold.cost.energy import BITS, OnArrays
from rankfold.errors import InputError
from rankfold.files import check_target
from rankfold.models.pretrained import run_folder
from rankfold.plan import Plan, check_plan, masks_for, uniform_plan
from rankfold.workload import Network

# What a plan says already.
SAID_BY_A_PLAN = (
    "groups",
    "rank",
    "entries",
    "pointwise",
    "mapping",
    "bits",
    "weight_bits",
    "input_bits",
    "padding",
    "fit",
    "force_low_rank",
    "rules",
)


def add_planned_network(
    parser: argparse.ArgumentParser,
    *,
    optional: bool = False,
    plan: str = "follow this plan instead of one (g, r) for all layers",
) -> None:
    """Add what `planned_network` asks for: network, plan, array, and the low-rank pairs of a uniform plan.

    Args:
        parser: of the command.
        optional: whether the command can do without a network.
        plan: what `--plan` does here.
    """
    often = None
    if optional:
        often = "?"
    parser.add_argument(
        "model",
        nargs=often,
        metavar="MODEL",
        help=f"{MODEL_HELP}, a table of layers (.csv, .yaml), or the folder of a finished run or of save, or "
        "the name of shipped weights",
    )
    add_factory(parser)
    parser.add_argument("--plan", type=Path, metavar="FILE", help=plan)
    add_array(parser)
    add_input(parser)
    add_low_rank(parser)
    add_entries(
        parser,
        "kernel positions that low-rank layers keep: chosen on data, so give the folder of a run, or a "
        "--plan",
    )


def plan_file(options: argparse.Namespace) -> Path:
    """The file that a plan will be written to.

    Raises:
        InputError: it is a folder, a file of a finished run, or one that the command reads.
    """
    out: Path = options.out or Path(run_files.PLAN)
    if out.is_dir():
        raise InputError(f"{out} is a folder; give a file for the plan")
    check_target(out, read_files(options))
    return out


def planned_network(options: argparse.Namespace) -> tuple[Network, Plan, Masks]:
    """The network, the plan and the masks that the options name: a plan's, a finished run's, or the uniform
    plan's.
    """
    # A plan first: with it `model` is the network that it is for, and not a folder.
    if options.plan is None and run_folder(options.model).is_dir():
        return finished_run(options)
    refuse_given(
        options,
        ["factory"],
        "{flag} says what builds the network of a folder; name the network itself instead",
    )
    refuse_given(options, ["trust_code"], "{flag} is for folders, which may name code of others; omit it")
    if options.plan is not None:
        return given_plan(options)
    return uniformly_planned(options)


def arrays_with_accuracy(options: argparse.Namespace, arrays: OnArrays) -> OnArrays:
    """The network on its arrays, with what they keep where the run's folder has a simulation of them."""
    # A mapping of the user's lays other sums on the arrays than those that were simulated.
    other = bool(given(options, ("mapping", "cheapest", "max_arrays")))
    folder = run_folder(options.model)
    if options.plan is not None or other or not folder.is_dir():
        return arrays
    from rankfold.runs.on_arrays import energy_with_accuracy

    return replace(arrays, energy=energy_with_accuracy(arrays.energy, folder))


def uniformly_planned(options: argparse.Namespace) -> tuple[Network, Plan, Masks]:
    """The network that the user named, and the uniform plan that the options ask for."""
    network = find_network(options.model, options.input)
    # Before the plan, which is for the shapes as they are counted.
    if getattr(options, "padding", None) is not None:
        network = replace(network, layers=tuple(layer.without_padding() for layer in network.layers))
    plan = uniform_plan(
        network,
        chosen_hardware(options),
        low_rank_method(options),
        bits=chosen_bits(options, _both_bits(options)),
        mapping=named_mapping(options.mapping) or "sdk",
    )
    return network, laid_out(options, network, plan), {}


def _both_bits(options: argparse.Namespace) -> int | None:
    """Bits of weights and inputs alike; on hardware that is described, what its figures are counted with."""
    if options.bits is None and options.hardware is not None:
        return BITS
    bits: int | None = options.bits
    return bits


def finished_run(options: argparse.Namespace) -> tuple[Network, Plan, Masks]:
    """What a run, or somebody with `save`, made of a network, for the array of its plan or another."""
    refuse_given(
        options,
        (*SAID_BY_A_PLAN, "input"),
        "{flag} does not go with the folder of a run, whose plan says it; omit it",
    )
    folder = run_folder(options.model)
    # The plan of the run, with the supports that it found.
    plan = Plan.load(folder / run_files.PLAN)
    if options.factory is None and ":" in plan.model:
        from rankfold.models.load import check_trusted

        check_trusted(plan.model, folder, options.trust_code)
    network = _network_of(folder, plan, options.factory)
    check_plan(plan, network)
    # Which weights pattern pruning kept is only in the weights.
    masks = masks_for(plan, folder / run_files.WEIGHTS)
    return network, plan.on(chosen_hardware(options, plan)), masks


def _network_of(folder: Path, plan: Plan, factory: str | None) -> Network:
    """The network as it was before: what became of its layers is in the plan."""
    # Names need no torch; networks of several inputs are called as the plan says.
    if factory is None and not plan.inputs and is_name(plan.model):
        return find_network(plan.model, plan.input)
    from rankfold.runs.stored import dense_network, stored_classes

    _, network = dense_network(folder, plan, factory, stored_classes(folder, plan))
    return network


def given_plan(options: argparse.Namespace) -> tuple[Network, Plan, Masks]:
    """The plan of a file for the network that the user named, for the array of the plan or another."""
    refuse_given(
        options,
        SAID_BY_A_PLAN,
        f"--plan already says what every layer becomes; omit {{flag}}, or edit {options.plan}",
    )
    plan = Plan.load(options.plan)
    size = options.input
    # Files say themselves what they are called with, and no size stands for several inputs.
    if size is None and not plan.inputs and not is_file(options.model):
        size = plan.input
    network = find_network(options.model, size)
    check_plan(plan, network)
    return network, plan.on(chosen_hardware(options, plan)), {}
