"""The folder of a run: which run owns it, and the names of its files."""

from __future__ import annotations

import csv
import hashlib
import io
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from rankfold.errors import InputError
from rankfold.files import is_vacant, read_json, remove_strays, write_json, write_text
from rankfold.training.loop import EpochRecord

TYPE, VERSION = "rankfold.run", 1


@dataclass(frozen=True)
class RunFolder:
    """A folder that belongs to one run, recognised by the run's identity."""

    path: Path
    run: str

    @classmethod
    def claim(cls, path: Path, identity: dict[str, Any], resume: bool) -> RunFolder:
        """Take `path` for the run of `identity`, creating it or, with `resume`, going on with it.

        Temporary files that a killed process left in it are removed.

        Raises:
            InputError: the folder holds another run, or this one without `resume`, or other files.
        """
        run = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:16]
        folder = cls(path, run)
        marker = path / "run.json"
        if path.exists() and not path.is_dir():
            raise InputError(f"{path} is a file; give a folder for the results")
        if marker.exists():
            content = read_json(marker)
            there = content.get("identity") if isinstance(content, dict) else None
            if not isinstance(there, dict):
                raise InputError(f"{marker} is not ours; use another folder")
            if there != identity:
                keys = [key for key in identity.keys() | there.keys() if identity.get(key) != there.get(key)]
                raise InputError(f"{path} already holds a different run (other {', '.join(sorted(keys))}); use another folder")
            if not resume:
                raise InputError(f"{path} already holds this run; add --resume to go on with it, or use another folder")
        elif not is_vacant(path):
            raise InputError(f"{path} is not empty and holds no run; use an empty or a new folder")
        else:
            write_json(marker, {"_type": TYPE, "_version": VERSION, "run": run, "identity": identity})
        remove_strays(path)
        return folder

    @property
    def plan(self) -> Path:
        """The plan that was followed."""
        return self.path / "plan.json"

    @property
    def weights(self) -> Path:
        """The final weights."""
        return self.path / "model.safetensors"

    @property
    def result(self) -> Path:
        """The result; written last, so a run that has it is complete."""
        return self.path / "result.json"

    @property
    def history(self) -> Path:
        """One row per epoch."""
        return self.path / "history.csv"

    @property
    def report(self) -> Path:
        """The page for people."""
        return self.path / "report.html"


def save_history(path: Path, history: Sequence[EpochRecord]) -> None:
    """Write one CSV row per epoch atomically."""
    text = io.StringIO()
    writer = csv.DictWriter(text, [field.name for field in fields(EpochRecord)], lineterminator="\n")
    writer.writeheader()
    writer.writerows(asdict(record) for record in history)
    write_text(path, text.getvalue())


def load_history(path: Path) -> tuple[EpochRecord, ...]:
    """Read a history file.

    Raises:
        InputError: the file is missing or damaged.
    """
    try:
        with path.open(encoding="utf-8", newline="") as file:
            return tuple(
                EpochRecord(
                    int(row["epoch"]), float(row["rate"]), float(row["train_loss"]), float(row["train_accuracy"]),
                    float(row["test_accuracy"]) if row["test_accuracy"] else None,
                    float(row["seconds"]), images_per_second=float(row["images_per_second"]),
                    **{name: float(row[name]) for name in ("label_loss", "teacher_loss") if row.get(name)},
                )
                for row in csv.DictReader(file)
            )  # fmt: skip
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from error
    except (KeyError, ValueError) as error:
        raise InputError(f"{path} is not a training history: {error}") from error
