"""Options are in the same words on all commands."""

import argparse

import pytest

from common.command_line import options_of, parser_of, refuse
from rankfold.cli.main import COMMANDS
from rankfold.plan.methods import offered_methods

# What differs on purpose, and why.
PLACES = {"FILE", "DIR", "PATH"}  # of --out: some commands write a file, others a folder
TYPES = {
    "--hardware": "reproduce takes the arrays of its grid, and no single figures beside it",
    "--max-arrays": "plan takes a share of the dense network, too",
}


@pytest.fixture(scope="module")
def everywhere():
    """For each option the commands that have it, with what they take."""
    found = {}
    for command in COMMANDS:
        for name, action in options_of(command).items():
            found.setdefault(name, {})[command] = action
    return found


def shape(name, action):
    """What the user types after the option."""
    metavar = action.metavar
    if name == "--out" and metavar in PLACES:
        metavar = "a place"
    kind = getattr(action.type, "__name__", None)
    if kind == "convert":  # of `checked`: what it reads
        kind = action.type.__closure__[0].cell_contents
    if name in TYPES:
        kind = None
    # Text is text whether it is said or not.
    if kind == "str":
        kind = None
    return metavar, kind, action.nargs


def test_an_option_takes_the_same_on_all_commands(everywhere):
    for name, commands in everywhere.items():
        shapes = {shape(name, action) for action in commands.values()}
        assert len(shapes) == 1, (
            name,
            {command: shape(name, action) for command, action in commands.items()},
        )


def test_an_option_has_the_same_choices_on_all_commands(everywhere):
    for name, commands in everywhere.items():
        choices = {tuple(action.choices) for action in commands.values() if action.choices is not None}
        assert len(choices) <= 1, name


def test_an_option_fills_the_same_field_on_all_commands(everywhere):
    for name, commands in everywhere.items():
        fields = {action.dest for action in commands.values()}
        # `plan --no-distil` says what is foreseen; `compress` has a weight of distillation beside it.
        assert len(fields) == 1 or name == "--no-distil", (name, fields)


def test_every_option_that_takes_a_value_says_of_what_kind(everywhere):
    for name, commands in everywhere.items():
        for command, action in commands.items():
            assert action.help and action.help is not argparse.SUPPRESS, (command, name)
            takes_value = action.nargs != 0
            assert not takes_value or action.metavar or action.choices, (command, name)


@pytest.mark.parametrize(
    ("command", "old", "new"),
    [
        ("map", "--method", "--mapping"),
        ("energy", "--method", "--mapping"),
        ("draw", "--method", "--mapping"),
        ("plan", "--images", "--calibration-images"),
        ("simulate", "--repeats", "--chips"),
        ("robustness", "--repeats", "--chips"),
        ("export", "--precision", "--onnx-format"),
        ("reproduce", "--budget", "--time-limit"),
    ],
)
def test_names_of_version_0_1_are_understood_and_not_shown(command, old, new):
    parser = parser_of(command)
    assert parser._option_string_actions[old] is parser._option_string_actions[new]
    assert old not in options_of(command)
    assert f"{old} " not in parser.format_help()


def test_an_old_name_is_complained_of_by_the_new_one(capsys):
    assert "argument --mapping: invalid choice" in refuse(capsys, "map", "resnet20", "--method", "none")
    for method in offered_methods():
        error = refuse(capsys, "energy", "resnet20", "--method", method)
        assert f"{method} is a method of compression, and no mapping" in error
