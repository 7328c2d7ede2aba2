"""The network of `rankfold plan` with everything that its layers may become, as the options ask for it."""

from __future__ import annotations

import argparse
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from rankfold.cli.arguments.arrays import chosen_bits, kept_with_plan
from rankfold.cli.arguments.budgets import given_budgets, named_kinds
from rankfold.cli.arguments.metrics import given_metric, taken_for
from rankfold.cli.arguments.models import trained_model
from rankfold.cli.arguments.process import prepare_process
from rankfold.cli.arguments.training import decoded_data
from rankfold.cli.commands.plan_chip import goal_on_chip, summed_objective
from rankfold.cli.commands.plan_forecast import drops_after, limits_of_drop, tell_unused
from rankfold.cost.energy import hardware_table
from rankfold.errors import InputError, UnwantedArgumentError
from rankfold.machine import ChipSpec, Hardware
from rankfold.planning.exact.budget import Budget
from rankfold.planning.exact.quantities import CYCLES

if TYPE_CHECKING:
    from torch import nn

    from rankfold.planning import PlanningProblem
    from rankfold.planning.forecast.finished import Learnt
    from rankfold.planning.forecast.situation import Situation
    from rankfold.planning.layer_runners import LayerRunner
    from rankfold.planning.options import PlanningOptions
    from rankfold.progress import Progress
    from rankfold.training.data import ImageData
    from rankfold.training.loaders import LoaderData
    from rankfold.training.metric import Metric


def problem_of(
    options: argparse.Namespace,
    machine: Hardware | ChipSpec,
    budgets: tuple[Budget, ...],
    learnt: Learnt,
    progress: Progress,
) -> tuple[PlanningProblem, Situation]:
    """The network with everything that its layers may become, and what accuracies are learnt for.

    Args:
        options: as parsed.
        machine: that plans are for.
        budgets: of what layers add up to.
        learnt: accuracies after training, where these bound what may be lost.
        progress: hears how far the work is.

    Raises:
        InputError: no plan could be made for what is asked.
    """
    from rankfold.planning.exact.slots import layer_slots
    from rankfold.planning.forecast.situation import Situation
    from rankfold.planning.problem_on_data import planning_problem
    from rankfold.runs.state import shapes_of

    # The cheap checks: data and network are loaded after them.
    asked = _checked(options, budgets)
    hardware, counted = _counted_on(options, machine)
    prepare_process(options.threads)
    runner = _runner(options)
    model, data = _loaded(options, asked)
    network = shapes_of(model, data, options.model)
    slots = layer_slots(network, hardware.array, asked.bits)
    situation = Situation.of(model, data, network.name, [slot.entry for slot in slots])
    tell_unused(learnt, situation, progress)
    if drops_after(options):
        # What was learnt bounds the predicted loss, and nothing need be measured.
        most, kinds = limits_of_drop(options, learnt.outcomes, situation, named_kinds(options), progress)
        asked = replace(asked, max_drop=None, max_loss=most, kinds=kinds)
    problem = planning_problem(
        model,
        data,
        hardware,
        *budgets,
        options=replace(asked, **counted),
        network=network,
        runner=runner,
        progress=progress,
    )
    return problem, situation


def _loaded(options: argparse.Namespace, asked: PlanningOptions) -> tuple[nn.Module, ImageData | LoaderData]:
    """The network with its weights, and the data, which have what is measured or foreseen on them.

    Raises:
        InputError: they cannot be read, or have not.
    """
    from rankfold.planning.accuracy import agreement
    from rankfold.planning.data import planning_data
    from rankfold.training.device import choose_device

    device = choose_device(options.device)
    data = decoded_data(options)
    if asked.metric is not None:
        data.require_targets()
    elif drops_after(options):
        data.require_labels("foreseeing accuracy", "omit --after-epochs")
    model = trained_model(options, data, device)
    if options.search is not None and asked.metric is None and not data.is_labelled:
        # Refuses outputs that nothing could be measured by, before minutes of calibration.
        agreement(model, planning_data(data, device), taken_for(options), options.seed)
    return model, data


