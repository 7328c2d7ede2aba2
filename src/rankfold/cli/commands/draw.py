"""`rankfold draw`: a picture of one layer on its arrays, or a page to step through all of them."""

from __future__ import annotations

import argparse
import difflib
from dataclasses import replace
from pathlib import Path

from rankfold.cli.arguments.arrays import chosen_hardware
from rankfold.cli.arguments.mappings import add_mapping, named_mapping
from rankfold.cli.arguments.methods import low_rank_method
from rankfold.cli.arguments.networks import find_network
from rankfold.cli.arguments.plans import add_planned_network, finished_run, given_plan, planned_network
from rankfold.cli.arguments.values import refuse_given
from rankfold.cost import choose_mapping, planned_shape
from rankfold.cost.choice import runs_by_weight
from rankfold.cost.energy import counted_plan, hardware_table
from rankfold.errors import InputError
from rankfold.machine import Hardware
from rankfold.models.pretrained import run_folder
from rankfold.plan import LayerPlan, LowRank, uniform_plan
from rankfold.workload import ConvShape, Network

NAMED = 6  # layers that a complaint names
# Options of whole networks that other commands have, and pictures do without.
NETWORK_WIDE = {
    "linear": False,
    "rules": (),
    "fit": False,
    "bits": None,
    "weight_bits": None,
    "input_bits": None,
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    add_planned_network(parser, plan="draw the layer as this plan has it")
    parser.add_argument(
        "--layer",
        metavar="NAME",
        help="the layer, as `rankfold map` names it; with --page the one that is shown at first",
    )
    add_mapping(parser, "mapping to draw, where no plan says it", once_method=True)
    parser.add_argument("--compare", action="store_true", help="draw all mappings below each other")
    parser.add_argument("--out", type=Path, metavar="FILE", help="the picture, .svg or .png")
    parser.add_argument(
        "--page",
        type=Path,
        metavar="FILE",
        help="an HTML page on which all layers are stepped through, activation by activation, under every "
        "mapping; of existing files it replaces only HTML pages",
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Write the picture, the page, or both."""
    from rankfold.report.arrays.picture import check_suffix

    if options.out is None and options.page is None:
        raise InputError("give --out FILE for a picture, or --page FILE for a page of all layers")
    both = options.out is not None and options.page is not None
    if both and options.out.resolve() == options.page.resolve():
        raise InputError(f"{options.out} cannot be picture and page; give them different names")
    if options.out is not None:
        # Before the page, which would else be written beside a complaint.
        if options.layer is None:
            raise InputError("a picture shows one layer: give --layer NAME, as `rankfold map` names it")
        check_suffix(options.out)
    if options.entries is not None and not _is_planned(options):
        raise InputError(
            f"entries (={options.entries}): kernel positions are chosen on data; draw the folder of a run, "
            "or a plan with them"
        )
    if options.page is not None:
        _write_page(options)
    if options.out is None:
        return 0
    if _is_planned(options):
        return _draw_planned(options)
    return _draw_uniform(options)


def _is_planned(options: argparse.Namespace) -> bool:
    """Whether a plan, or a finished run, says what becomes of the layers."""
    return options.plan is not None or run_folder(options.model).is_dir()


def _write_page(options: argparse.Namespace) -> None:
    """The page of all layers, dense and as a plan, a finished run or the options have them."""
    from rankfold.report import check_page
    from rankfold.report.mapper.choices import network_choices
    from rankfold.report.mapper.page import write_mapper

    refuse_given(options, ["compare"], "{flag} is for pictures: the page has all mappings; omit it")
    # Mapping a network may take a while; a file that is no page is known before.
    check_page(options.page)
    # Whoever asks for pairs gets them, whatever they cost; a plan says itself which there are.
    forced = not _is_planned(options)
    asked = argparse.Namespace(**vars(options), **NETWORK_WIDE, force_low_rank=forced)
    network, plan, masks = planned_network(asked)
    first = ""
    if options.layer is not None:
        first = find_layer(network, options.layer).name
    layers = list(network_choices(network, plan, masks))
    write_mapper(options.page, Path(network.name).name, plan.array, layers, first)
    print(f"page: {options.page}")


def _draw_uniform(options: argparse.Namespace) -> int:
    """The layer dense, or as the low-rank pair that the options ask for; with `--compare` both under all
    mappings.
    """
    from rankfold.report.arrays.picture import dense_panels, planned_panels, write_layer_picture

    network = find_network(options.model, options.input)
    shape = find_layer(network, options.layer)
    hardware = chosen_hardware(options)
    array = hardware.array
    pair = _pair(shape, options)
    method = named_mapping(options.mapping) or _usual_mapping(network, shape, hardware, pair)
    # A pair is shown beside the dense layer where mappings are compared.
    if pair is None and options.compare:
        panels = dense_panels(shape, array)
    elif pair is None:
        panels = dense_panels(shape, array, (method,))
    elif options.compare:
        panels = dense_panels(shape, array) + planned_panels(shape, array, pair, methods=pair.kind.mappings)
    else:
        if method not in pair.kind.mappings:
            method = "sdk"
        panels = planned_panels(shape, array, pair, methods=(method,))
    write_layer_picture(options.out, shape, array, panels, Path(network.name).name)
    print(f"picture: {options.out}")
    return 0


def _usual_mapping(network: Network, shape: ConvShape, hardware: Hardware, pair: LayerPlan | None) -> str:
    """The mapping that `rankfold map` gives the layer where nobody names one."""
    entry = replace(pair or LayerPlan(shape.weight), name=shape.weight)
    # Which bits a layer has where nobody says it depends on its place in the network.
    layers = []
    plan = uniform_plan(network, hardware)
    for layer in plan.layers:
        if layer.name == entry.name:
            layer = entry
        layers.append(layer)
    counted = counted_plan(network, replace(plan, layers=tuple(layers)), hardware_table(hardware))
    return choose_mapping(runs_by_weight(network)[entry.name], counted.array, counted.layer(entry.name))


def _draw_planned(options: argparse.Namespace) -> int:
    """The layer as a plan or a finished run has it; with `--compare` under all mappings that it can have."""
    from rankfold.report.arrays.picture import planned_panels, write_layer_picture

    if options.plan is None:
        network, plan, masks = finished_run(options)
    else:
        network, plan, masks = given_plan(options)
    shape = find_layer(network, options.layer)
    entry = plan.layer(shape.weight)
    # Empty: the mapping that the plan chose.
    methods: tuple[str, ...] = ()
    if options.compare:
        methods = entry.kind.mappings
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
    # A network may have hundreds of layers, so the complaint names a few.
    near = difflib.get_close_matches(name, layers, NAMED)
    what = "nearest:"
    if not near:
        near, what = list(layers)[:NAMED], "it starts with"
    raise InputError(f"{network.name} has no layer {name}; {what} {', '.join(near)}")


def _pair(shape: ConvShape, options: argparse.Namespace) -> LayerPlan | None:
    """The low-rank pair to draw, if any, by the rules of `rankfold map`."""
    # Whoever asks for a picture of a pair gets one, whatever the pair costs.
    method = low_rank_method(argparse.Namespace(**vars(options), **NETWORK_WIDE, force_low_rank=True))
    if not isinstance(method, LowRank):
        return None
    if not shape.is_linear and shape.kernel == (1, 1) and not options.pointwise:
        raise InputError(f"layer {shape.name} is a 1x1 convolution; add --pointwise to draw it low-rank")
    kind, _ = method.layer(shape)
    return LayerPlan(shape.name, kind)
