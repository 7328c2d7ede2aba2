"""torch's exporters, which log, warn and print of their own steps, and say at length why they fail."""

from __future__ import annotations

import io
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout

from rankfold.errors import first_line


@contextmanager
def quiet_torch() -> Iterator[None]:
    """Inside, torch says nothing; what it raises says enough."""
    levels = {}
    # Each by itself: torch gives many of its loggers a level of their own, which none above them overrules.
    for name in list(logging.root.manager.loggerDict):
        if name.partition(".")[0] == "torch":
            logger = logging.getLogger(name)
            levels[logger] = logger.level
            logger.setLevel(logging.CRITICAL + 1)
    try:
        nowhere = io.StringIO()
        with warnings.catch_warnings(), redirect_stdout(nowhere), redirect_stderr(nowhere):
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in levels.items():
            logger.setLevel(level)


def why_not(error: BaseException) -> str:
    """Why an export failed, in one line: what was raised first, as torch wraps it in advice on itself."""
    while error.__cause__ is not None:
        error = error.__cause__
    return first_line(error)
