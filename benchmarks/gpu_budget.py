"""So many minutes of a GPU, spent on what is most valuable first; the same command goes on where it stopped.

Usage: python benchmarks/gpu_budget.py --minutes 9 --data-cifar10 DIR --data-cifar100 DIR [--out runs/gpu]
       python benchmarks/gpu_budget.py --rehearse [--out runs/rehearsal]

`STAGES` lists what is trained: of WRN16-4 on CIFAR-100 the 4-bit network, then the cells of its headlines,
then the grids of ResNet-20 on CIFAR-10 (20 epochs), that of least energy first, then what is left of WRN16-4;
three seeds of most, seed after seed. Each stage is of a grid of the package; its cells go in groups that are
trained together by captured steps (docs/training.md). Every cell is a run folder in OUT/GRID/cells, written
the moment that it ends; one that was stopped has a checkpoint of its last epoch.

The time is kept, from when libraries are loaded: a cell is begun only where it can end in what is left, by
the images/s that this machine has shown (OUT/speeds.json; before that by `GUESSES`). What takes longer than a
whole call is trained in parts, and what was begun before goes on in any case. At the end of the time
trainings stop at their next batch, and an alarm stops whatever else is under way. Mapping the networks needs
no GPU and is left for later, on any machine:

       rankfold reproduce GRID --data DIR --out OUT/GRID --time-limit 0

Before anything else a small network is trained with a teacher, in the precision of the cells, by captured
steps, with compiled quantisers, and by the ordinary loop. Where these differ, or fail, that is said, and it
is tried without compiled quantisers; where that is no better, cells are trained one by one by the ordinary
loop.

Plans take a processor minutes, during which a GPU waits. `--plans` makes them, of the dense networks that are
shipped or were trained by an earlier call, and trains nothing: call it before, with the same OUT, where there
is no GPU. Cells whose plan is not there go last in their stage.

`--rehearse` goes through the same list on any machine: one epoch of a small network on digits, one seed, one
cell of each method. It was run on a processor; nothing of this was run on a GPU yet.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from captured_steps import trusted
from gpu_time import Lines, OutOfTime, Speeds, alarm

from rankfold import run_files
from rankfold.errors import InputError, RankfoldError
from rankfold.mapping import ArraySpec
from rankfold.models.load import load_model
from rankfold.plan.methods import Planned
from rankfold.progress import Progress
from rankfold.reproduce.cell import Outcome, Work, cell_folder, in_words
from rankfold.reproduce.grid import Cell, Grid, load_grid
from rankfold.reproduce.planned import plan_path, planned
from rankfold.reproduce.run import BASELINE, claim, dense_network, has_dense_network
from rankfold.reproduce.together import run_group
from rankfold.runs.baseline import dense_weights
from rankfold.runs.state import traced
from rankfold.training.captured import NOT_RECORDED
from rankfold.training.data import load_images
from rankfold.training.device import choose_device
from rankfold.training.recipe import Recipe

WRN, RESNET = "headlines-wrn16-4-cifar100", "headlines-resnet20-cifar10"
ENERGY = "resnet20-cifar10-energy"
RESERVE = 5.0  # seconds of the time that are kept for the end
TRIAL = 10.0  # seconds of each minute for steps to be compiled and compared, else they are not trusted


@dataclass(frozen=True)
class Stage:
    """Cells of a grid, in its order.

    Attributes:
        grid: its name.
        methods: whose cells; none: all.
        together: how many are trained at once.
    """

    grid: str
    methods: tuple[str, ...] = ()
    together: int = 1

    def cells(self, grid: Grid) -> list[Cell]:
        """Those of the grid that belong to it."""
        return [cell for cell in grid.cells if not self.methods or cell.method in self.methods]


# The most valuable first; the dense network of a grid is trained before its first cell.
STAGES = (
    Stage(WRN, ("quantise",)),
    Stage(WRN, ("planned", "window", "low-rank", "pairs-2023", "patdnn-channel", "pairs"), together=2),
    Stage(ENERGY, together=8),
    Stage(RESNET, together=8),
    Stage(WRN, together=2),
)


@dataclass(frozen=True)
class Trained(Work):
    """Cells that are trained here and mapped elsewhere."""

    def measured(self, cell: Cell) -> Outcome:
        """Nothing but that it has ended."""
        return Outcome(cell)


@dataclass
class Session:
    """One call of this command.

    Attributes:
        grids: by name, with their data.
        out: folder of all results.
        device: where.
        seconds: that it has.
        captured: whether steps are captured.
        backend: of `torch.compile`, for passes of quantisers in captured steps.
        progress: hears of all.
        failed: cells and dense networks that failed in this call, by grid and name.
    """

    grids: dict[str, Grid]
    out: Path
    device: str
    seconds: float
    captured: bool = True
    backend: str | None = None
    progress: Progress = field(init=False)
    failed: dict[tuple[str, str], str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._end = time.monotonic() + self.seconds
        self.progress = Lines(self._end - RESERVE)
        self._images: dict[str, int] = {}
        self._one_by_one = False  # whether a cell of the group could not be captured
        self.speeds = Speeds(self.out / "speeds.json")

    @property
    def left(self) -> float:
        """Seconds until the end."""
        return self._end - time.monotonic()

    def folder(self, grid: Grid) -> Path:
        """Of the results of a grid."""
        return self.out / grid.name

    def images(self, grid: Grid) -> int:
        """Training images of a grid's data."""
        if grid.name not in self._images:
            self._images[grid.name] = load_images(grid.data).train_images
        return self._images[grid.name]

    def seconds_of(self, grid: Grid, together: int) -> float:
        """What a cell takes, of so many at once, by the speed that is known."""
        speed = self.speeds.of(grid.model, grid.recipe.batch_size, together)
        return grid.recipe.epochs * self.images(grid) / speed

    def waiting(self, stage: Stage) -> tuple[list[Cell], list[Cell]]:
        """Cells of a stage that are begun and not done, and those that are not begun."""
        grid = self.grids[stage.grid]
        begun, new = [], []
        for cell in stage.cells(grid):
            folder = cell_folder(self.folder(grid), cell)
            if (folder / run_files.RESULT).exists() or (grid.name, cell.name) in self.failed:
                continue
            (begun if (folder / run_files.CHECKPOINT).exists() else new).append(cell)
        # A plan takes minutes in which nothing is trained: what needs none goes first.
        return begun, sorted(new, key=lambda cell: self.lacks_plan(grid, cell))

    def lacks_plan(self, grid: Grid, cell: Cell) -> bool:
        """Whether a plan has to be made for a cell."""
        method = cell.setting()
        return isinstance(method, Planned) and not plan_path(method, cell.bits, self.folder(grid)).exists()

    def next_group(self, stage: Stage) -> list[Cell]:
        """The cells of a stage that go next: those that were begun, and new ones that can end in time."""
        grid = self.grids[stage.grid]
        begun, new = self.waiting(stage)
        group = begun[: stage.together]
        each = self.seconds_of(grid, stage.together)
        room = int(self.left // each) - len(group)
        # What no call could do at once is done in parts, where there is time for a good part of it.
        if not group and each > self.seconds and self.left > self.seconds / 2:
            room = max(room, 1)
        return group + new[: max(0, min(room, stage.together - len(group)))]

    def may_train_dense(self, grid: Grid) -> bool:
        """Whether the dense network of a grid is there, or may be trained now."""
        if (grid.name, BASELINE) in self.failed:
            return False
        if has_dense_network(grid, self.folder(grid)):
            return True
        if (self.folder(grid) / BASELINE / run_files.CHECKPOINT).exists():
            return True
        recipe = grid.baseline_recipe
        needed = recipe.epochs * self.images(grid) / self.speeds.of(grid.model, recipe.batch_size, 1)
        return needed < self.left or (needed > self.seconds and self.left > self.seconds / 2)

    def dense(self, grid: Grid) -> bool:
        """Train the dense network of a grid, or take it up; False where that fails, which ends its stages."""
        try:
            claim(grid, self.folder(grid), self.device)
            dense_network(grid, self.folder(grid), self.device, self.progress, self.captured)
        except Exception as error:  # of any kind, as with cells: another grid may do better
            self.failed[grid.name, BASELINE] = in_words(error)
            self.progress.note(f"{grid.name}: the dense network failed: {in_words(error)}")
            return False
        return True

    def run(self, stage: Stage, cells: Sequence[Cell]) -> None:
        """Train a group of cells, whose dense network is there."""
        grid = self.grids[stage.grid]
        out = self.folder(grid)
        # Before the clock starts: what plans take, minutes once, says nothing of the cells that follow.
        unplanned = self.make_plans(grid, [cell for cell in cells if self.lacks_plan(grid, cell)])
        # Else each of them would try again, while the GPU waits.
        for name, error in unplanned.items():
            self.failed[grid.name, name] = error
        cells = [cell for cell in cells if cell.name not in unplanned]
        if not cells:
            return
        start = time.monotonic()
        whole = not any((cell_folder(out, cell) / run_files.CHECKPOINT).exists() for cell in cells)
        work = Trained(grid, out, stored_weights(out), self.device)
        fine = 0
        for outcome in self._outcomes(work, cells):
            if outcome.error is not None:
                self.failed[grid.name, outcome.cell.name] = outcome.error
                self.progress.note(f"{outcome.cell.name} failed: {outcome.error}")
            else:
                fine += 1
        if whole and fine == len(cells):
            rate = fine * grid.recipe.epochs * self.images(grid) / (time.monotonic() - start)
            # Fewer at once than the stage has, or one by one, are slower, which says nothing of it.
            if fine == stage.together and not self._one_by_one:
                self.speeds.note(grid.model, grid.recipe.batch_size, stage.together, rate)
            self.progress.note(
                f"{fine} cells of {grid.name}, {rate:.0f} images/s in all, {self.left:.0f} s left"
            )

    def make_plans(self, grid: Grid, cells: Sequence[Cell]) -> dict[str, str]:
        """Make the plans of cells that are not there yet, of the dense network, which is there.

        One that fails, for any reason, stops no other. Returns the errors, by the names of their cells.
        """
        asked: dict[tuple[Planned, int | None], list[Cell]] = {}
        for cell in cells:
            method = cell.setting()
            if isinstance(method, Planned):
                asked.setdefault((method, cell.bits), []).append(cell)
        errors: dict[str, str] = {}
        for (method, bits), same in asked.items():
            name = plan_path(method, bits, self.folder(grid)).name
            try:
                self._plan(grid, method, bits)
                self.progress.note(f"{grid.name}: {name}")
            except Exception as error:  # of any kind: the caller lists its cells as failed
                errors |= {cell.name: in_words(error) for cell in same}
                self.progress.note(f"{grid.name}: {name} failed: {in_words(error)}")
        return errors

    def _plan(self, grid: Grid, method: Planned, bits: int | None) -> None:
        """Make a plan, or find it."""
        data = load_images(grid.data)
        model = load_model(grid.model, len(data.classes), data.input_size[0])
        dense_weights(grid.model, data, stored_weights(self.folder(grid))).load_(model)
        planned(
            method,
            model,
            data,
            traced(model, data, grid.model),
            grid.array,
            hardware=grid.hardware,
            bits=bits,
            out=self.folder(grid),
            device=choose_device(self.device),
        )

    def _outcomes(self, work: Work, cells: Sequence[Cell]) -> Iterator[Outcome]:
        self._one_by_one = False
        if self.captured:
            for outcome in run_group(work, cells, self.progress, self.backend):
                if outcome.error is not None and NOT_RECORDED in outcome.error:
                    self._one_by_one = True
                    self.progress.note(f"{outcome.cell.name}: {outcome.error}: by the ordinary loop")
                    yield work(outcome.cell, self.progress)
                else:
                    yield outcome
            return
        for cell in cells:
            yield work(cell, self.progress)


def spend(session: Session, stages: Sequence[Stage]) -> None:
    """Go through the stages, the first that has a group to train first, until nothing fits in the time."""
    try:
        with alarm(session.left - RESERVE):
            while True:
                for stage in stages:
                    grid = session.grids[stage.grid]
                    if not session.may_train_dense(grid):
                        continue
                    cells = session.next_group(stage)
                    if not cells:
                        continue
                    # What the dense network took changes what can end in time: then the choice is made anew.
                    was_there = has_dense_network(grid, session.folder(grid))
                    if session.dense(grid) and was_there:
                        session.run(stage, cells)
                    break
                else:
                    return
    except OutOfTime:
        session.progress.note("the time is up; the same command goes on")


def stored_weights(out: Path) -> Path | None:
    """Those of the dense network of the grid in a folder; None: they are shipped, or not trained yet."""
    path = out / BASELINE / run_files.WEIGHTS
    if path.exists():
        return path
    return None


def make_plans(session: Session) -> bool:
    """Make the plans of all grids that lack them and have their dense network; False where one failed."""
    complete = True
    for grid in session.grids.values():
        out = session.folder(grid)
        if not has_dense_network(grid, out):
            session.progress.note(f"{grid.name}: no plans, as its dense network is not trained yet")
            continue
        claim(grid, out, session.device)
        complete = not session.make_plans(grid, grid.cells) and complete
    return complete


def rehearsal(grid: Grid, data: str) -> Grid:
    """A grid of the same methods that takes a minute or two: one seed, one cell of each method, one epoch."""
    first: dict[str, Cell] = {}
    for cell in grid.cells:
        first.setdefault(cell.method, cell)
    if Planned.name in first:
        first[Planned.name] = _for_a_small_network(first[Planned.name])
    recipe = Recipe(epochs=1, batch_size=64, peak_rate=0.05)
    array = ArraySpec(32, 32)
    return replace(
        grid,
        model="resnet8",
        data=data,
        array=array,
        arrays=(array,),
        recipe=recipe,
        baseline_recipe=recipe,
        cells=tuple(first.values()),
    )


def _for_a_small_network(cell: Cell) -> Cell:
    """A plan with budgets that the small network can keep, and no others than it has; few bits to choose."""
    small = {"max_cycles": 400, "max_energy": "70%", "layer_bits": "3,4"}
    return replace(cell, others=tuple((name, small.get(name, value)) for name, value in cell.others))


def report(session: Session, stages: Sequence[Stage]) -> None:
    """Say what is done of each grid, what failed, and what is left to do."""
    for name in dict.fromkeys(stage.grid for stage in stages):
        grid = session.grids[name]
        folder = session.folder(grid)
        done = sum((cell_folder(folder, cell) / run_files.RESULT).exists() for cell in grid.cells)
        print(f"{name}: {done} of {len(grid.cells)} cells are trained; map them, on any machine, by")
        print(f"  rankfold reproduce {name} --data {grid.data} --out {folder} --time-limit 0")
    for (name, cell), error in session.failed.items():
        print(f"failed: {name}: {cell}: {error}")


def arguments() -> argparse.ArgumentParser:
    """The options of the command."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=9.0, help="of the GPU, %(default)s by default")
    parser.add_argument("--data-cifar10", metavar="DIR", help="folder of CIFAR-10's Parquet shards")
    parser.add_argument("--data-cifar100", metavar="DIR", help="folder of CIFAR-100's Parquet shards")
    parser.add_argument("--out", type=Path, default=Path("runs/gpu"), help="folder, %(default)s by default")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, ... (default auto)")
    parser.add_argument("--no-captured", action="store_true", help="train one by one, by the ordinary loop")
    parser.add_argument("--plans", action="store_true", help="make plans beforehand, and train nothing")
    parser.add_argument("--rehearse", action="store_true", help="one epoch of a small network on digits")
    return parser


def chosen_grids(options: argparse.Namespace) -> dict[str, Grid]:
    """The grids of the stages, with the data that the options name.

    Raises:
        InputError: data are missing.
    """
    given = {RESNET: options.data_cifar10, ENERGY: options.data_cifar10, WRN: options.data_cifar100}
    grids = {}
    for name, data in given.items():
        if options.rehearse:
            grids[name] = rehearsal(load_grid(name), data or "digits")
        elif data is None:
            raise InputError("give the folders of both data sets, --data-cifar10 and --data-cifar100")
        else:
            grids[name] = replace(load_grid(name), data=data)
    return grids


def main(words: Sequence[str] | None = None) -> int:
    """Spend the time; 1 where a cell or a plan failed, 2 where nothing could be done."""
    start = time.monotonic()
    options = arguments().parse_args(words)
    try:
        grids = chosen_grids(options)
        device = choose_device(options.device)
        options.out.mkdir(parents=True, exist_ok=True)
        if options.plans:
            complete = make_plans(Session(grids, options.out.resolve(), options.device, 0.0))
            return 0 if complete else 1
        captured, backend = trusted(device, options.no_captured, options.minutes * TRIAL)
        session = Session(
            grids,
            options.out.resolve(),
            options.device,
            60 * options.minutes - (time.monotonic() - start),
            captured=captured,
            backend=backend,
        )
        print(f"{device}, torch {torch.__version__}, {session.left:.0f} s left")
        spend(session, STAGES)
        report(session, STAGES)
    except RankfoldError as error:
        print(f"gpu_budget: {error}", file=sys.stderr)
        return 2
    return 1 if session.failed else 0


if __name__ == "__main__":
    sys.exit(main())
