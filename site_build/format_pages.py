"""A page for each kind of file, from the schema that checks it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

from rankfold.plan.plan import plan_schema

FOLDER = "lookup/formats"
Schema = dict[str, Any]


@dataclass(frozen=True)
class Format:
    """A kind of file.

    Attributes:
        title: what it is.
        file: what it is usually called.
        words: who writes and who reads it.
        place: the package and the name of its schema.
    """

    title: str
    file: str
    words: str
    place: tuple[str, str]


FORMATS = {
    "plan": Format(
        "Plan",
        "`plan.json`",
        "What every layer becomes. `rankfold plan --out`, `compress` and `Plan.save` write it; every command "
        "takes it by `--plan`; edit it as you like.",
        ("plan", "plan.schema.json"),
    ),
    "result": Format(
        "Result of a run",
        "`result.json`",
        "All numbers of a finished run. It is written last: a folder that has it holds a complete run. "
        "`_type` is `rankfold.result`.",
        ("runs", "result.schema.json"),
    ),
    "hardware": Format(
        "Hardware",
        "`NAME.yaml`",
        "Arrays, converters, technology and defects; taken by `--hardware`. "
        "`rankfold hardware --show rram-22nm` prints one to copy.",
        ("machine", "hardware.schema.json"),
    ),
    "chip": Format(
        "Chip",
        "`NAME.yaml`",
        "Cores of arrays, buffers, interconnect and memory; taken by `rankfold chip`.",
        ("machine", "chip.schema.json"),
    ),
    "components": Format(
        "Component table",
        "`NAME.yaml`",
        "Energy, latency and area of components, each with its source; taken by `--technology`.",
        ("cost.energy", "components.schema.json"),
    ),
    "placement": Format(
        "Array images",
        "`placement.json`",
        "What is programmed into every array and what drives it; written by `rankfold export --to arrays`.",
        ("export.array_images", "placement.schema.json"),
    ),
    "simulation": Format(
        "Simulation",
        "`simulation.json`",
        "Chips and layers that `rankfold simulate --out` has done; `--resume` goes on with it.",
        ("runs", "simulation.schema.json"),
    ),
    "grid": Format(
        "Grid of runs",
        "`grid.yaml`",
        "Which networks `rankfold reproduce` trains and compares.",
        ("reproduce", "grid.schema.json"),
    ),
}


@cache
def format_pages() -> dict[str, str]:
    """Path in the site -> Markdown: a page for each kind of file."""
    return {f"{FOLDER}/{name}.md": _page(name, what) for name, what in FORMATS.items()}


def schema_of(name: str) -> Schema:
    """The schema of a kind of file, as the package checks it."""
    if name == "plan":
        return plan_schema()  # with the fields of all kinds of layers
    package, file = FORMATS[name].place
    text = resources.files(f"rankfold.{package}").joinpath(file).read_text(encoding="utf-8")
    schema: Schema = json.loads(text)
    return schema


def _page(name: str, what: Format) -> str:
    schema = schema_of(name)
    lines = [f"# {what.title}", "", f"{what.file}. {what.words}", ""]
    if "description" in schema:
        lines += [schema["description"], ""]
    lines += ["| key | must be there | type | meaning |", "| --- | --- | --- | --- |"]
    lines += _rows(schema, schema, "")
    lines += ["", '??? note "The schema as it is"', "", "    ```json"]
    lines += [f"    {line}" for line in json.dumps(schema, indent=2).splitlines()]
    return "\n".join([*lines, "    ```", ""])


def _rows(node: Schema, root: Schema, above: str, depth: int = 0) -> list[str]:
    """A row for each key of an object, those inside it below it."""
    rows = []
    needed = node.get("required", [])
    for key, value in node.get("properties", {}).items():
        inside = _resolved(value, root)
        path = f"{above}{key}"
        must = "yes" if key in needed else ""
        rows.append(f"| `{path}` | {must} | {_type(inside, root)} | {_meaning(inside)} |")
        item = _resolved(inside.get("items", {}), root)
        is_figure = "value" in inside.get("properties", {})
        if depth < 2 and not is_figure:
            rows += _rows(inside, root, f"{path}: ", depth + 1)
            if isinstance(item, dict):
                rows += _rows(item, root, f"{path}[]: ", depth + 1)
    return rows


def _resolved(node: Any, root: Schema) -> Any:
    """A part of a schema, followed where it names another part; what it adds to that stays."""
    if not isinstance(node, dict) or "$ref" not in node:
        return node
    found: Any = root
    for step in node["$ref"].removeprefix("#/").split("/"):
        found = found[step]
    return {**_resolved(found, root), **{key: value for key, value in node.items() if key != "$ref"}}


def _type(node: Schema, root: Schema) -> str:
    """What a value may be, in a few words."""
    if "const" in node:
        return f"`{json.dumps(node['const'])}`"
    if "enum" in node:
        return ", ".join(f"`{json.dumps(value)}`" for value in node["enum"])
    if "value" in node.get("properties", {}):
        inner = _type(_resolved(node["properties"]["value"], root), root)
        units = _resolved(node["properties"].get("unit", {}), root).get("enum", [])
        unit = f" ({', '.join(units)})" if units else ""
        return f"{inner}{unit}, or an object with `value`, `unit`, `source`"
    for several in ("oneOf", "anyOf"):
        if several in node:
            return " or ".join(dict.fromkeys(_type(_resolved(one, root), root) for one in node[several]))
    kind = node.get("type", "anything")
    words = " or ".join(kind) if isinstance(kind, list) else str(kind)
    if words == "array" and isinstance(node.get("items"), dict):
        words = f"list of {_type(_resolved(node['items'], root), root)}"
    return f"{words}{_range(node)}"


def _range(node: Schema) -> str:
    low, high = node.get("minimum"), node.get("maximum")
    if low is not None and high is not None:
        return f", {low} to {high}"
    if low is not None:
        return f", {low} or more"
    if "exclusiveMinimum" in node:
        return f", above {node['exclusiveMinimum']}"
    return ""


def _meaning(node: Schema) -> str:
    return str(node.get("description", "")).replace("|", "\\|").replace("*", "\\*")
