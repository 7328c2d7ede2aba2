"""`rankfold completion`: what makes a shell complete commands, options, names and files."""

from __future__ import annotations

import argparse
from collections.abc import Mapping

SHELLS = ("bash", "zsh", "fish")
HOW = {
    "bash": "rankfold completion bash > ~/.local/share/bash-completion/completions/rankfold",
    "zsh": "rankfold completion zsh > a folder of $fpath, as _rankfold",
    "fish": "rankfold completion fish > ~/.config/fish/completions/rankfold.fish",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    told = "; ".join(f"{shell}: {how}" for shell, how in HOW.items())
    parser.add_argument(
        "shell",
        choices=SHELLS,
        help=f"print the script for this shell, which a new shell then reads ({told})",
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Print the script."""
    import shtab

    from rankfold.cli.main import COMMANDS, build_parser

    parser = build_parser(*COMMANDS)
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for command in action.choices.values():
                _complete(command)
    print(shtab.complete(parser, options.shell), end="")
    return 0


def _complete(command: argparse.ArgumentParser) -> None:
    """Say of every argument of a command what a shell completes it with; choices it knows by itself."""
    import shtab

    names = _names()
    for action in command._actions:
        if action.choices is not None or action.nargs == 0:
            continue
        if action.dest in names:
            action.complete = _names_or_files(action.dest, names[action.dest])  # type: ignore[attr-defined]
        elif action.metavar == "DIR":
            action.complete = shtab.DIRECTORY  # type: ignore[attr-defined]
        elif action.metavar in ("FILE", "PATH", "RUN", "DATA"):
            action.complete = shtab.FILE  # type: ignore[attr-defined]


def _names() -> dict[str, tuple[str, ...]]:
    """What arguments may be beside a file, by their field."""
    from rankfold.chip.best import OBJECTIVES
    from rankfold.cost.energy import TABLES
    from rankfold.machine import chip_names, hardware_names
    from rankfold.models.pretrained import SHIPPED
    from rankfold.reproduce.grid import grid_names
    from rankfold.workload import ZOO

    return {
        "model": (*ZOO, *SHIPPED),
        "run_folder": SHIPPED,
        "run_folders": SHIPPED,
        "hardware": hardware_names(),
        "technology": (*TABLES, "zigzag"),
        "show_table": TABLES,
        "chip": chip_names(),
        "show": (*hardware_names(), *chip_names()),
        "data": ("digits",),
        "device": ("auto", "cpu", "cuda"),
        "grid": grid_names(),
        "objective": tuple(OBJECTIVES),
    }


def _names_or_files(field: str, names: tuple[str, ...]) -> Mapping[str, str | Mapping[str, str]]:
    """Names, or the path of a file: a function of each shell's own (see `shtab.complete`)."""
    function = f"_rankfold_{field}"
    words = " ".join(names)
    return {
        "bash": function,
        "zsh": function,
        "fish": f"({function})",
        "preamble": {
            "bash": f'{function}() {{\n  compgen -W "{words}" -- "$1"\n  compgen -f -- "$1"\n}}\n',
            "zsh": f"{function}() {{\n  _alternative 'names:name:({words})' 'files:file:_files'\n}}\n",
            "fish": f"function {function}\n  printf '%s\\n' {words}\n"
            "  __fish_complete_path (commandline -ct)\nend\n",
        },
    }
