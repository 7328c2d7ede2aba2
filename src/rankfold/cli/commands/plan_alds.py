"""`rankfold plan --allocation alds`: groups and ranks by the largest relative error, as a baseline."""

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
from rankfold.cli.arguments.budgets import OF_OTHERS
from rankfold.cli.arguments.models import trained_model
from rankfold.cli.arguments.plans import plan_file
from rankfold.cli.arguments.process import prepare_process
from rankfold.cli.arguments.training import decoded_data
from rankfold.cli.arguments.values import refuse_given
from rankfold.errors import InputError
from rankfold.planning.exact.budget import Budget
from rankfold.planning.exact.quantities import CYCLES

ALDS = "alds"
# What its allocation takes no part of: it looks at weights alone, and keeps cycles alone.
OF_THE_LOSS = (
    *OF_OTHERS,
    "max_drop",
    "metric",
    "pareto",
    "search",
    "trials",
    "study",
    "chips",
    "search_images",
    "calibration_images",
    "kinds",
    "objective",
    "max_loss",
    "outputs",
    "layer_bits",
    "count_rounding",
    "ray",
    "after_epochs",
    "no_distil",
    "learn_from",
    "front",
)


def add_allocation(parser: argparse.ArgumentParser) -> None:
    """Add `--allocation`."""
    parser.add_argument(
        "--allocation",
        choices=(ALDS,),
        help="instead of the exact planner, the allocation of ALDS (Liebenwein et al. 2021), to compare with "
        "it: low-rank groups and ranks whose largest relative error is least within --max-cycles",
    )


def run_alds(options: argparse.Namespace) -> int:
    """Write the plan and show what becomes of every layer."""
    knows = f"--allocation {ALDS} knows cycles and weights alone"
    refuse_given(options, OF_THE_LOSS, f"{knows}; omit {{flag}}")
    if options.max_cycles is None:
        raise InputError(f"--allocation {ALDS} needs a budget of cycles, such as --max-cycles 60%")
    budget = Budget.parse(CYCLES, options.max_cycles)
    out = plan_file(options)
    hardware = chosen_hardware(options)
    check_details(options, hardware)
    # Refused and not ignored: a plan would keep noise that nothing was chosen for.
    refuse_noise(options, f"{knows}; omit the noise of arrays")
    if options.model.lower().endswith(".onnx"):
        raise InputError(
            f"{options.model}: give a network with weights in torch, such as a .pt2 file, or "
            "package.module:factory and --checkpoint"
        )

    # Here, as they import torch.
    from rankfold.cli.words.alds import allocation_table, allocation_to_json
    from rankfold.planning.alds import alds_plan
    from rankfold.training.device import choose_device
    from rankfold.workload import trace

    prepare_process(options.threads)
    data = decoded_data(options)
    model = trained_model(options, data, choose_device(options.device))
    found = alds_plan(
        model,
        trace(model, data.input_size, options.model),
        kept_with_plan(options, hardware),
        budget,
        bits=chosen_bits(options, options.bits),
        pointwise=options.pointwise,
    )
    found.plan.save(out)
    if options.json:
        print(json.dumps(allocation_to_json(found, out), indent=2))
        return 0
    print(allocation_table(found))
    print(f"plan: {out}")
    print(f"hardware: {hardware.name}")
    return 0
