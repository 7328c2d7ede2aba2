"""`ChipStudy`: a network under a plan on a described chip, on any number of its arrays."""

from __future__ import annotations

from dataclasses import replace

from rankfold.chip.kept import best_plan, laid_out, mappings_of, placed_on, priced
from rankfold.chip.layer_by_layer import run_layer_by_layer
from rankfold.chip.lodging import lodged
from rankfold.chip.placement import Placement, place_copies
from rankfold.chip.run import NS, ChipRun, Pipeline
from rankfold.chip.timing import timing
from rankfold.chip.traffic import Traffic, traffic, with_lodgings
from rankfold.cost.energy.chosen_table import hardware_table
from rankfold.cost.energy.pricing import precise_plan
from rankfold.cost.planned import Masks
from rankfold.errors import InputError
from rankfold.machine import ChipSpec
from rankfold.plan import Plan
from rankfold.plan.on_chip import OnChip
from rankfold.workload import Network

ROUNDS = 6  # in which the schedule and what waits elsewhere settle
ROUNDING = 1e-9  # of what sums of shares lose


class ChipStudy:
    """A network under a plan on a described chip, for any number of its arrays.

    Args:
        network: the network; all its convolutions and fully connected layers are run on arrays.
        plan: what its layers become.
        chip: the chip, whose arrays go before those of the plan.
        masks: the weights that pattern-pruned layers keep; None: those of the plan.
        choose_mappings: whether layers may have other mappings than the plan's.

    Raises:
        InputError: an array of the chip holds no weight of a layer.
    """

    def __init__(
        self,
        network: Network,
        plan: Plan,
        chip: ChipSpec,
        masks: Masks | None = None,
        *,
        choose_mappings: bool = False,
    ) -> None:
        self.network, self.chip = network, chip
        self._table = hardware_table(chip.hardware)
        try:
            self._plan, self._assumed = precise_plan(network, plan.on(chip.hardware), self._table)
            self._masks = self._plan.masks if masks is None else masks
            self.mappings = mappings_of(network, self._plan, self._masks, free=choose_mappings)
        except InputError as error:
            # Its arrays hold no weight, or not this plan's.
            raise InputError(f"chip {chip.name}: hardware: {error}") from None

    def staying(self, arrays: int, plan: Plan | None = None) -> ChipRun:
        """The network with weights that stay, on so many arrays.

        Args:
            arrays: at most so many.
            plan: with the mappings of its layers, one of `mappings`; None: those of the shortest interval.

        Raises:
            InputError: it needs more, or more room in buffers.
        """
        if plan is None:
            plan = best_plan(self.mappings, arrays)
        run = self._run(plan)
        placement, sent = placed_on(run.graph, self.chip, arrays)
        return replace(run, pipeline=_pipeline(run, placement, sent))

    def time(self, plan: Plan, activations: int) -> float:
        """us of so many activations, one after another, under a plan of `mappings`."""
        return NS * activations * self._run(plan).read_time

    def frugal(self, interval: int) -> ChipRun:
        """The network with weights that stay, its mappings of few conversions for an interval of so many
        activations.

        Raises:
            InputError: buffers have no room.
        """
        plan, arrays = self.mappings.frugal(self.chip.arrays, interval)
        run = self._run(plan)
        placement, sent = placed_on(run.graph, self.chip, arrays)
        return replace(run, pipeline=_pipeline(run, placement, sent))

    def with_copies(self, on_chip: OnChip) -> ChipRun:
        """The network with the mappings and the copies that its plan says.

        Args:
            on_chip: what it says.

        Raises:
            InputError: these are not the copies of its layers, the chip has fewer arrays, or its buffers no
                room.
        """
        run = self._run(self._plan)
        copies = []
        for tasks in run.graph.on_arrays.values():
            task = run.graph.tasks[tasks[0]]
            assert task.layer is not None  # it runs on arrays
            name = run.placed.layers[task.layer].shape.name
            stage = sum(other.layer == task.layer for other in run.graph.tasks[: tasks[0]])
            stages = on_chip.copies.get(name, ())
            if stage >= len(stages) or len(stages[stage]) != len(task.matrices):
                raise InputError(
                    f"the plan's copies are not those of layer {name} as it is mapped (chip/copies/{name}); "
                    "omit chip from the plan, and copies are chosen anew"
                )
            copies.append(stages[stage])
        placement = place_copies(run.graph, self.chip, copies)
        if placement.used > self.chip.arrays:
            raise InputError(
                f"the plan's copies need {placement.used:,} arrays, and {self.chip.name} has "
                f"{self.chip.arrays:,}; omit chip from the plan, and copies are chosen anew"
            )
        return replace(run, pipeline=_pipeline(run, placement, traffic(run.graph, placement, self.chip)))

    def layer_by_layer(self, why: str, plan: Plan | None = None) -> ChipRun:
        """The network with weights that are written for each image.

        Args:
            why: they do not stay, in words.
            plan: with the mappings of its layers; None: those of the plan.

        Raises:
            InputError: the chip has no memory from which they could be written.
        """
        if self.chip.memory is None:
            raise InputError(
                f"{why}; {self.chip.name} has no memory beside it from which they could be written"
            )
        run = self._run(plan or self._plan)
        layers = run_layer_by_layer(run.graph, run.placed, run.activity, self.chip, run.read_time)
        return replace(run, layer_by_layer=layers, why_not_pipelined=why)

    def _run(self, plan: Plan) -> ChipRun:
        laid = laid_out(self.network, plan, self._masks)
        activity, read_time = priced(laid, self._table)
        return ChipRun(
            network=self.network.name,
            chip=self.chip,
            # What was kept may be of a plan for other hardware.
            plan=replace(self._plan, layers=plan.layers),
            graph=laid.graph(activity),
            placed=laid.placed,
            activity=replace(activity, assumed=self._assumed),
            read_time=self.chip.read_time or read_time,
            not_counted=tuple(f"{other.name}: {other.what}" for other in self.network.untouched),
        )


def _pipeline(run: ChipRun, placement: Placement, sent: Traffic) -> Pipeline:
    """The schedule of tasks in their places, with rows in other cores where their own has no room.

    What waits elsewhere is sent there and back, which may make more rows wait: a few rounds settle that.

    Args:
        run: the network, before its schedule is known.
        placement: where it is.
        sent: what it sends where every core has room.

    Raises:
        InputError: there is no room for what waits.
    """
    graph, chip = run.graph, run.chip
    for _ in range(ROUNDS):
        times = timing(graph, placement, sent, chip, run.read_time)
        core = max(times.buffers, key=times.buffers.__getitem__)
        if times.buffers[core] <= chip.buffer.size * (1 + ROUNDING):
            return Pipeline(placement, sent, times)
        lodgings = lodged(graph, placement, times.rows, chip)
        if lodgings is None:
            break
        sent = with_lodgings(sent, graph, chip, lodgings)
    raise InputError(
        f"the buffer of core {core} would have to hold {times.buffers[core]:,.0f} bytes, those of "
        f"{chip.name} hold {chip.buffer.size:,} (buffer/size), and other cores have no room for what only "
        "waits"
    )
