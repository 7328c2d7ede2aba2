"""The folder of a run: which run owns it, and the names of its files."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from typing import Any

from rankfold import run_files
from rankfold.documents import read_json
from rankfold.errors import InputError, RankfoldError
from rankfold.files import digest_of
from rankfold.records.claim import IDENTITY, Claim, as_read_back
from rankfold.records.csv_table import write_csv
from rankfold.records.typed import create_typed
from rankfold.training.epoch_record import EpochRecord
from rankfold.training.processes import ALONE, Processes

TYPE, VERSION = "rankfold.run", 1
MEASURED = ("accuracy", "agreement", "relative_output_error")  # see `Accuracies.key`
CLAIM = Claim(
    TYPE,
    VERSION,
    other="already holds a different run (other {keys})",
    same="already holds this run",
    elsewhere="use another folder",
    later=("weights", "energy"),
)


@dataclass(frozen=True)
class RunFolder:
    """A folder that belongs to one run.

    Attributes:
        path: the folder.
        run: hash of the run's identity.
    """

    path: Path
    run: str

    @classmethod
    def claim(cls, path: Path, identity: Mapping[str, Any], resume: bool) -> RunFolder:
        """Take `path` for the run of `identity`, creating it or, with `resume`, going on with it.

        Temporary files that a killed process left in it are removed.

        Raises:
            InputError: the folder holds another run, or this one without `resume`, or other files.
        """
        own = as_read_back(identity)
        # Sorted: the order in which an identity was put together does not matter.
        run = digest_of(json.dumps(own, sort_keys=True).encode())
        # The marker is written before anything else, and only where the folder is new.
        held = CLAIM.folder(path, run_files.RUN, own, resume, work="run")
        if held is None:
            create_typed(path / run_files.RUN, TYPE, VERSION, {"run": run, IDENTITY: own})
        # An older identity has another hash, by which its checkpoint is known.
        elif isinstance(held.get("run"), str):
            run = held["run"]
        return cls(path, run)

    @property
    def marker(self) -> Path:
        """Which run the folder belongs to; a folder of `save` has none."""
        return self.path / run_files.RUN

    @property
    def plan(self) -> Path:
        """The plan that was followed."""
        return self.path / run_files.PLAN

    @property
    def weights(self) -> Path:
        """The final weights."""
        return self.path / run_files.WEIGHTS

    @property
    def checkpoint(self) -> Path:
        """The newest state of training, while the run is not complete."""
        return self.path / run_files.CHECKPOINT

    @property
    def reconstruction(self) -> Path:
        """The network after the newest block of its reconstruction, while the run is not complete."""
        return self.path / run_files.RECONSTRUCTION

    @property
    def result(self) -> Path:
        """The result; written last, so a run that has it is complete."""
        return self.path / run_files.RESULT

    @property
    def baseline(self) -> Path:
        """The dense weights, where the run trains them itself."""
        return self.path / run_files.BASELINE

    @property
    def baseline_checkpoint(self) -> Path:
        """The newest state of that training, while it is not complete."""
        return self.path / run_files.BASELINE_CHECKPOINT

    @property
    def _checkpoints(self) -> tuple[Path, ...]:
        return self.checkpoint, self.baseline_checkpoint, self.reconstruction

    def remove_checkpoints(self) -> None:
        """Remove the states of training that nobody goes on from any more, as the run is complete."""
        for path in self._checkpoints:
            path.unlink(missing_ok=True)

    def give_back(self) -> None:
        """Remove the run's files where there is nothing to go on from, and the folder if it is empty then."""
        if any(path.exists() for path in (*self._checkpoints, self.baseline, self.weights)):
            return
        for path in (self.plan, self.marker):
            path.unlink(missing_ok=True)
        # Others may have put files of their own there.
        with suppress(OSError):
            self.path.rmdir()

    @property
    def history(self) -> Path:
        """One row per epoch."""
        return self.path / run_files.HISTORY

    @property
    def report(self) -> Path:
        """The page for people."""
        return self.path / run_files.REPORT


@contextmanager
def kept_if_begun(folder: RunFolder | None) -> Iterator[None]:
    """Leave nothing of a run behind where work inside is refused before there is anything to go on from.

    Work that is stopped in another way leaves the folder to `resume`.

    Args:
        folder: of the run; None: it has none, as in processes that are not the first.
    """
    try:
        yield
    except RankfoldError:
        if folder is not None:
            folder.give_back()
        raise


def data_begun(path: Path, processes: Processes = ALONE) -> str | None:
    """The digest of the data that the run in a folder began with; None: there is no run.

    Of several processes the first alone reads the folder, and all are called alike.

    Raises:
        InputError: the file that says so is damaged.
    """
    own = None
    marker = path / run_files.RUN
    if processes.is_first and marker.is_file():
        content = read_json(marker)
        # Whether the folder holds a run at all, and which, is seen to when it is claimed.
        identity = content.get(IDENTITY) if isinstance(content, dict) else None
        digest = identity.get("data") if isinstance(identity, dict) else None
        own = digest.encode() if isinstance(digest, str) else None
    told = processes.from_first(own)
    return told.decode() if told is not None else None


def save_history(path: Path, history: Sequence[EpochRecord], measured: str = "accuracy") -> None:
    """Write one CSV row per epoch atomically; `measured` is what columns call the accuracies."""
    name = measured.replace(" ", "_")
    header = [field.name.replace("accuracy", name) for field in fields(EpochRecord)]
    write_csv(path, header, [astuple(record) for record in history])


def load_history(path: Path) -> tuple[EpochRecord, ...]:
    """Read a history file.

    Raises:
        InputError: the file is missing or damaged.
    """
    try:
        with path.open(encoding="utf-8", newline="") as file:
            return tuple(_epoch(row) for row in csv.DictReader(file))
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from error
    except (KeyError, ValueError, csv.Error) as error:
        raise InputError(f"{path} is not a training history: {error}") from error


def _epoch(row: Mapping[str, str | None]) -> EpochRecord:
    """The record in a row; cells of what was not measured are empty, and older files lack the last columns.

    Raises:
        KeyError, ValueError: there is no such record.
    """
    measured = next((key for key in MEASURED if f"test_{key}" in row), MEASURED[0])
    return EpochRecord(
        int(_present(row, "epoch")),
        _number(_present(row, "rate")),
        _number(_present(row, "train_loss")),
        _perhaps(row[f"train_{measured}"]),
        # Must be there, and may be empty: not every epoch is tested.
        _perhaps(row[f"test_{measured}"]),
        _number(_present(row, "seconds")),
        images_per_second=_number(_present(row, "images_per_second")),
        # Columns that came with distillation.
        label_loss=_perhaps(row.get("label_loss")),
        teacher_loss=_perhaps(row.get("teacher_loss")),
    )


def _present(row: Mapping[str, str | None], name: str) -> str:
    cell = row[name]
    if not cell:  # None where the row is too short
        raise ValueError(f"{name} is missing in a row")
    return cell


def _perhaps(cell: str | None) -> float | None:
    if not cell:
        return None
    return _number(cell)


def _number(cell: str) -> float:
    value = float(cell)
    # Training stops at the first loss that is not finite, so that no history of ours has one.
    if not math.isfinite(value):
        raise ValueError(f"{cell} is no finite number")
    return value
