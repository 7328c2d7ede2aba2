"""A page for each command with all its options, from the parser that reads them."""

from __future__ import annotations

import argparse
import re
from functools import cache

from rankfold.cli.main import COMMANDS, build_parser

FOLDER = "lookup/commands"


@cache
def command_pages() -> dict[str, str]:
    """Path in the site -> Markdown: an overview, and a page for each command."""
    rows = [f"| [`rankfold {name}`]({name}.md) | {words} |" for name, words in COMMANDS.items()]
    parser = build_parser()
    overview = [
        "# Commands",
        "",
        str(parser.description),
        "",
        "| command | what it is for |",
        "| --- | --- |",
        *rows,
        "",
        "## Options before any command",
        "",
        *_table(_shown(parser._actions)),
        "",
        "Exit codes: 0; 2 for wrong input, with one sentence that says what, where, and what would be right; "
        "130 when interrupted.",
    ]
    pages = {f"{FOLDER}/index.md": "\n".join(overview)}
    for name, words in COMMANDS.items():
        pages[f"{FOLDER}/{name}.md"] = _page(name, words)
    return pages


def _page(name: str, words: str) -> str:
    commands = next(
        action for action in build_parser(name)._actions if isinstance(action, argparse._SubParsersAction)
    )
    parser = commands.choices[name]
    lines = [f"# {name}", "", f"`rankfold {name}`: {_escaped(words)}.", ""]
    if parser.description and parser.description != words:
        lines += [_escaped(parser.description), ""]
    taken = [_name(action) for action in _shown(parser._actions) if not action.option_strings]
    usage = " ".join(["rankfold", name, *(each.strip("`") for each in taken), "[OPTIONS]"])
    lines += ["```text", usage, "```", ""]
    for group in parser._action_groups:
        actions = _shown(group._group_actions)
        if actions:
            lines += [f"## {str(group.title).capitalize()}", ""]
            if group.description:
                lines += [_escaped(group.description), ""]
            lines += [*_table(actions), ""]
    return "\n".join(lines)


def _shown(actions: list[argparse.Action]) -> list[argparse.Action]:
    hidden = (argparse._HelpAction, argparse._SubParsersAction)
    return [
        action
        for action in actions
        if not isinstance(action, hidden) and action.help is not argparse.SUPPRESS
    ]


def _table(actions: list[argparse.Action]) -> list[str]:
    rows = [f"| {_name(action)} | {_help(action)}{_default(action)} |" for action in actions]
    return ["| option | meaning |", "| --- | --- |", *rows]


def _name(action: argparse.Action) -> str:
    """An option as it is typed, with what it takes."""
    taken = argparse.HelpFormatter("")._format_args(action, _metavar(action)) if action.nargs != 0 else ""
    if not action.option_strings:
        return f"`{taken}`"
    names = ", ".join(f"`{name}`" for name in action.option_strings)
    if taken:
        names += f" `{taken}`".replace("|", "\\|")
    return names


def _metavar(action: argparse.Action) -> str:
    if action.choices is not None and action.metavar is None:
        return "{" + ",".join(map(str, action.choices)) + "}"
    if action.option_strings:
        return action.dest.upper()
    return action.dest


def _help(action: argparse.Action) -> str:
    words = action.help or ""
    # As argparse fills it in, %(default)s above all.
    given = {key: value for key, value in vars(action).items() if value is not argparse.SUPPRESS}
    return _escaped(words % {**given, "prog": "rankfold"})


def _default(action: argparse.Action) -> str:
    """What an option is where it is not given, if its words do not say so themselves."""
    plain = (str, int, float)
    if "default" in (action.help or ""):
        return ""
    if action.default is argparse.SUPPRESS or isinstance(action.default, bool):
        return ""
    if not isinstance(action.default, plain):
        return ""
    return f" (default `{action.default}`)"


def _escaped(words: str) -> str:
    """Words as Markdown shows them: signs that mean something there as they are, but for code."""
    parts = words.split("`")
    for place in range(0, len(parts), 2):
        # `<` may begin a tag, which no backslash prevents.
        plain = parts[place].replace("<", "&lt;")
        parts[place] = re.sub(r"([*_\[\]|$])", r"\\\1", plain)
    for place in range(1, len(parts), 2):
        parts[place] = parts[place].replace("|", "\\|")
    return "`".join(parts)
