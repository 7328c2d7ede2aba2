"""The documentation says what is so: its commands are taken, its code runs, messages are as quoted."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest

import rankfold as rf
from common.command_line import options_of
from rankfold.cli.main import COMMANDS, build_parser, main
from rankfold.machine import hardware_text

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
FAILING = DOCS / "lookup" / "errors.md"  # its commands are there to be refused
PAGES = [ROOT / "README.md", *sorted(set(DOCS.rglob("*.md")) - {FAILING})]
SHELL = re.compile(r"^ *```sh\n(.*?)^ *```$", flags=re.MULTILINE | re.DOTALL)
PYTHON = re.compile(r"^```python\n(.*?)^```$", flags=re.MULTILINE | re.DOTALL)
# Of a sentence: `rankfold plan --kinds window`.
SPOKEN = re.compile(r"`rankfold ([a-z]+) ([^`]*)`")
OPTION = re.compile(r"(?<!\S)--[a-z][a-z0-9-]*")
QUOTED = re.compile(r"^```sh\n(.*?)\n```\n```text\n(.*?)\n```$", flags=re.MULTILINE | re.DOTALL)


def commands_of(page: Path) -> list[list[str]]:
    """The arguments of all commands of Rankfold on a page."""
    found = []
    for block in SHELL.findall(page.read_text(encoding="utf-8")):
        for line in block.replace("\\\n", " ").splitlines():
            words = shlex.split(line, comments=True)
            if words and words[0] == "rankfold":
                found.append(words[1 : words.index(">")] if ">" in words else words[1:])
    return found


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_its_commands_are_taken(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    # Pages copy a description to edit it, which is read with the options.
    (tmp_path / "mine.yaml").write_text(hardware_text("rram-22nm"))
    for words in commands_of(page):
        options = build_parser(words[0]).parse_args(words)
        assert callable(options.run)


@pytest.mark.parametrize("page", [*PAGES, FAILING], ids=lambda page: str(page.relative_to(ROOT)))
def test_options_have_the_names_that_help_shows(page: Path) -> None:
    """Not those of version 0.1, which the parser takes as well, nor parts of names."""
    spoken = SPOKEN.findall(page.read_text(encoding="utf-8"))
    typed = [(words[0], " ".join(words)) for words in commands_of(page)]
    for command, words in [*spoken, *typed]:
        if command in COMMANDS:
            assert set(OPTION.findall(words)) <= options_of(command).keys() | {"--help"}, words


def test_there_are_commands_to_look_at() -> None:
    assert sum(len(commands_of(page)) for page in PAGES) > 80


ERRORS = QUOTED.findall(FAILING.read_text(encoding="utf-8"))


@pytest.mark.parametrize("command, message", ERRORS, ids=[command for command, _ in ERRORS])
def test_messages_are_as_quoted(
    command: str,
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    try:
        code = main(shlex.split(command)[1:])
    except SystemExit as end:
        code = end.code  # type: ignore[assignment]
    assert code == 2
    assert message in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_there_are_messages() -> None:
    assert len(ERRORS) >= 12


def test_the_start_page_takes_a_network_all_the_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (example,) = PYTHON.findall((DOCS / "index.md").read_text(encoding="utf-8"))
    names: dict[str, Any] = {}
    exec(compile(example, "start page", "exec"), names)
    printed = capsys.readouterr().out
    trained, compressed, noisy = (
        float(re.search(rf"{words}: ([0-9.]+)", printed)[1])  # type: ignore[index]
        for words in ("trained", "compressed, 4 bits", "on noisy arrays")
    )
    assert trained > 0.9 and compressed > 0.85 and noisy > 0.6
    network, plan = names["network"], names["plan"]
    dense = rf.uniform_plan(network, names["array"], mapping="best")
    assert rf.cycles(network, plan).chosen_cycles <= 0.5 * rf.cycles(network, dense).chosen_cycles
    assert (tmp_path / "my-network" / "plan.json").is_file()
    assert (tmp_path / "my-network.onnx").is_file()
    assert (tmp_path / "my-arrays" / "placement.json").is_file()
