"""`rankfold energy`: what a network costs in silicon, layer by layer and part by part; component tables to
copy.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

from rankfold.cli.arguments.arrays import add_precision
from rankfold.cli.arguments.mappings import add_mapping, named_mapping
from rankfold.cli.arguments.methods import add_rules
from rankfold.cli.arguments.plans import add_planned_network, arrays_with_accuracy, planned_network
from rankfold.cli.arguments.process import add_device, prepare_process
from rankfold.cli.arguments.technology import add_technology
from rankfold.cli.arguments.values import given, refuse_given
from rankfold.cli.words.energy import component_table_in_words, energy_csv, energy_summary, energy_table
from rankfold.cli.words.hardware import hardware_in_words, not_counted_in_words
from rankfold.cost.energy import (
    Comparison,
    OnArrays,
    cheapest_mappings,
    hardware_table,
    on_arrays,
    table_text,
)
from rankfold.errors import InputError, UnwantedArgumentError
from rankfold.machine import hardware_to_json
from rankfold.models.pretrained import run_folder
from rankfold.plan import Plan
from rankfold.plan.counted import counts_linear

if TYPE_CHECKING:
    from rankfold.runs.adc_bits import AdcChoice

# Options that say how a run is simulated.
OF_DATA = ("max_drop", "per_layer", "images", "seed", "device", "threads")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    add_planned_network(parser, optional=True)
    add_rules(parser)
    add_mapping(parser, once_method=True)
    parser.add_argument(
        "--cheapest",
        action="store_true",
        help="lay every layer out as costs the least energy; what it computes stays the same",
    )
    add_precision(parser)
    add_technology(parser)
    parser.add_argument(
        "--show-table",
        metavar="NAME",
        help="print a component table, to copy and edit, and do nothing else",
    )
    _add_adc_choice(parser)
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print JSON")
    form.add_argument(
        "--csv", action="store_true", help="print CSV, one line per stored convolution and component"
    )
    parser.set_defaults(run=run)


def _add_adc_choice(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group(
        "fewest ADC bits", "with --data and the folder of a run: simulate it, and price the coarsest ADCs"
    )
    group.add_argument("--data", metavar="DATA", help="the run's data set, as compress takes it")
    group.add_argument(
        "--max-drop",
        type=float,
        metavar="POINTS",
        help="points of accuracy that arrays may take (default 1.0)",
    )
    group.add_argument(
        "--per-layer", action="store_true", help="fewest bits for each layer; takes far longer"
    )
    group.add_argument("--images", type=int, metavar="N", help="test images to simulate (default 1,000)")
    group.add_argument("--seed", type=int, metavar="N", help="of the images (default 0)")
    add_device(group)
    # Not `auto`, so that it can be told whether it was given.
    parser.set_defaults(device=None)


def _chosen_adcs(options: argparse.Namespace, plan: Plan) -> AdcChoice | None:
    """The ADCs that `--data` asks for; None without it.

    Raises:
        InputError: an option is of no use, or the network is no finished run.
    """
    if options.data is None:
        refuse_given(options, OF_DATA, "{flag} says nothing without --data; add it")
        return None
    folder = run_folder(options.model)
    if options.plan is not None or not folder.is_dir():
        raise UnwantedArgumentError(
            "--data is for simulating a finished run; give its folder as the model", "data"
        )
    refuse_given(options, ["adc_bits"], "--data chooses the bits of the ADCs; omit {flag}")
    refuse_given(
        options,
        ("mapping", "cheapest"),
        "--data simulates the run as its plan lays it out; omit {flag}",
    )
    from rankfold.cli.words.progress import Bars
    from rankfold.runs.adc_bits import IMAGES, MAX_DROP, fewest_adc_bits
    from rankfold.runs.chips import LoadedRun

    prepare_process(options.threads)
    asked: dict[str, Any] = {"max_drop": MAX_DROP, "images": IMAGES, "seed": 0}
    asked |= {name: getattr(options, name) for name in given(options, asked)}
    return fewest_adc_bits(
        LoadedRun.load(
            folder,
            options.data,
            options.device or "auto",
            factory=options.factory,
            trust_code=options.trust_code,
            progress=Bars(),
        ),
        plan.machine,
        per_layer=options.per_layer,
        progress=Bars(),
        **asked,
    )


def _with_adcs(arrays: OnArrays, choice: AdcChoice | None) -> OnArrays:
    """The same network, priced with the ADCs that were chosen, and with what they keep."""
    if choice is None:
        return arrays
    energy = arrays.energy
    if choice.by_layer:
        energy = energy.with_adc_bits(choice.by_layer)
    return replace(arrays, energy=replace(energy, accuracy=choice.accuracy))


def run(options: argparse.Namespace) -> int:
    """Print the energy of a network, or a component table."""
    if options.show_table is not None:
        # With its comments and sources, to be copied into a file.
        print(table_text(options.show_table), end="")
        return 0
    # Optional to argparse, as `--show-table` does without.
    if options.model is None:
        raise InputError("name a model, such as resnet20; or --show-table rram-22nm for a component table")
    network, plan, masks = planned_network(options)
    choice = _chosen_adcs(options, plan)
    if choice is not None:
        plan = plan.on(choice.hardware)
    table = hardware_table(plan.machine)
    if options.cheapest:
        # Its own choice would be overruled layer by layer without a word.
        if named_mapping(options.mapping):
            raise UnwantedArgumentError(
                f"--cheapest chooses the mappings itself; omit --mapping {options.mapping}", "mapping"
            )
        plan = cheapest_mappings(network, plan, table, masks)
    # Settled once for both networks, so that they have the same layers.
    linear = options.linear or counts_linear(network, plan)
    arrays = arrays_with_accuracy(options, on_arrays(network, plan, table, masks, linear))
    arrays = _with_adcs(arrays, choice)
    energy = arrays.energy
    if options.json:
        content = {
            "model": network.name,
            "hardware": hardware_to_json(plan.machine),
            **energy.to_json(),
            **_compared_to_json(arrays),
        }
        print(json.dumps(content, indent=2))
        return 0
    if options.csv:
        print(energy_csv(energy, plan.machine.name), end="")
        return 0
    print(f"{energy_table(energy)}\n\n{component_table_in_words(energy)}\n\n{energy_summary(energy, arrays)}")
    if choice is not None:
        print(_choice_in_words(choice))
    if options.hardware is not None:
        print(hardware_in_words(plan))
    for line in not_counted_in_words(network):
        print(line)
    return 0


def _compared_to_json(arrays: OnArrays) -> dict[str, Any]:
    """The planned network against the dense one, under im2col and under its best mapping."""
    compared = Comparison.of(arrays.energy, arrays.dense)
    against = {
        **asdict(compared),
        "saving": compared.saving,
        "band": list(compared.band),
        "flip": compared.flip,
    }
    best = arrays.by_mapping[arrays.dense_best]
    against_best = {
        "mapping": str(arrays.dense_best),
        "energy_pj": best.energy,
        "saving": 1 - arrays.energy.energy / best.energy,
    }
    return {"against_dense_im2col": against, "against_dense_best": against_best}


def _choice_in_words(choice: AdcChoice) -> str:
    """The bits that were chosen, and by what."""
    words = f"fewest ADC bits that lose at most {choice.max_drop:g} points: {choice.bits}"
    if choice.by_layer:
        fewer = ", ".join(f"{name} {bits}" for name, bits in choice.by_layer.items())
        words += f"; fewer in {fewer}"
    found = choice.accuracy
    return (
        f"{words} (loses {100 * found.drop:.1f} of {100 * found.ideal:.1f} points on {found.images:,} "
        f"images, seed {found.seed}, in {choice.simulations} simulations)"
    )
