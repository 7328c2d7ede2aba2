"""`explore`: all points of a space, or those that a search asks for, with the best trades among them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import KW_ONLY, dataclass, fields, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rankfold.cost.energy.table import SUFFIXES, table_text
from rankfold.errors import InputError
from rankfold.explore.evaluate import Evaluator, Plans
from rankfold.explore.fields import HARDWARE, TECHNOLOGY
from rankfold.explore.front import LOSS, OBJECTIVES, best_trades, chosen_objectives, compared
from rankfold.explore.measure import measured
from rankfold.explore.outcome import SCHEMA, Outcome
from rankfold.explore.runners import Chunk, Evaluate, Runner, ThisProcess
from rankfold.explore.search import Search, search_points
from rankfold.explore.settle import Settling
from rankfold.explore.space import Space
from rankfold.files import digest_of
from rankfold.plan import Plan
from rankfold.progress import Progress, Silent
from rankfold.records.claim import Claim, as_read_back
from rankfold.records.lines import Lines
from rankfold.records.schema import strict_validator
from rankfold.records.typed import write_typed
from rankfold.version import __version__
from rankfold.workload import Network

if TYPE_CHECKING:
    from rankfold.explore.trained import TrainedNetworks

TYPE, VERSION = "rankfold.exploration", 1
MARKER, POINTS, PLANS = "exploration.json", "points.jsonl", "plans"
CHUNK = 25  # points that a process evaluates before it hands them over, to be written
MOST_POINTS = 1_000_000
CLAIM = Claim(
    TYPE,
    VERSION,
    other="holds the points of another exploration (other {keys})",
    same="holds the points of this exploration",
    elsewhere="use another folder",
)


@dataclass(frozen=True)
class Exploration:
    """What was found of a space.

    Attributes:
        networks: the networks.
        space: the space.
        outcomes: of every point that was evaluated, by its number.
        objectives: what the front trades.
        accuracies: measured on the arrays, of the points of the front by number; None: not measured.
    """

    networks: tuple[Network, ...]
    space: Space
    outcomes: Mapping[int, Outcome]
    _: KW_ONLY
    objectives: tuple[str, ...] = OBJECTIVES
    accuracies: Mapping[int, float] | None = None

    @cached_property
    def predicted_front(self) -> tuple[int, ...]:
        """Points of each network that no other one of it is as good as, by what is predicted."""
        return self._front(None)

    @cached_property
    def front(self) -> tuple[int, ...]:
        """The same of what was measured, by accuracy instead of what is predicted; else as predicted."""
        if self.accuracies is None:
            return self.predicted_front
        return self._front(self.accuracies)

    @property
    def runs(self) -> int:
        """Points that run."""
        return sum(outcome.figures is not None for outcome in self.outcomes.values())

    def _front(self, accuracies: Mapping[int, float] | None) -> tuple[int, ...]:
        quantities = compared(self.objectives)
        if accuracies is not None:
            # What is measured takes the place of what was predicted, and of what that does not see.
            quantities = compared([name for name in self.objectives if name != LOSS])
        by_network: dict[int, list[Outcome]] = {}
        for outcome in self.outcomes.values():
            network = self.space.point(outcome.number, len(self.networks)).network
            by_network.setdefault(network, []).append(outcome)
        found: list[int] = []
        for network in sorted(by_network):
            found += best_trades(by_network[network], quantities, accuracies)
        return tuple(found)


def explore(
    networks: Sequence[Network],
    space: Space,
    out: str | Path | None = None,
    *,
    objectives: Sequence[str] = OBJECTIVES,
    search: Search | None = None,
    trained: TrainedNetworks | None = None,
    measure: int = 0,
    runner: Runner | None = None,
    progress: Progress | None = None,
) -> Exploration:
    """Evaluate the points of a space for some networks, as `rankfold chip` evaluates each.

    Args:
        networks: the networks; each has a front of its own.
        space: chips and plans, see `load_space`.
        out: a folder in which every point is recorded once it is done, and from which the same call goes on;
            None: nothing is recorded.
        objectives: what the front trades, some of `front.QUANTITIES`. With the predicted loss, no point gives
            way to one whose ADCs, weights or inputs have fewer bits, which the loss does not count.
        search: asks for points instead of all of them, for each network.
        trained: the networks with weights and data: for predicted losses, plans under budgets, and measuring.
        measure: images on which the accuracy of every point of the front is measured on its arrays; 0: none.
        runner: where points are evaluated; None: in this process. `LocalPool(2)` takes two processes, a
            connected `cluster.RayPool` a cluster.
        progress: hears how far it is.

    Raises:
        InputError: something does not go together, or the folder holds another exploration.
        MissingDependencyError: a search without Optuna.
        LostProcessError: a process of the runner was killed; the same call goes on.
    """
    names = chosen_objectives(objectives)
    progress = progress or Silent()
    _check(networks, space, search, trained, measure)
    folder = None if out is None else Path(out)
    plans = _settled(networks, space, search, trained, folder=folder, losses=LOSS in names, progress=progress)
    evaluator = Evaluator(tuple(networks), space, plans)
    known = _evaluated(evaluator, search, names, folder, runner or ThisProcess(), progress)
    found = Exploration(evaluator.networks, space, known, objectives=names)
    if measure and trained is not None:
        accuracies = measured(evaluator, found.predicted_front, trained, measure, folder, progress)
        return replace(found, accuracies=accuracies)
    return found


def _settled(
    networks: Sequence[Network],
    space: Space,
    search: Search | None,
    trained: TrainedNetworks | None,
    *,
    folder: Path | None,
    losses: bool,
    progress: Progress,
) -> Plans:
    """Take the folder, and make the plans of the space.

    Raises:
        InputError: there is none of these plans, or the folder holds something else.
    """
    kept_in = None if folder is None else folder / PLANS
    settling = Settling(
        networks=networks,
        space=space,
        trained=trained,
        folder=kept_in,
        losses=losses,
        progress=progress,
    )
    # Without data plans are made in no time, and refused before the folder is taken.
    plans = settling.plans() if trained is None else None
    if folder is not None:
        _claim(folder, networks, space, search, trained)
    return plans or settling.plans()


def _evaluated(
    evaluator: Evaluator,
    search: Search | None,
    names: Sequence[str],
    folder: Path | None,
    runner: Runner,
    progress: Progress,
) -> Mapping[int, Outcome]:
    """All points, or those that a search for these objectives asks for, by number; those on record are not
    evaluated again.
    """
    with ExitStack() as stack:
        lines, known = None, {}
        if folder is not None:
            lines = stack.enter_context(Lines(folder / POINTS, strict_validator(SCHEMA)))
            known = {one.number: one for one in map(Outcome.from_json, lines.found)}
        evaluate = stack.enter_context(runner.opened(evaluator))
        work = _Work(evaluator, known, lines, evaluate, progress)
        if search is None:
            work.all_points()
        else:
            work.searched(search, names)
        return work.known


@dataclass
class _Work:
    """Points that are evaluated, and written down.

    Attributes:
        evaluator: knows the points.
        known: what was found, by number.
        lines: the records; None: there are none.
        evaluate: evaluates chunks somewhere.
        progress: hears of each chunk.
    """

    evaluator: Evaluator
    known: dict[int, Outcome]
    lines: Lines | None
    evaluate: Evaluate
    progress: Progress

    def all_points(self) -> None:
        """Evaluate all points that are not known."""
        total = self.evaluator.space.size(len(self.evaluator.networks))
        missing = [number for number in range(total) if number not in self.known]
        if len(missing) < total:
            self.progress.note(f"{total - len(missing):,} of {total:,} points are done already")
        self._begin(len(missing))
        self._run(missing, CHUNK)
        self.progress.end()

    def searched(self, search: Search, names: Sequence[str]) -> None:
        """Evaluate what a search asks for, network by network."""
        space, networks = self.evaluator.space, len(self.evaluator.networks)
        self._begin(search.trials * networks)
        asked: dict[int, None] = {}
        for network in range(networks):

            def number(indices: Sequence[int], network: int = network) -> int:
                return space.number((network, *indices), networks)

            sizes = space.sizes(networks)[1:]
            numbers = search_points(search, sizes, number, compared(names), self._answered)
            asked |= dict.fromkeys(numbers)
        self.progress.end(f"{len(asked):,} different points of {search.trials * networks:,} trials")
        # Those that an earlier call asked for, with more trials, are not of this search.
        self.known = {number: self.known[number] for number in asked}

    def _answered(self, numbers: Sequence[int]) -> Mapping[int, Outcome]:
        """What a search wants to know."""
        missing = sorted({number for number in numbers if number not in self.known})
        # Small chunks, so that no process waits long for another one at the end of a round.
        self._run(missing, max(1, CHUNK // 5))
        self.progress.advance(len(numbers) - len(missing))
        return self.known

    def _begin(self, points: int) -> None:
        self.progress.begin("points", points, "points")

    def _run(self, numbers: Sequence[int], size: int) -> None:
        for outcomes in self.evaluate(_chunks(numbers, size)):
            if self.lines is not None:
                self.lines.append(outcome.to_json() for outcome in outcomes)
            self.known |= {outcome.number: outcome for outcome in outcomes}
            self.progress.advance(len(outcomes))


def _chunks(numbers: Sequence[int], size: int) -> Iterator[Chunk]:
    """Neighbours together, which have much in common."""
    for first in range(0, len(numbers), size):
        yield tuple(numbers[first : first + size])


def _check(
    networks: Sequence[Network],
    space: Space,
    search: Search | None,
    trained: TrainedNetworks | None,
    measure: int,
) -> None:
    """Refuse what does not go together, before any work."""
    if not networks:
        raise InputError("name a network to explore chips for")
    names = [network.name for network in networks]
    if len(set(names)) < len(names):
        raise InputError(f"networks (={', '.join(names)}) must be different ones")
    for choice in space.plans:
        if not any(choice.is_for(network) for network in networks):
            raise InputError(
                f"plan {choice.name} is for {choice.network}, which is none of {', '.join(names)}"
            )
    points = space.size(len(networks))
    if search is None and points > MOST_POINTS:
        raise InputError(
            f"the space has {points:,} points, and at most {MOST_POINTS:,} are tried one by one; let a "
            "search choose some of them (trials=1000)"
        )
    if measure < 0:
        raise InputError(f"images to measure accuracy on (={measure}) must be 0 or more")
    if measure and trained is None:
        raise InputError("accuracy is measured with trained weights on data; give data")


def _claim(
    folder: Path,
    networks: Sequence[Network],
    space: Space,
    search: Search | None,
    trained: TrainedNetworks | None,
) -> None:
    """Take a folder for the exploration.

    Raises:
        InputError: it holds something else.
    """
    by, data = None, None
    if search is not None:
        by = search.identity()
    if trained is not None:
        data = trained.identity
    identity = as_read_back(
        {
            # Whatever files a space names, and however it says them.
            "chips": _digest([space.chips, space.objective, _tables(space)]),
            "vary": _digest(space.axes),
            "plans": _digest([(choice, _file_of(choice.content)) for choice in space.plans]),
            "networks": {network.name: _digest(_all_of(network)) for network in networks},
            "search": by,
            "data": data,
            "version": __version__,
        }
    )
    held = CLAIM.folder(folder, MARKER, identity, True, work="exploration")
    if held is None:
        write_typed(folder / MARKER, TYPE, VERSION, {"identity": identity, "space": space.content})


def _tables(space: Space) -> list[str]:
    """The component tables in files that chips of a space name; those of the package are its version's."""
    named = {chip.hardware.technology for chip in space.chips}
    for axis in space.axes:
        for choice in axis.choices:
            named.update(value for place, value in choice.changes if place == TECHNOLOGY)
            named.update(value.technology for place, value in choice.changes if place == HARDWARE)
    return [table_text(name) for name in sorted(named) if name.lower().endswith(SUFFIXES)]


def _file_of(plan: Plan | None) -> str | None:
    """All that the file of a plan says, its prediction and its copies on a chip, too."""
    return None if plan is None else json.dumps(plan.to_json())


def _all_of(network: Network) -> list[Any]:
    """What a network is equal by: by itself it shows how many layers it has."""
    return [getattr(network, part.name) for part in fields(network)]


def _digest(value: Any) -> str:
    """Of frozen data classes that show all that they are equal by."""
    return digest_of(repr(value).encode())