def _checked(options: argparse.Namespace, budgets: tuple[Budget, ...]) -> PlanningOptions:
    """What is asked for, before data and network are loaded.

    Raises:
        InputError: no plan could be made for it.
    """
    from rankfold.planning.options import PlanningOptions
    from rankfold.planning.request import check_budgets, check_drop

    check_budgets(budgets)
    max_drop = _max_drop(options)
    # Before the metric is imported, which may be far.
    check_drop(max_drop, of_metric=options.metric is not None)
    bits = chosen_bits(options, options.bits)
    if options.layer_bits is not None and bits is None:
        raise InputError(
            "--layer-bits are chosen instead of the network's bits; give it bits, too, such as --bits 4"
        )
    if options.count_rounding and bits is None:
        raise InputError(
            "--count-rounding counts what rounding to --bits loses; give the network bits, such as --bits 4"
        )
    return PlanningOptions(
        bits=bits,
        layer_bits=options.layer_bits,
        count_rounding=options.count_rounding,
        objective=summed_objective(options),
        max_loss=options.max_loss,
        max_drop=max_drop,
        metric=_metric(options),
        outputs=options.outputs,
        trades=traded_by_front(options),
        pointwise=options.pointwise,
        linear=options.linear,
        kinds=named_kinds(options),
        images=options.calibration_images,
        seed=options.seed,
    )


def _counted_on(options: argparse.Namespace, machine: Hardware | ChipSpec) -> tuple[Hardware, dict[str, Any]]:
    """What plans keep of the machine, and what candidates are counted with."""
    if isinstance(machine, ChipSpec):
        from rankfold.chip.energy import chip_table
        from rankfold.planning.on_chip.plan import COUNTED, check_for_chip

        check_for_chip(given_budgets(options), goal_on_chip(options))
        return machine.hardware, {"table": chip_table(machine), "counted": COUNTED}
    # The table has what the plan does not keep.
    return kept_with_plan(options, machine), {"table": hardware_table(machine)}


def _runner(options: argparse.Namespace) -> LayerRunner:
    """Who finds what layers may become.

    Raises:
        InputError: there is no such cluster.
    """
    if options.ray is None:
        import torch

        from rankfold.planning.layer_runners import LayerProcesses

        # As many at a time as torch may use threads; the user bounds both by --threads.
        return LayerProcesses(torch.get_num_threads())
    from rankfold.planning.cluster import RayLayers

    runner = RayLayers(options.ray)
    # Before the data are read: a cluster that is not there is known at once.
    runner.connect()
    return runner


def _max_drop(options: argparse.Namespace) -> float | None:
    """The most accuracy that may be lost, in points on the command line, a share in the library; or the most
    of the metric.
    """
    if options.max_drop is None:
        return None
    # Of another metric nobody knows what a point would be.
    if options.metric is not None:
        return float(options.max_drop)
    return float(options.max_drop / 100)


def _metric(options: argparse.Namespace) -> Metric | None:
    """What plans are measured by; None: top-1 accuracy.

    Raises:
        InputError: it cannot be imported, or no plan is measured.
    """
    if options.metric is None:
        return None
    if options.search is None and options.max_drop is None:
        raise UnwantedArgumentError(
            "--metric is what --max-drop or --search measures; add one of them, or omit it", "metric"
        )
    if drops_after(options):
        raise UnwantedArgumentError(
            "--after-epochs foresees top-1 accuracy, which was learnt, and no other metric; omit one of both",
            "after_epochs",
            "metric",
        )
    return given_metric(options)


def traded_by_front(options: argparse.Namespace) -> tuple[str, ...]:
    """What the front trades for predicted loss."""
    from rankfold.planning.request import chosen_trades

    if options.front is None:
        return (CYCLES,)
    return chosen_trades(options.front.split(","))
