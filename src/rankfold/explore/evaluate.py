"""What a network does on the chip of a point: `rankfold chip`, for one point after another."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache

from rankfold.chip.best import INTERVAL, run_as_planned, run_on_chip
from rankfold.chip.run import ChipRun
from rankfold.cost.energy import choose_mappings, hardware_table
from rankfold.cost.energy.table import ComponentTable
from rankfold.errors import InputError
from rankfold.explore.outcome import Figures, Outcome
from rankfold.explore.plans import PlanChoice
from rankfold.explore.space import Point, Space
from rankfold.machine import ChipSpec
from rankfold.mapping import ArraySpec
from rankfold.mapping.array import SIGN_MAGNITUDE
from rankfold.plan import Plan
from rankfold.workload import Network

KEPT = 256  # plans with the mappings of the rule


@dataclass(frozen=True)
class PlannedFor:
    """What a choice of plans makes of a network on arrays of some size.

    Attributes:
        plan: it; None: there is none.
        loss: that is predicted; None: it was not.
        why: there is no plan, in words.
    """

    plan: Plan | None
    loss: float | None = None
    why: str = ""


# By network, choice of plans, and arrays.
Plans = Mapping[tuple[int, int, ArraySpec], PlannedFor]


@dataclass(frozen=True)
class Evaluator:
    """Evaluates the points of a space, in this process or another one.

    Attributes:
        networks: whose points they are.
        space: the space.
        plans: of every network, choice and size of arrays in the space.
    """

    networks: tuple[Network, ...]
    space: Space
    plans: Plans

    def __call__(self, numbers: Iterable[int]) -> list[Outcome]:
        """What is found of the points of these numbers."""
        return [self.outcome(number) for number in numbers]

    def outcome(self, number: int) -> Outcome:
        """What is found of a point; one that cannot run says why."""
        point = self.space.point(number, len(self.networks))
        try:
            chip = self.space.chip(point)
            planned = self.planned(point, chip)
            run = self.run(point, chip, planned)
        except InputError as error:
            return Outcome(number, None, str(error))
        return Outcome(number, figures(run, planned.loss))

    def planned(self, point: Point, chip: ChipSpec) -> PlannedFor:
        """The plan of a point.

        Raises:
            InputError: it has none.
        """
        planned = self.plans[point.network, point.plan, chip.hardware.array]
        if planned.plan is None:
            raise InputError(planned.why)
        return planned

    def run(self, point: Point, chip: ChipSpec, planned: PlannedFor) -> ChipRun:
        """The network of a point on its chip, as `rankfold chip` runs it.

        Raises:
            InputError: it cannot run there.
        """
        assert planned.plan is not None  # `planned` has said so
        network, choice = self.networks[point.network], self.space.plans[point.plan]
        plan = laid_out(network, planned.plan.on(chip.hardware), choice)
        found = None
        if self.space.objective is None and not choice.free:
            found = run_as_planned(network, plan, chip)
        if found is None:
            objective = self.space.objective or INTERVAL
            found = run_on_chip(network, plan, chip, objective=objective, choose_mappings=choice.free)
        return found


def laid_out(network: Network, plan: Plan, choice: PlanChoice) -> Plan:
    """The plan with the mappings that layers have where nothing chooses others: those of a file, else of the
    rule.
    """
    if not choice.free:
        return plan
    table = hardware_table(plan.machine)
    return replace(_by_rule(network, replace(plan, hardware=None), table), hardware=plan.hardware)


@lru_cache(maxsize=KEPT)
def _by_rule(network: Network, plan: Plan, table: ComponentTable) -> Plan:
    return choose_mappings(network, plan, table)


def figures(run: ChipRun, loss: float | None) -> Figures:
    """The figures of a run.

    Args:
        run: the network on the chip.
        loss: that is predicted of its plan.
    """
    weight_bits, input_bits = _bits(run)
    return Figures(
        interval=run.interval,
        latency=run.latency,
        energy=run.total_energy,
        area=sum(run.area.values()),
        loss=loss,
        missing_adc_bits=missing_adc_bits(run.activity.array, run.activity.table.adc_bits),
        weight_bits=weight_bits,
        input_bits=input_bits,
        arrays_used=run.arrays_used,
        utilisation=run.utilisation,
        mode=run.mode,
        limit=run.limit,
    )


def missing_adc_bits(array: ArraySpec, adc_bits: int) -> int:
    """Bits that ADCs are short of a code for each sum of a full array: n rows that are driven at once, of
    inputs up to 2^d - 1 and cells up to 2^c - 1, make sums up to n (2^d - 1) (2^c - 1), and of either sign
    where differences are converted, or rows driven with signs (`simulator.converter`).

    Args:
        array: with bits of cells and DACs.
        adc_bits: of its ADCs.
    """
    assert array.cell_bits is not None and array.dac_bits is not None  # of a `precise_plan`
    driven = min(array.rows_driven or array.rows, array.rows)
    largest = driven * ((1 << array.dac_bits) - 1) * ((1 << array.cell_bits) - 1)
    either_sign = array.subtracts or array.input_coding == SIGN_MAGNITUDE
    needed = math.ceil(math.log2(largest + 1)) + int(either_sign)
    return max(needed - adc_bits, 0)


def _bits(run: ChipRun) -> tuple[float, float]:
    """Bits of weights and of inputs, on average over the weights of the network as it is."""
    weights = of_weights = of_inputs = 0.0
    for layer in run.activity.layers:
        count = layer.shape.parameters
        for stage in layer.stages[:1]:
            weights += count
            of_weights += count * stage.activity.weight_bits
            of_inputs += count * stage.activity.input_bits
    return of_weights / max(weights, 1), of_inputs / max(weights, 1)
