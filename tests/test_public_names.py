"""The public face: one table of names, shown by `dir` and `help`, known to type checkers, light to import."""

from __future__ import annotations

import ast
import inspect
import pydoc
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

import rankfold
from rankfold import _NAMES, _ROOMS


@pytest.mark.parametrize("name", sorted(_NAMES))
def test_every_name_is_there_and_documented(name: str) -> None:
    module, attribute, words = _NAMES[name]
    found = getattr(rankfold, name)
    assert found is getattr(import_module(f"rankfold.{module}"), attribute)
    assert inspect.getdoc(found)
    assert words and "\n" not in words


def test_type_checkers_see_the_same_names() -> None:
    tree = ast.parse(Path(rankfold.__file__).read_text(encoding="utf-8"))
    (block,) = [node for node in tree.body if isinstance(node, ast.If)]
    seen = {}
    for node in block.body:
        assert isinstance(node, ast.ImportFrom)
        for alias in node.names:
            seen[alias.asname or alias.name] = node.module, alias.name
    names = {name: (f"rankfold.{module}", there) for name, (module, there, _) in _NAMES.items()}
    assert seen == names | {room: ("rankfold", room) for room in _ROOMS}


def test_dir_and_help_show_the_names() -> None:
    assert set(rankfold.__all__) <= set(dir(rankfold))
    text = pydoc.render_doc(rankfold, renderer=pydoc.plaintext)
    for name, (_, _, words) in _NAMES.items():
        assert f"{name}: {words}" in text
    for room, (words, _) in _ROOMS.items():
        assert f"{room}: {words}" in text


@pytest.mark.parametrize("room", _ROOMS)
def test_a_room_shows_what_it_is_said_to_have(room: str) -> None:
    module = getattr(rankfold, room)
    assert module is import_module(f"rankfold.{room}") and module.__doc__
    _, names = _ROOMS[room]
    for name in names:
        found = getattr(module, name)
        assert name in module.__all__ and name in dir(module) and not inspect.ismodule(found)
        # Importing it must not put a module of its name in its place.
        assert getattr(module, name) is found
        if name not in _NAMES:
            with pytest.raises(AttributeError, match=f"it is rankfold.{room}.{name}"):
                getattr(rankfold, name)
    with pytest.raises(AttributeError, match=f"module 'rankfold.{room}' has no attribute 'not_there'"):
        module.not_there  # noqa: B018


def test_there_are_few_names() -> None:
    """About as many as one screen shows."""
    assert len(_NAMES) <= 28 and not set(_NAMES) & set(_ROOMS)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'rankfold' has no attribute 'nothing'"):
        rankfold.nothing  # noqa: B018


@pytest.mark.parametrize(
    "command", [["--help"], ["map", "resnet20"], ["energy", "resnet20", "--groups", "4", "--rank", "1/8"]]
)
def test_nothing_heavy_is_imported_before_it_is_needed(command: list[str]) -> None:
    script = (
        "import sys\n"
        "from rankfold.cli.main import main\n"
        "try:\n"
        "    main(sys.argv[1:])\n"
        "except SystemExit:\n"
        "    pass\n"
        "heavy = {'torch', 'scipy', 'jsonschema', 'matplotlib', 'tqdm', 'datasets', 'onnx', 'sklearn'}\n"
        "heavy.add('numpy.ma')\n"
        "print('imported:', sorted(heavy & set(sys.modules)), file=sys.stderr)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, *command], capture_output=True, text=True, check=True
    )
    assert done.stderr.strip().splitlines()[-1] == "imported: []"


@pytest.mark.parametrize(("command", "most", "rooms"), [("--help", 115, 16), ("map resnet20", 430, 190)])
def test_commands_that_answer_at_once_import_little(command: str, most: int, rooms: int) -> None:
    """Modules instead of seconds, which depend on the machine; `benchmarks/commands.py` measures these."""
    script = (
        "import sys\n"
        "from rankfold.cli.main import main\n"
        "try:\n"
        "    main(sys.argv[1:])\n"
        "except SystemExit:\n"
        "    pass\n"
        "print(*sys.modules, file=sys.stderr)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, *command.split()], capture_output=True, text=True, check=True
    )
    modules = done.stderr.split()
    # Each of them takes milliseconds, and nothing of it is needed.
    late = {
        "importlib.resources",
        "hashlib",
        "rich",
        "tomllib",
        "rankfold.machine.chip",
        "rankfold.c_libraries",
    }
    assert not late & set(modules)
    assert len(modules) <= most
    assert sum(name.startswith("rankfold") for name in modules) <= rooms


def test_help_needs_not_even_numpy() -> None:
    script = "import sys, rankfold.cli.main as m\nm.build_parser()\nprint('numpy' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_the_package_is_typed() -> None:
    assert (Path(rankfold.__file__).parent / "py.typed").is_file()
