"""Networks given as a table of shapes, in CSV or YAML, for people who have only shapes."""

from __future__ import annotations

import csv
from pathlib import Path

from rankfold.errors import InputError
from rankfold.files import parse_yaml
from rankfold.workload.network import Network
from rankfold.workload.shape import ConvShape, Pair, is_count, parse_pair, same_padding

REQUIRED = ("name", "in_channels", "out_channels", "kernel", "input")
OPTIONAL = {"stride": "1", "padding": "0", "dilation": "1", "groups": "1"}
SUFFIXES = (".csv", ".yaml", ".yml")


def read_table(path: str | Path) -> Network:
    """Read a network from a table with one convolution a row.

    Columns `name, in_channels, out_channels, kernel, input, stride, padding, dilation, groups`; sizes are written
    `3` or `3x5` (vertical x horizontal), and the last four columns are optional (1, 0, 1, 1). A padding may also be
    `same`, or name each side, top x bottom x left x right, such as `0x1x0x1`. A YAML file is a list of mappings with
    the same keys.

    Raises:
        InputError: the file is missing or a row is wrong; the message names the row.
    """
    source = Path(path)
    try:
        text = source.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise InputError(f"cannot read {source}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{source} is not a text file: {error.reason}") from error
    rows = _csv_rows(text, source) if source.suffix.lower() == ".csv" else _yaml_rows(text, source)
    if not rows:
        raise InputError(f"{source} holds no layers; expected one row per convolution with the columns {', '.join(REQUIRED)}")
    layers = tuple(_layer(row, f"{source}, row {number}") for number, row in enumerate(rows, start=1))
    names = [layer.name for layer in layers]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise InputError(f"{source}: two layers are called {twice}; give each its own name")
    first = layers[0]
    return Network(source.stem, (first.in_channels, *first.input), layers)


def _csv_rows(text: str, source: Path) -> list[dict[str, str]]:
    reader = csv.DictReader(text.splitlines(), skipinitialspace=True)
    rows = []
    try:
        read = list(reader)
    except csv.Error as error:
        raise InputError(f"{source} is not valid CSV: {error}") from error
    columns = [str(column).strip() for column in reader.fieldnames or ()]
    twice = next((column for column in columns if columns.count(column) > 1), None)
    if twice is not None:
        raise InputError(f"{source}: the column {twice} is there twice; keep one")
    for number, row in enumerate(read, start=1):
        if None in row or None in row.values():
            raise InputError(f"{source}, row {number}: it has another number of cells than the header")
        rows.append({str(key).strip(): str(value).strip() for key, value in row.items()})
    return rows


def _yaml_rows(text: str, source: Path) -> list[dict[str, str]]:
    content = parse_yaml(text, str(source))
    if isinstance(content, dict) and list(content) == ["layers"]:
        content = content["layers"]
    if not isinstance(content, list) or not all(isinstance(row, dict) for row in content):
        raise InputError(f"{source} must be a list of layers, each with {', '.join(REQUIRED)}")
    return [{str(key): "x".join(map(str, v)) if isinstance(v, list) else str(v) for key, v in row.items()} for row in content]


def _layer(row: dict[str, str], where: str) -> ConvShape:
    missing = [column for column in REQUIRED if not row.get(column)]
    unknown = [column for column in row if column not in REQUIRED and column not in OPTIONAL]
    if missing or unknown:
        problem = f"{missing[0]} is missing" if missing else f"{unknown[0]} is not a known column"
        raise InputError(f"{where}: {problem}; the columns are {', '.join((*REQUIRED, *OPTIONAL))}")
    cells = {key: row.get(key) or default for key, default in {**dict.fromkeys(REQUIRED, ""), **OPTIONAL}.items()}
    pairs = {key: parse_pair(cells[key], f"{where}: {key}") for key in ("kernel", "input", "stride", "dilation")}
    counts = {}
    for key in ("in_channels", "out_channels", "groups"):
        if not is_count(cells[key]):
            raise InputError(f"{where}: {key} (={cells[key]}) must be a whole number")
        counts[key] = int(cells[key])
    padding = _padding(cells["padding"], pairs, f"{where}: padding")
    try:
        return ConvShape(
            cells["name"], counts["in_channels"], counts["out_channels"], pairs["kernel"], pairs["input"], pairs["stride"],
            padding, pairs["dilation"], counts["groups"],
        )  # fmt: skip
    except InputError as error:
        raise InputError(f"{where}: {error}") from None


def _padding(text: str, pairs: dict[str, Pair], what: str) -> tuple[int, int, int, int]:
    if text == "same":
        return same_padding(pairs["input"], pairs["kernel"], pairs["stride"], pairs["dilation"])
    sides = text.lower().split("x")
    if len(sides) == 4 and all(is_count(side) for side in sides):
        top, bottom, left, right = map(int, sides)
        return top, bottom, left, right
    try:
        vertical, horizontal = parse_pair(text, what)
    except InputError:
        raise InputError(f"{what} (={text}) must be a size such as 1 or 1x2, four such as 0x1x0x1, or same") from None
    return vertical, vertical, horizontal, horizontal
