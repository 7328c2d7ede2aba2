"""Whether a file is a study that a search may write to, seen before anything is touched."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from rankfold.errors import InputError
from rankfold.files import check_target
from rankfold.planning.search.journal_lock import check_lock, locked, no_first_line

# What optuna's journal writes with each operation beside `op_code` and `worker_id`, by `op_code`
# (`JournalOperation`).
CREATE_STUDY, SET_PARAMETER, END_TRIAL = 0, 5, 6
COMPLETE = 1  # optuna's `TrialState`
FIELDS = (
    ("study_name", "directions"),
    ("study_id",),
    ("study_id", "user_attr"),
    ("study_id", "system_attr"),
    ("study_id", "datetime_start"),
    ("trial_id", "param_name", "param_value_internal", "distribution"),
    ("trial_id", "state", "values"),
    ("trial_id", "step", "intermediate_value"),
    ("trial_id", "user_attr"),
    ("trial_id", "system_attr"),
    (),
)
BEGINNING = b'{"op_code":0,"worker_id":"'  # of the first line that optuna writes


def check_study(path: Path) -> None:
    """Refuse a file that a search must not write to, before anything is touched.

    A study is a missing or an empty file, or optuna's journal: complete lines, each one operation, the
    first of which creates a study. After them half a line may stand, which another process is writing or
    a killed one left.

    Raises:
        InputError: the path is something else, or cannot be read, or what the lock would be called is taken.
    """
    try:
        check_target(path)
        if path.is_dir():
            raise InputError(f"{path} is a folder; give a file for the study")
        check_lock(path)
        if not path.exists():
            return
        only_begun = _is_only_begun(path)
        if only_begun:
            # Another process may be writing the very first line at this moment.
            with locked(path):
                only_begun = _is_only_begun(path)
    except OSError as error:
        raise InputError(
            f"cannot read {path}: {error.strerror or error}; give another file for the study"
        ) from error
    if only_begun:
        raise no_first_line(path)


def _is_only_begun(path: Path) -> bool:
    """Whether the file holds a part of the first line of a study, and nothing else.

    Half a line that follows complete ones is left to whoever appends.

    Raises:
        InputError: a complete line is no operation of a journal, or the part of a line is none of a
            study's first.
    """
    with open(path, "rb") as file:
        for number, line in enumerate(file):
            complete = line.endswith(b"\n")
            if not complete and number > 0:
                return False
            if not complete and BEGINNING.startswith(line[: len(BEGINNING)]):
                return True
            if not complete or not _is_operation(line, number == 0):
                raise InputError(f"{path} is not a study, or it is damaged; give another file")
    return False


def _is_operation(line: bytes, first: bool) -> bool:
    """Whether a line is an operation of optuna's journal; the first must create a study."""
    try:
        content = json.loads(line)
    except (ValueError, RecursionError):
        return False
    if not isinstance(content, dict) or not isinstance(content.get("worker_id"), str):
        return False
    code = content.get("op_code")
    if type(code) is not int or not 0 <= code < len(FIELDS):  # True is an int too
        return False
    if first and code != CREATE_STUDY:
        return False
    if not all(name in content for name in FIELDS[code]):
        return False
    if code == SET_PARAMETER:
        return _is_choice(content["param_value_internal"], content["distribution"])
    # What was measured of a trial that is complete.
    if code == END_TRIAL and content["state"] == COMPLETE:
        return _is_measured(content["values"])
    return True


def _is_choice(value: Any, distribution: Any) -> bool:
    """Whether a value lies within its range, of which a study has whole numbers alone."""
    try:
        limits = json.loads(distribution)["attributes"]
        return type(value) in (int, float) and bool(limits["low"] <= value <= limits["high"])
    except (ValueError, KeyError, TypeError, RecursionError):
        return False


def _is_measured(values: Any) -> bool:
    """Whether these are the two figures of a plan."""
    if not isinstance(values, list) or len(values) != 2:
        return False
    return all(type(value) in (int, float) for value in values)
