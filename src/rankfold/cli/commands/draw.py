"""`rankfold draw`: a picture of one layer on its arrays."""

from __future__ import annotations

import argparse
import difflib
from pathlib import Path

from rankfold.cli.arguments.networks import MODEL_HELP, find_network
from rankfold.cli.arguments.options import add_array, add_entries, add_low_rank, checked, image_input
from rankfold.cli.arguments.plans import finished_run, given_plan
from rankfold.cost import planned_shape
from rankfold.errors import InputError
from rankfold.lowrank import RankRule, check_rank
from rankfold.mapping import DEFAULT_ARRAY, LOW_RANK_METHODS, METHODS
from rankfold.plan.plan import MAPPINGS
from rankfold.workload import ConvShape, Network

NAMED = 6  # layers that a complaint names


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    parser.add_argument("model", help=f"{MODEL_HELP}, a table of layers (.csv, .yaml), or the folder of a finished run")
    parser.add_argument("--plan", type=Path, metavar="FILE", help="draw the layer as this plan has it")
    parser.add_argument("--layer", required=True, metavar="NAME", help="the layer, as `rankfold map` names it")
    add_array(parser)
    parser.add_argument("--input", type=checked(image_input), metavar="CxHxW", help="image size (default: the network's own)")
    add_low_rank(parser)
    add_entries(parser, "kernel positions that a low-rank pair keeps: chosen on data, so give the folder of a run, or a --plan")
    parser.add_argument("--method", choices=METHODS, help="mapping to draw (default sdk, or that of the plan)")
    parser.add_argument("--compare", action="store_true", help="draw all mappings below each other")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="the picture, .svg or .png")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Write the picture."""
    from rankfold.report.arrays.picture import (
        check_suffix,
        dense_panels,
        low_rank_panels,
        write_layer_picture,
    )

    check_suffix(options.out)
    if options.plan is not None or Path(options.model).is_dir():
        return _draw_planned(options)
    if options.entries is not None:
        raise InputError(
            f"entries (={options.entries}): kernel positions are chosen on data; draw the folder of a run, or a plan with them"
        )
    network = find_network(options.model, options.input)
    shape = find_layer(network, options.layer)
    array = options.array or DEFAULT_ARRAY
    pair = _pair(shape, options)
    if options.compare:
        panels = dense_panels(shape, array) + (low_rank_panels(shape, array, *pair) if pair else ())
    elif pair:
        method = "sdk" if options.method not in LOW_RANK_METHODS else options.method
        panels = low_rank_panels(shape, array, *pair, (method,))
    else:
        panels = dense_panels(shape, array, (options.method or "sdk",))
    write_layer_picture(options.out, shape, array, panels, Path(network.name).name)
    print(f"picture: {options.out}")
    return 0


def _draw_planned(options: argparse.Namespace) -> int:
    """The layer as a plan or a finished run has it; with `--compare` under all mappings that it can have."""
    from rankfold.report.arrays.picture import planned_panels, write_layer_picture

    network, plan, masks = (finished_run if options.plan is None else given_plan)(options)
    shape = find_layer(network, options.layer)
    entry = plan.layer(shape.weight)
    methods = MAPPINGS[entry.kind] if options.compare else ()
    panels = planned_panels(shape, plan.array, entry, masks.get(shape.weight), methods)
    write_layer_picture(options.out, planned_shape(shape, entry), plan.array, panels, Path(network.name).name)
    print(f"picture: {options.out}")
    return 0


def find_layer(network: Network, name: str) -> ConvShape:
    """The layer of that name.

    Raises:
        InputError: there is none; the message names those most like it, or the first ones.
    """
    layers = {layer.name: layer for layer in network.layers}
    if name in layers:
        return layers[name]
    near = difflib.get_close_matches(name, layers, NAMED) or list(layers)[:NAMED]
    what = "nearest:" if difflib.get_close_matches(name, layers, NAMED) else "it starts with"
    raise InputError(f"{network.name} has no layer {name}; {what} {', '.join(near)}")


def _pair(shape: ConvShape, options: argparse.Namespace) -> tuple[int, int] | None:
    """(g, r) of the low-rank pair to draw, if any, by the rules of `rankfold map`."""
    if options.rank is None:
        if options.groups is not None:
            raise InputError(f"groups (={options.groups}) needs a rank too, such as 1/8")
        return None
    if shape.kind == "conv" and shape.kernel == (1, 1) and not options.pointwise:
        raise InputError(f"layer {shape.name} is a 1x1 convolution; add --pointwise to draw it low-rank")
    groups = 1 if options.groups is None else options.groups
    rank = RankRule.parse(str(options.rank)).rank(shape)
    check_rank(shape, groups, rank)
    return groups, rank
