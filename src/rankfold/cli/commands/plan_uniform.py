"""`rankfold plan --uniform`: one setting for all layers, written to a file without data."""

from __future__ import annotations

import argparse
import json

from rankfold.cli.arguments.arrays import (
    check_details,
    chosen_bits,
    chosen_hardware,
    kept_with_plan,
    refuse_noise,
)
from rankfold.cli.arguments.budgets import OF_CYCLES, OF_OTHERS
from rankfold.cli.arguments.mappings import add_mapping, named_mapping
from rankfold.cli.arguments.methods import add_method, add_rules, chosen_method
from rankfold.cli.arguments.networks import add_input, find_network
from rankfold.cli.arguments.plans import plan_file
from rankfold.cli.arguments.values import refuse_given
from rankfold.cost.energy import choose_mappings, hardware_table
from rankfold.errors import InputError
from rankfold.plan import coverage, uniform_plan
from rankfold.plan.kinds import PLAIN
from rankfold.plan.methods import offered_methods, settings

# What is asked of weights and data.
OF_THE_DATA = (
    "data",
    "max_drop",
    "metric",
    "outputs",
    "max_loss",
    "layer_bits",
    "count_rounding",
    "ray",
    "after_epochs",
    "no_distil",
    "learn_from",
    "pareto",
    "front",
    "search",
    "trials",
    "study",
    "chips",
    "search_images",
    "checkpoint",
    "calibration_images",
    "image_size",
    "kinds",
    "allocation",
)
# What chooses layer by layer.
OF_THE_CHOICE = (
    *OF_THE_DATA,
    OF_CYCLES,
    *OF_OTHERS,
    "objective",
    "mappings_only",
)
UNIFORM = ("method", "linear", "fit", "force_low_rank", "rules", "mapping", "input")


def add_uniform(parser: argparse.ArgumentParser) -> None:
    """Add `--uniform`, and what says the one setting."""
    group = parser.add_argument_group(
        "one setting for all layers", "instead of a choice for each; needs neither data nor trained weights"
    )
    group.add_argument(
        "--uniform",
        action="store_true",
        help="write the plan that gives all layers the setting below, as compress would follow it",
    )
    # Of this group alone in the help; `--pointwise` is of the exact choice too.
    add_method(group)
    add_rules(group)
    add_mapping(group, "of --uniform")
    add_input(group)


def refuse_setting(options: argparse.Namespace, but: tuple[str, ...] = ()) -> None:
    """Refuse what says one setting where every layer gets its own.

    Args:
        options: as parsed.
        but: what is of use all the same.

    Raises:
        InputError: such an option is given.
    """
    refused = [name for name in (*settings(offered_methods().values()), *UNIFORM) if name not in but]
    if options.steering != PLAIN:
        refused.append("steering")
    refuse_given(options, refused, "{flag} goes with --uniform; add that, or omit it")


def run_uniform(options: argparse.Namespace) -> int:
    """Write the plan and show what becomes of every layer."""
    refuse_given(options, OF_THE_CHOICE, "--uniform gives all layers one setting without data; omit {flag}")
    out = plan_file(options)
    method = chosen_method(options)
    if method.maker:
        raise InputError(
            f"the plan of method {method.name} is a question to the weights; use rankfold compress for it"
        )
    # Refused and not ignored: nothing would be chosen for it.
    refuse_noise(options, "--uniform chooses nothing by accuracy; omit the noise of arrays")
    hardware = chosen_hardware(options)
    check_details(options, hardware)
    network = find_network(options.model, options.input)
    named = named_mapping(options.mapping)
    bits = chosen_bits(options, options.bits)
    kept = kept_with_plan(options, hardware)
    plan = uniform_plan(network, kept, method, bits=bits, mapping=named or "sdk")
    if named is None:
        plan = choose_mappings(network, plan, hardware_table(hardware))
    plan.save(out)
    if options.json:
        print(json.dumps({"plan": plan.to_json(), "files": [str(out)]}, indent=2))
        return 0
    print(coverage(network, plan, options.linear).table(), end="\n\n")
    print(f"hardware: {hardware.name}")
    print(f"plan: {out}")
    return 0
