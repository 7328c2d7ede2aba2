"""The command line: parses, calls the library, prints."""

from __future__ import annotations

import argparse
import errno
import os
import re
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from rankfold.cli.arguments.process import few_collections, unfrozen_afterwards
from rankfold.cli.arguments.processes import check_command, may_speak
from rankfold.cli.words.flags import in_options
from rankfold.cli.words.terminal import error_line, fitted_tables
from rankfold.errors import InputError, RankfoldError, did_you_mean, in_one_line

if TYPE_CHECKING:
    from rankfold.cli.arguments.settings import Settings

# What may be wrong with a path itself: whether it is there is asked, and answered, where it is used.
OF_PATHS = (errno.ENAMETOOLONG, errno.ELOOP, errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EIO)
INTERRUPTED = 130  # 128 + SIGINT, as shells report it
GO_ON = "the same command with --resume goes on where it stopped"

# Each command is a module of `cli.commands`, which is imported only when the command is called: a page of
# help and a command that needs neither data nor torch answer at once.
COMMANDS = {
    "map": "cycles, tiles, ADC conversions and energy of every convolution on an array",
    "energy": "energy, latency and area of a plan, by layer and component",
    "chip": "a network on a described chip: throughput, latency, energy, traffic, buffers",
    "explore": "many chips for networks: the best trades of energy, latency, area and loss",
    "draw": "a picture of one layer on the array, cell by cell",
    "plan": "choose exactly, under budgets, what every layer becomes; compress --plan follows",
    "compress": "decompose, quantise and fine-tune a network",
    "evaluate": "accuracy of a finished run from its files",
    "export": "a finished run as ONNX, array images, workload files or dense weights",
    "simulate": "accuracy of a finished run on its arrays, and which layer errs most",
    "robustness": "accuracy of finished runs on arrays that are worse and worse",
    "train": "train a dense float network from fresh weights",
    "report": "compare finished runs of one network on one page",
    "reproduce": "train and compare a grid of compressions, cell by cell",
    "hardware": "descriptions of hardware: to list, to copy and edit, to check",
    "cache": "decoded images that data sets leave behind: where, how large, to clear",
    "demo": "train, compress and compare a small network on digits",
    "doctor": "what is installed, what is missing and how to get it; devices, caches, options of a file",
    "completion": "a script that makes bash, zsh or fish complete commands, options and names",
}


INVALID_CHOICE = re.compile(r"invalid choice: '([^']*)' \(choose from (.*)\)")
UNKNOWN_OPTION = re.compile(r"unrecognized arguments: (?:\S* )*?(--[\w-]+)")


class _Parser(argparse.ArgumentParser):
    """A parser whose complaint is one sentence."""

    def error(self, message: str) -> NoReturn:
        # Argparse would print the whole usage before it, which hides the sentence.
        words = in_one_line(f"{message}{self._nearest(message)}")
        # All of several processes have the same arguments, and the same complaint of them.
        if not may_speak():
            self.exit(2)
        # A question ends the sentence before.
        link = "; see"
        if words.endswith("?"):
            link = " See"
        self.exit(2, f"{error_line(f'{words}{link} {self.prog} --help')}\n")

    def _nearest(self, message: str) -> str:
        """What was meant by a misspelt choice or option, in words; empty where nothing is like it."""
        choice = INVALID_CHOICE.search(message)
        if choice is not None:
            return did_you_mean(choice[1], re.findall(r"[\w.:-]+", choice[2]))
        option = UNKNOWN_OPTION.search(message)
        if option is not None:
            return did_you_mean(option[1], self._option_names())
        return ""

    def _option_names(self) -> list[str]:
        """All options of the command whose arguments are known, and of all commands."""
        names = list(self._option_string_actions)
        for action in self._actions:
            # Of a parser with sub-commands: one of them has its arguments, the others have `--help` alone.
            if isinstance(action.choices, dict):
                for command in action.choices.values():
                    names += command._option_string_actions
        return names


class _Versions(argparse.Action):
    """Prints versions; they are looked up only when they are asked for."""

    def __call__(self, parser: argparse.ArgumentParser, *arguments: Any) -> NoReturn:
        from rankfold.cli.words.versions import versions_in_words

        print(versions_in_words())
        parser.exit()


def _add_versions(parser: argparse.ArgumentParser) -> None:
    """Add `--version`, which is understood before a command and behind it."""
    parser.add_argument(
        "--version",
        action=_Versions,
        nargs=0,
        dest=argparse.SUPPRESS,
        help="show versions: ours, and of what matters",
    )


