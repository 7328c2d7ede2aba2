"""Names that options had in version 0.1, which are still understood, and not shown."""

from __future__ import annotations

import argparse
from typing import Any


def also_called(parser: Any, option: argparse.Action, name: str) -> None:
    """Let a command take an option by its old name, too.

    Args:
        parser: of the command, or a group of its arguments.
        option: as `add_argument` returned it.
        name: such as `--repeats`.
    """
    # Not among the option's own strings, which help, completion and the documentation show.
    parser._option_string_actions[name] = option
