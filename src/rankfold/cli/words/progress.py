"""Progress bars on standard error, with rates and time left."""

from __future__ import annotations

import sys
from typing import Any

from tqdm import tqdm


class Bars:
    """Progress as a bar for each part of the work, and a line for each part that has something to say at its
    end.
    """

    def __init__(self) -> None:
        self._bar: tqdm[Any] | None = None

    def begin(self, what: str, total: int, unit: str = "images") -> None:
        """Draw a new bar."""
        # The part before may have ended in an error, with its bar still there.
        self._close()
        self._bar = tqdm(
            total=total,
            desc=what,
            unit=f" {unit}",
            # What is worth keeping of a part is its summary.
            leave=False,
            mininterval=0.5,
            # In a file or a pipe a bar would be a line for each of its states.
            disable=not sys.stderr.isatty(),
            dynamic_ncols=True,
        )

    def advance(self, count: int = 1, detail: str = "") -> None:
        """Move the bar."""
        if self._bar is None:
            return
        if detail:
            # Drawn with the next update, which tqdm keeps to twice a second.
            self._bar.set_postfix_str(detail, refresh=False)
        self._bar.update(count)

    def end(self, summary: str = "") -> None:
        """Take the bar away, and say what came of it."""
        self._close()
        if summary:
            self.note(summary)

    def note(self, text: str) -> None:
        """Say something."""
        # Standard output belongs to what was asked for, such as JSON.
        print(text, file=sys.stderr, flush=True)

    def _close(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None