def build_parser(*commands_known: str | None, settings: Settings | None = None) -> argparse.ArgumentParser:
    """The parser of `rankfold`.

    Args:
        commands_known: the sub-commands whose arguments shall be known; the others are known by name alone.
        settings: what the user's file says, as defaults of these.

    Raises:
        InputError: the file says something that is no option, or no value of it.
    """
    parser = _Parser(
        prog="rankfold",
        description="Compress convolutional networks for in-memory-computing arrays: group low-rank "
        "factors, SDK mapping, quantisation-aware fine-tuning, honest cycle counts.",
    )
    _add_versions(parser)
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    parser.add_argument(
        "--no-config", action="store_true", help="read no rankfold.toml and no pyproject.toml"
    )
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND", parser_class=_Parser)
    for name, words in COMMANDS.items():
        # All are known by name, so that the page of help and a misspelt command list them.
        added = commands.add_parser(name, help=words)
        if name in commands_known:
            _add_versions(added)
            _add_arguments(added, name)
            if settings is not None:
                added.set_defaults(applied=settings.apply(added, name))
    return parser


def _add_arguments(parser: argparse.ArgumentParser, command: str) -> None:
    """Add the arguments of a sub-command.

    Raises:
        InputError: a method that was registered has a setting with the name of another option.
    """
    try:
        import_module(f"rankfold.cli.commands.{command}").add_arguments(parser)
    except argparse.ArgumentError as error:
        # Options of ours do not clash, so one of them is a setting of a method from elsewhere.
        raise InputError(
            f"{error.argument_name} is a setting of a method and another option of rankfold {command}, too; "
            "give the setting another name"
        ) from None


def _settings(given: Sequence[str], command: str | None) -> Settings | None:
    """What a file of options says; None: there is none, or it is not to be read.

    Raises:
        InputError: it is no such file.
    """
    # `doctor` shows it, whatever is wrong with it.
    if command not in COMMANDS or command in ("doctor", "completion"):
        return None
    if "--no-config" in given[: given.index(command)]:
        return None
    try:
        folder = Path.cwd()
    except OSError:  # a folder that somebody has removed
        return None
    from rankfold.cli.arguments.settings import find_settings

    return find_settings(folder, COMMANDS)


def _run(given: Sequence[str], command: str | None, options: argparse.Namespace) -> int:
    """Parse and run a command; what its file says for all commands and this one refuses is left out.

    Args:
        given: what was typed.
        command: the word of it that names a command.
        options: filled with what was parsed.

    Raises:
        RankfoldError: see the command.
    """
    settings = _settings(given, command)
    while True:
        vars(options).update(applied=None)
        build_parser(command, settings=settings).parse_args(given, options)
        try:
            with fitted_tables():
                code: int = options.run(options)
            return code
        except InputError as error:
            refused = options.applied and options.applied.refused(error, options)
            if settings is None or not refused:
                raise
            if may_speak():
                why = in_options(str(error))
                note = f"{settings.path} says --{refused}, which is left out here: {why}"
                print(in_one_line(note), file=sys.stderr)
            settings = settings.without(refused)
            vars(options).clear()
            options.debug = False


@few_collections()
@unfrozen_afterwards()
def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code: 0, 2 for wrong input, 130 when interrupted."""
    given = sys.argv[1:]
    if arguments is not None:
        given = list(arguments)
    if not given:
        build_parser().print_help()
        return 0
    # Looked for before parsing: only this command's module is imported.
    command = next((word for word in given if not word.startswith("-")), None)
    options = argparse.Namespace(debug=False, applied=None)
    try:
        check_command(command)
        # Already here a command's module is imported, during which a user may press Ctrl-C.
        code = _run(given, command, options)
        # Here, where a reader that has left is still handled below, and not at exit.
        sys.stdout.flush()
        return code
    except RankfoldError as error:
        # Only errors of ours are sentences; any other is a fault of ours, and keeps its traceback.
        if options.debug:
            raise
        if may_speak():
            message = in_options(str(error))
            if options.applied is not None:
                message = options.applied.told(message, options)
            print(error_line(in_one_line(message)), file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        # Commands that cannot go on, or go on in another way, say so themselves.
        how = getattr(options, "interrupted", GO_ON)
        if may_speak():
            print(f"\n{error_line(f'interrupted; {how}')}", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        # The reader of our output (head, less) has left; nothing is wrong. Python would complain once more at
        # exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        # What the file system says of a path that the user gave; all else keeps its traceback.
        if options.debug or error.filename is None or error.errno not in OF_PATHS:
            raise
        place = in_one_line(str(error.filename))
        print(error_line(f"cannot use {place}: {error.strerror}; give another path"), file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
