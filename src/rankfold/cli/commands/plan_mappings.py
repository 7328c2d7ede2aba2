"""`rankfold plan --mappings-only`: layers as they are, their mappings chosen within budgets, without data."""

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
from rankfold.cli.arguments.networks import find_network
from rankfold.cli.arguments.plans import plan_file
from rankfold.cli.arguments.values import refuse_given
from rankfold.cli.commands.plan_uniform import OF_THE_DATA, refuse_setting
from rankfold.cost.energy import hardware_table
from rankfold.planning.exact.budget import Budget
from rankfold.planning.exact.quantities import CYCLES


def add_mappings_only(parser: argparse.ArgumentParser) -> None:
    """Add `--mappings-only`."""
    parser.add_argument(
        "--mappings-only",
        action="store_true",
        help="keep every layer, and choose its mapping alone: least --objective (default cycles) within the "
        "budgets; needs neither data nor trained weights",
    )


def refuse_data(options: argparse.Namespace) -> None:
    """Refuse what `--mappings-only` has no use for.

    Raises:
        UnwantedArgumentError: an option is of data, or of one setting for all layers.
    """
    refuse_given(options, (*OF_THE_DATA, "pointwise"), "--mappings-only looks at no data; omit {flag}")
    refuse_setting(options, but=("input",))


def run_mappings(options: argparse.Namespace, budgets: tuple[Budget, ...]) -> int:
    """Write the plan and show the mapping of every layer."""
    refuse_data(options)
    # Refused and not ignored: a plan would keep noise that nothing was chosen for.
    refuse_noise(options, "--mappings-only counts costs alone; omit the noise of arrays")
    out = plan_file(options)
    hardware = chosen_hardware(options)
    check_details(options, hardware)
    network = find_network(options.model, options.input)

    # Here, as they import torch.
    from rankfold.cli.words.planning import layer_table, planning_to_json, totals
    from rankfold.cli.words.quiet import natives_silenced
    from rankfold.planning.mappings_alone import mapping_plan

    # The solver prints to standard output at times.
    with natives_silenced():
        planning = mapping_plan(
            network,
            kept_with_plan(options, hardware),
            *budgets,
            objective=options.objective or CYCLES,
            bits=chosen_bits(options, options.bits),
            table=hardware_table(hardware),
        )
    planning.plan.save(out)
    if options.json:
        print(json.dumps({"plan": planning_to_json(planning), "files": [str(out)]}, indent=2))
        return 0
    print(layer_table(planning))
    print(totals(planning))
    print(f"plan: {out}")
    print(f"hardware: {hardware.name}")
    return 0
