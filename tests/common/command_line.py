"""The command line, in this process and in one of its own."""

import argparse
import os
import subprocess
import sys
from contextlib import contextmanager

import pytest

from rankfold.cli.main import build_parser, main

# A run on digits that takes seconds: two epochs of fine-tuning from given weights. One thread, whatever other
# tests of the process have set, so that runs of several processes have the same sums.
SMALL = [
    "resnet8",
    "--data",
    "digits",
    "--array",
    "32x32",
    "--batch",
    "64",
    "--epochs",
    "2",
    "--threads",
    "1",
]
PAIRS = ["--groups", "4", "--rank", "1/8"]


def rankfold(*arguments):
    """Run `rankfold` in a process of its own."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "rankfold.cli.main", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, env=environment)


@contextmanager
def no_pages():
    """Inside, runs write no page: its charts take as long as a small training."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("rankfold.report.write_report", lambda page, runs, title: None)
        yield


def refuse(capsys, *arguments):
    """Run in this process; expect exit code 2 and one sentence; return it."""
    capsys.readouterr()
    try:
        code = main([str(argument) for argument in arguments])
    except SystemExit as exit_:
        code = exit_.code
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert code == 2
    assert error.startswith("rankfold: ")
    return error


def parser_of(command):
    """The parser of one command."""
    (commands,) = (
        action for action in build_parser(command)._actions if isinstance(action, argparse._SubParsersAction)
    )
    return commands.choices[command]


def options_of(command):
    """The options of a command by the names that it shows."""
    return {
        name: action
        for action in parser_of(command)._actions
        for name in action.option_strings
        if name not in ("-h", "--help")
    }
