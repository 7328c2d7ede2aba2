"""The reference of the Python names, from their docstrings."""

from __future__ import annotations

from functools import cache
from importlib import import_module

from rankfold import _NAMES, _ROOMS

FOLDER = "lookup/python"
# Rooms that verbs take objects of, though `rankfold` does not list them.
FURTHER = {
    "machine": "descriptions of hardware and of whole chips",
    "cost.energy": "energy, latency and area; tables of components",
    "report": "pages and pictures of runs",
}


@cache
def python_pages() -> dict[str, str]:
    """Path in the site -> Markdown: the names of `rankfold`, and a page for each room."""
    rooms = {room: words for room, (words, _) in _ROOMS.items()} | FURTHER
    pages = {f"{FOLDER}/index.md": _overview(rooms)}
    for room, words in rooms.items():
        pages[f"{FOLDER}/{room}.md"] = _room_page(room, words)
    return pages


def _overview(rooms: dict[str, str]) -> str:
    lines = [
        "# Python: rankfold",
        "",
        "`import rankfold as rf`. Verbs take objects: any `torch.nn.Module`, any iterable of batches, plans. "
        "Names that end in an underscore change the network in place. `help(rankfold)` lists the same.",
        "",
        "| name | what it is |",
        "| --- | --- |",
    ]
    for name, (module, attribute, words) in _NAMES.items():
        lines.append(f"| [`rf.{name}`][rankfold.{module}.{attribute}] | {words} |")
    lines += ["", "What is needed less often is in rooms:", "", "| room | what it has |", "| --- | --- |"]
    lines += [f"| [`rankfold.{room}`]({room}.md) | {words} |" for room, words in rooms.items()]
    lines.append("")
    for name, (module, attribute, _) in _NAMES.items():
        lines += _entry(f"rankfold.{module}.{attribute}", f"rf.{name}")
    return "\n".join(lines)


def _room_page(room: str, words: str) -> str:
    module = import_module(f"rankfold.{room}")
    lines = [f"# Python: rankfold.{room}", "", f"{words[0].upper()}{words[1:]}.", ""]
    shown = {f"rankfold.{module}.{attribute}": name for name, (module, attribute, _) in _NAMES.items()}
    for name in module.__all__:
        path = f"rankfold.{room}.{name}"
        if path in shown:
            lines += [f"`{name}` is [`rf.{shown[path]}`][{path}].", ""]
        elif _documented(getattr(module, name)):
            lines += _entry(path, f"{room}.{name}")
    return "\n".join(lines)


def _documented(thing: object) -> bool:
    """Whether it is a class or function; constants have no docstring of their own."""
    return callable(thing) and bool(thing.__doc__)


def _entry(path: str, heading: str) -> list[str]:
    return [f"::: {path}", "    options:", f"      heading: {heading}", f"      toc_label: {heading}", ""]
