"""Records as lines of JSON, appended one after another by one process at a time, and kept by a kill."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from rankfold.documents import in_schema
from rankfold.errors import InputError
from rankfold.temporaries import lock

NEWLINE = b"\n"


class Lines:
    """A file of records, open for appending; use it in a `with` statement.

    Half a line, which a process leaves that is killed while it writes, is cut off. Every other line was
    written in full.

    Args:
        path: the file, made where it is missing.
        validator: of `records.schema`, for each record.

    Raises:
        InputError: another process writes it, a line is no such record, or it cannot be written.
    """

    def __init__(self, path: Path, validator: Any) -> None:
        self._path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = open(path, "a+b")  # noqa: SIM115  # closed by `with` statements around the object
        except OSError as error:
            raise InputError(f"cannot write {path}: {error.strerror}; choose another place") from error
        try:
            self._take()
            self.found: list[dict[str, Any]] = self._read(validator)
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()  # which gives up the lock, too

    def append(self, records: Iterable[Mapping[str, Any]]) -> None:
        """Write records, and see them on disk.

        Raises:
            InputError: the disk is full.
        """
        text = "".join(json.dumps(record) + "\n" for record in records)
        try:
            self._file.write(text.encode())
            self._file.flush()
            os.fsync(self._file.fileno())
        except OSError as error:
            raise InputError(
                f"cannot write {self._path}: {error.strerror}; free some space, and the same command goes on"
            ) from error

    def _take(self) -> None:
        try:
            lock(self._file.fileno(), wait=False)
        except BlockingIOError:
            raise InputError(
                f"{self._path} is being written by another process; wait for it, or choose another folder"
            ) from None
        except OSError:
            pass  # no locks on this file system

    def _read(self, validator: Any) -> list[dict[str, Any]]:
        self._file.seek(0)
        content = self._file.read()
        whole = content.rfind(NEWLINE) + 1
        if whole < len(content):
            self._file.truncate(whole)
        records = []
        for number, line in enumerate(content[:whole].splitlines(), start=1):
            what = f"{self._path}, line {number}, is no such record; move the file away"
            try:
                record = json.loads(line)
            except (ValueError, RecursionError):
                raise InputError(what) from None
            in_schema(record, validator, what)
            records.append(record)
        return records
