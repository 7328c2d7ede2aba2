"""Networks given as a table of shapes, in CSV or YAML, for people who have only shapes."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from rankfold.documents import parse_yaml
from rankfold.errors import InputError
from rankfold.workload.network import Network
from rankfold.workload.shape import ConvShape, Pair, Sides, is_count, parse_pair, same_padding

REQUIRED = ("name", "in_channels", "out_channels", "kernel", "input")
OPTIONAL = {"stride": "1", "padding": "0", "dilation": "1", "groups": "1", "support": ""}
SUFFIXES = (".csv", ".yaml", ".yml")

Row = dict[str, str]  # column -> cell


def read_table(path: str | Path) -> Network:
    """Read a network from a table with one convolution a row.

    Columns `name, in_channels, out_channels, kernel, input, stride, padding, dilation, groups`; sizes are
    written `3` or `3x5` (vertical x horizontal), and the last four columns are optional (1, 0, 1, 1). A
    further one, `support`, may say which kernel positions a layer keeps, as plans do. A
    padding may also be `same`, or name each side, top x bottom x left x right, such as `0x1x0x1`. A YAML
    file is a list of mappings with the same keys.

    Raises:
        InputError: the file is missing or a row is wrong; the message names the row.
    """
    source = Path(path)
    rows = _rows(source)
    if not rows:
        columns = ", ".join(REQUIRED)
        raise InputError(
            f"{source} holds no layers; expected one row per convolution with the columns {columns}"
        )
    layers: list[ConvShape] = []
    supports: list[tuple[str, str]] = []
    for number, row in enumerate(rows, start=1):
        layer = _layer(row, f"{source}, row {number}")
        layers.append(layer)
        if row.get("support"):
            supports.append((layer.name, row["support"]))
    twice = _repeated(layer.name for layer in layers)
    if twice is not None:
        raise InputError(f"{source}: two layers are called {twice}; give each its own name")
    # What the first layer reads is taken for the image.
    first = layers[0]
    image = (first.in_channels, *first.input)
    return Network(source.stem, image, tuple(layers), supports=tuple(supports))


def _rows(source: Path) -> list[Row]:
    try:
        # Spreadsheets begin a file with a byte order mark, which would be part of the first column's name.
        text = source.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise InputError(f"cannot read {source}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{source} is not a text file: {error.reason}") from error
    if source.suffix.lower() == ".csv":
        return _csv_rows(text, source)
    return _yaml_rows(text, source)


def _csv_rows(text: str, source: Path) -> list[Row]:
    reader = csv.DictReader(text.splitlines(), skipinitialspace=True)
    try:
        records = list(reader)
    except csv.Error as error:
        raise InputError(f"{source} is not valid CSV: {error}") from error
    columns = [str(column).strip() for column in reader.fieldnames or ()]
    twice = _repeated(columns)
    # A dictionary would keep the last of them in silence.
    if twice is not None:
        raise InputError(f"{source}: the column {twice} is there twice; keep one")
    rows: list[Row] = []
    for number, record in enumerate(records, start=1):
        # The reader's None is the key of cells too many, and the value of cells too few.
        if None in record or None in record.values():
            raise InputError(f"{source}, row {number}: it has another number of cells than the header")
        row: Row = {}
        for column, cell in record.items():
            row[str(column).strip()] = str(cell).strip()
        rows.append(row)
    return rows


def _yaml_rows(text: str, source: Path) -> list[Row]:
    content = parse_yaml(text, str(source))
    # The list may stand under a name, as files for other tools have it.
    if isinstance(content, dict) and list(content) == ["layers"]:
        content = content["layers"]
    if not _is_list_of_mappings(content):
        columns = ", ".join(REQUIRED)
        raise InputError(f"{source} must be a list of layers, each with {columns}")
    return [_cells(row) for row in content]


def _is_list_of_mappings(content: Any) -> bool:
    if not isinstance(content, list):
        return False
    return all(isinstance(row, dict) for row in content)


def _cells(row: Mapping[Any, Any]) -> Row:
    """The values of a YAML mapping as they would be written in CSV: [3, 5] as 3x5."""
    cells: Row = {}
    for key, value in row.items():
        if isinstance(value, list):
            parts = [str(part) for part in value]
            cells[str(key)] = "x".join(parts)
        else:
            # A number, or a text such as 3x5: YAML tells them apart, and the rules below do not.
            cells[str(key)] = str(value)
    return cells


def _layer(row: Row, where: str) -> ConvShape:
    _check_columns(row, where)
    cells = dict(OPTIONAL)
    for column, cell in row.items():
        if cell:  # an empty one stands for the default
            cells[column] = cell
    # Sizes first, then counts, then the padding: the order in which faults are told.
    sizes: dict[str, Pair] = {}
    for column in ("kernel", "input", "stride", "dilation"):
        sizes[column] = parse_pair(cells[column], f"{where}: {column}")
    counts: dict[str, int] = {}
    for column in ("in_channels", "out_channels", "groups"):
        counts[column] = _count(cells[column], f"{where}: {column}")
    padding = _padding(cells["padding"], sizes, f"{where}: padding")
    try:
        return ConvShape(
            cells["name"],
            counts["in_channels"],
            counts["out_channels"],
            sizes["kernel"],
            sizes["input"],
            sizes["stride"],
            padding=padding,
            dilation=sizes["dilation"],
            groups=counts["groups"],
        )
    except InputError as error:
        raise InputError(f"{where}: {error}") from None


def _check_columns(row: Row, where: str) -> None:
    columns = ", ".join((*REQUIRED, *OPTIONAL))
    for column in REQUIRED:
        if not row.get(column):
            raise InputError(f"{where}: {column} is missing; the columns are {columns}")
    for column in row:
        if column not in REQUIRED and column not in OPTIONAL:
            raise InputError(f"{where}: {column} is not a known column; the columns are {columns}")


def _count(text: str, what: str) -> int:
    if not is_count(text):
        raise InputError(f"{what} (={text}) must be a whole number")
    return int(text)


def _padding(
    text: str,
    sizes: Mapping[str, Pair],
    what: str,
) -> Sides:
    """Read `1`, `1x2`, `0x1x0x1` or `same` as (top, bottom, left, right)."""
    if text == "same":
        return same_padding(
            sizes["input"],
            sizes["kernel"],
            sizes["stride"],
            sizes["dilation"],
        )
    sides = text.lower().split("x")
    whole = all(is_count(side) for side in sides)
    if whole and len(sides) == 4:
        top, bottom, left, right = (int(side) for side in sides)
        return top, bottom, left, right
    try:
        vertical, horizontal = parse_pair(text, what)
    except InputError:
        raise InputError(
            f"{what} (={text}) must be a size such as 1 or 1x2, four such as 0x1x0x1, or same"
        ) from None
    return vertical, vertical, horizontal, horizontal


def _repeated(names: Iterable[str]) -> str | None:
    """The first name that is there more than once."""
    for name, times in Counter(names).items():
        if times > 1:
            return name
    return None
