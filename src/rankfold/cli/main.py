"""The command line: parses, calls the library, prints."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from typing import NoReturn

from rankfold import __version__
from rankfold.cli.commands import (
    compress,
    demo,
    draw,
    energy,
    evaluate,
    export,
    map,
    plan,
    report,
    reproduce,
    robustness,
    simulate,
    train,
)
from rankfold.errors import RankfoldError

INTERRUPTED = 130  # 128 + SIGINT, as shells report it


class _Parser(argparse.ArgumentParser):
    """A parser whose complaint is one sentence."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"rankfold: {message}; see {self.prog} --help\n")


def build_parser() -> argparse.ArgumentParser:
    """The parser of `rankfold` with all its sub-commands."""
    parser = _Parser(
        prog="rankfold",
        description="Compress convolutional networks for in-memory-computing arrays: group low-rank factors, SDK mapping, "
        "quantisation-aware fine-tuning, honest cycle counts.",
    )
    parser.add_argument("--version", action="version", version=f"rankfold {__version__}")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND", parser_class=_Parser)
    for command in (
        map,
        energy,
        draw,
        plan,
        compress,
        evaluate,
        export,
        simulate,
        robustness,
        train,
        report,
        reproduce,
        demo,
    ):
        command.add_parser(commands)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code: 0, 2 for wrong input, 130 when interrupted."""
    options = build_parser().parse_args(arguments)
    try:
        code: int = options.run(options)
        sys.stdout.flush()
        return code
    except RankfoldError as error:
        if options.debug:
            raise
        print(f"rankfold: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        how = getattr(options, "interrupted", "the same command with --resume goes on where it stopped")
        print(f"\nrankfold: interrupted; {how}", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        # The reader of our output (head, less) has left; nothing is wrong. Python would complain once more at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


if __name__ == "__main__":
    sys.exit(main())
