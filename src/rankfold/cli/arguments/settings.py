"""The file of options that one repeats: `rankfold.toml`, or `[tool.rankfold]` of a `pyproject.toml`.

    array = "64x64"          # of every command that has the option
    data = "./data/cifar10"  # ./ and ../ are seen from the file
    threads = 2

    [compress]               # of this command alone
    epochs = 4

It is looked for in the working folder, then in the folders above; the first one found counts. What is given
on the command line goes before the file, and what the file says before the defaults. What is for all
commands is left out where a command does not have it, or says that it does not go with what was typed.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from rankfold.cli.arguments.option_names import OPTION_NAMES
from rankfold.errors import InputError, UnwantedArgumentError, did_you_mean

FILE, PROJECT = "rankfold.toml", "pyproject.toml"
TABLE = "rankfold"  # of [tool.*] in a pyproject.toml
# What is of a single call, and would surprise in all others.
OF_ONE_CALL = frozenset(
    {"json", "csv", "list", "show", "show-table", "help", "resume", "plan", "include", "exclude", "digital"}
    | {"vary", "learn-from", "price-again", "redraw"}
)
# What asks a command for other work, and is therefore no default of it unless its own table says so:
# `energy --data` simulates for minutes.
OF_OWN_TABLES = {"energy": frozenset({"data"})}


@dataclass(frozen=True)
class Settings:
    """What a file of options says.

    Attributes:
        path: of the file.
        shared: option -> value, of every command that has the option; names as typed, without `--`.
        of_command: the same for single commands, by their names.
    """

    path: Path
    shared: Mapping[str, Any]
    of_command: Mapping[str, Mapping[str, Any]]

    def apply(self, parser: argparse.ArgumentParser, command: str) -> Applied:
        """Make what the file says the defaults of a command.

        Args:
            parser: of the command, with all its options.
            command: its name.

        Raises:
            InputError: the file names an option that the command does not have in its own table, or a value
                that the option does not take.
        """
        given = dict(self.shared)
        own = self.of_command.get(command, {})
        given.update(own)
        applied = Applied(self, command)
        for name, value in given.items():
            if name not in own and name in OF_OWN_TABLES.get(command, ()):
                continue
            option = parser._option_string_actions.get(f"--{name}")
            # Most commands lack some of what others take.
            if option is not None:
                self._apply_one(parser, option, name, value, applied)
            elif name in own:
                hint = did_you_mean(name, (text.removeprefix("--") for text in parser._option_string_actions))
                raise InputError(f"{self.path}: [{command}] {name} is no option of {command}{hint}")
        return applied

    def without(self, name: str) -> Settings:
        """The same without one of the options for all commands."""
        return replace(self, shared={key: value for key, value in self.shared.items() if key != name})

    def _apply_one(
        self,
        parser: argparse.ArgumentParser,
        option: argparse.Action,
        name: str,
        value: Any,
        applied: Applied,
    ) -> None:
        word = self._as_typed(option, name, value)
        if word is None:
            return
        typed, _, text = word.partition("=")
        filled = argparse.Namespace()
        try:
            read: Any = None
            if option.nargs != 0:
                read = parser._get_value(option, text)
                parser._check_value(option, read)
            # As the option itself would: some fill more than one field.
            option(parser, filled, read, typed)
        except argparse.ArgumentError as error:
            raise InputError(f"{self.path}: {name} (={value}): {error.message}") from None
        option.required = False
        parser.set_defaults(**vars(filled))
        applied.names[option.dest] = name
        applied.words[option.dest] = word
        applied.values.update(vars(filled))

    def _as_typed(self, option: argparse.Action, name: str, value: Any) -> str | None:
        """The option as it would be typed; None: it would not be."""
        if name in OF_ONE_CALL:
            raise InputError(f"{self.path}: {name} is of a single call; give --{name} on the command line")
        if option.nargs == 0:
            if not isinstance(value, bool):
                raise InputError(f"{self.path}: {name} (={value}) must be true or false")
            if value:
                return f"--{name}"
            if isinstance(option, argparse.BooleanOptionalAction):
                return f"--no-{name}"
            return None
        if isinstance(value, bool) or not isinstance(value, str | int | float):
            raise InputError(f"{self.path}: {name} (={value}) must be a text or a number, as after --{name}")
        text = str(value)
        if text.startswith(("./", "../")):
            text = str(self.path.parent / text)
        return f"--{name}={text}"


@dataclass
class Applied:
    """What of a file became defaults of a command.

    Attributes:
        settings: the file.
        command: the name of the command.
        values: field -> value.
        names: field -> the option as the file names it.
        words: field -> the option as it would be typed.
    """

    settings: Settings
    command: str
    values: dict[str, Any] = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)
    words: dict[str, str] = field(default_factory=dict)

    def in_use(self, options: argparse.Namespace) -> list[str]:
        """The options of the file that nothing on the command line went before, as they would be typed."""
        return [self.words[name] for name in self._fields_in_use(options)]

    def refused(self, error: InputError, options: argparse.Namespace) -> str | None:
        """The option for all commands that has no place beside what was typed, by its name.

        None: the error is of something else, of a value, of the command's own table, or of several options of
        the file, which contradict each other.
        """
        if not isinstance(error, UnwantedArgumentError):
            return None
        said = [name for name in self._fields_in_use(options) if name in error.arguments]
        if len(said) != 1:
            return None
        name = self.names[said[0]]
        if name in self.settings.of_command.get(self.command, ()):
            return None
        return name

    def told(self, message: str, options: argparse.Namespace) -> str:
        """A complaint, and that the file says what it complains of, where it does."""
        said = [_flag(self.words[name]) for name in self._complained_of(message, options)]
        if not said:
            return message
        return (
            f"{message} ({self.settings.path} says {' and '.join(said)}; mend it there, or give --no-config "
            "before the command)"
        )

    def _complained_of(self, message: str, options: argparse.Namespace) -> list[str]:
        """The fields of the options in use that a complaint names."""
        said = []
        for name in self._fields_in_use(options):
            if re.search(rf"(?<![\w-]){_flag(self.words[name])}(?![\w-])", message):
                said.append(name)
        return said

    def _fields_in_use(self, options: argparse.Namespace) -> list[str]:
        unset = object()
        return [name for name in self.words if getattr(options, name, unset) == self.values.get(name)]


def _flag(word: str) -> str:
    """The option of `--array=64x64`."""
    return word.partition("=")[0]


def find_settings(folder: Path, commands: Iterable[str]) -> Settings | None:
    """The file of options that counts in a folder; None: there is none.

    Args:
        folder: the working folder.
        commands: that may have a table of their own.

    Raises:
        InputError: the file is not TOML, or names what is no option.
    """
    for place in (folder, *folder.parents):
        for path in (place / FILE, place / PROJECT):
            content = _content(path)
            if content is not None:
                return _settings(path, content, tuple(commands))
    return None


def _content(path: Path) -> dict[str, Any] | None:
    """What a file says of us; None: it is not there, or of others."""
    try:
        text = path.read_bytes()
    except OSError:
        return None
    # Most projects have no table of ours, and need not be read.
    if path.name == PROJECT and f"tool.{TABLE}".encode() not in text:
        return None
    import tomllib

    try:
        content = tomllib.loads(text.decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InputError(f"{path} is not valid TOML: {error}") from None
    if path.name == FILE:
        return content
    ours = content.get("tool", {}).get(TABLE)
    if ours is not None and not isinstance(ours, dict):
        raise InputError(f"{path}: tool.{TABLE} must be a table of options, [tool.{TABLE}]")
    return ours


def _settings(path: Path, content: Mapping[str, Any], commands: tuple[str, ...]) -> Settings:
    shared, of_command = {}, {}
    for key, value in content.items():
        if isinstance(value, dict):
            if key == "tool" and path.name == FILE:
                raise InputError(
                    f"{path}: [tool.{TABLE}] is of a {PROJECT}; in a {FILE} options stand at the top"
                )
            if key not in commands:
                raise InputError(f"{path}: [{key}] is no command{did_you_mean(key, commands)}")
            of_command[key] = {_name(path, name): one for name, one in value.items()}
        elif key in commands and key.replace("_", "-") not in OPTION_NAMES:
            raise InputError(f"{path}: {key} is a command; its options stand in a table, [{key}]")
        else:
            shared[_name(path, key)] = value
    return Settings(path, shared, of_command)


def _name(path: Path, key: str) -> str:
    """An option as it is typed, without `--`."""
    name = key.replace("_", "-")
    if name not in OPTION_NAMES:
        raise InputError(f"{path}: {key} is no option of any command{did_you_mean(name, OPTION_NAMES)}")
    return name
