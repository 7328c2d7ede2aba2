"""`Grid`: what is trained and for which arrays it is mapped, as a YAML file."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, replace
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any

from rankfold.documents import in_schema, parse_yaml
from rankfold.errors import InputError
from rankfold.files import package_data
from rankfold.machine import DEFAULT_HARDWARE, Hardware, load_hardware
from rankfold.mapping import ArraySpec
from rankfold.plan import METHODS, Method
from rankfold.plan.methods import Planned, method_with, settings
from rankfold.records.schema import package_schema, strict_validator
from rankfold.reproduce.budgets import bit_choices, budgets_of
from rankfold.training.distillation import Distillation
from rankfold.training.recipe import Recipe

# Settings of methods that tables have a column for in any case, in the order in which they stand in the name
# of a cell's folder. Those of other methods follow them.
COLUMNS = ("groups", "rank", "entries", "block", "ratio")
DISTIL = "distil"
# Of distillation in these names, by which results are found again.
SHORT_DISTIL = "d"


def settings_of(record: Any) -> dict[str, Any]:
    """What a grid says of a method, by setting, from a record with a field for each of `COLUMNS` and the
    settings of other methods in `others`.
    """
    given = {}
    for name in COLUMNS:
        value = getattr(record, name)
        if value is not None:
            given[name] = value
    return {**given, **dict(record.others)}


@dataclass(frozen=True)
class Cell:
    """One network to train: a method, its setting, bits and a seed.

    Attributes:
        method: name of the method.
        seed: of the training.
        bits: of weights and inputs; None for float.
        groups: g of low-rank.
        rank: r of low-rank, a number or a fraction such as `1/8`.
        entries: kernel positions that are kept.
        block: output channels that share a pattern under `pairs`; None: all.
        ratio: share of the channels that channel pruning removes.
        distil: weight of distillation; None: labels alone, as in the papers.
        others: settings of methods from elsewhere, as pairs of name and value.
    """

    method: str
    seed: int
    bits: int | None
    _: KW_ONLY
    groups: int | None = None
    rank: str | None = None
    entries: int | None = None
    block: int | None = None
    ratio: float | None = None
    distil: float | None = None
    others: tuple[tuple[str, Any], ...] = ()

    @property
    def settings(self) -> dict[str, Any]:
        """What the grid says of the method, by setting."""
        return settings_of(self)

    @property
    def name(self) -> str:
        """A name for its folder, such as `low-rank-g4-r1_8-b4-s0`, and with entries `...-r1_8-e4-b4-s0`."""
        parts = [self.method]
        # Without what is not chosen: new choices leave the names of older cells as they are.
        known = settings()
        for name, value in self.settings.items():
            parts.append(f"{known[name].short}{value}")
        if self.distil is not None:
            parts.append(f"{SHORT_DISTIL}{self.distil}")
        width = "float"
        if self.bits is not None:
            width = f"b{self.bits}"
        # A rank of 1/8 would be a folder in a folder.
        return "-".join([*parts, width, f"s{self.seed}"]).replace("/", "_")

    @property
    def distillation(self) -> Distillation | None:
        """How the dense network teaches; None: it does not."""
        if self.distil is None:
            return None
        return Distillation(self.distil)

    def setting(self) -> Method:
        """The method with its setting; low-rank settings are forced on all layers, as they were published.

        Raises:
            InputError: the method needs another choice, or one is out of range or belongs to another method.
        """
        # Papers give all layers one setting, and in some of them it needs more cycles than it saves.
        return method_with(self.method, self.settings).everywhere()


@dataclass(frozen=True, kw_only=True)
class Grid:
    """Cells that share network, data, baseline and recipe.

    Attributes:
        name: what it is called.
        model: the network.
        data: a data source, as `load_images` takes it.
        array: of the plans; only the weights of window layers depend on it.
        arrays: to map every trained network for.
        recipe: of fine-tuning; its seed is each cell's.
        baseline_recipe: of the dense network, where no weights for it are shipped.
        cells: the most important first; all settings of one seed before the next seed.
        command: what runs it, for the record of each cell.
        hardware: what energy is counted for, at the size of each of `arrays`; and what plans with a budget of
            energy are made for, at that of `array`.
    """

    name: str
    model: str
    data: str
    array: ArraySpec
    arrays: tuple[ArraySpec, ...]
    recipe: Recipe
    baseline_recipe: Recipe
    cells: tuple[Cell, ...]
    command: str
    hardware: Hardware = DEFAULT_HARDWARE

    def recipe_of(self, cell: Cell) -> Recipe:
        """The recipe of fine-tuning under the cell's seed."""
        return replace(self.recipe, seed=cell.seed)


def load_grid(name: str) -> Grid:
    """A grid of the package by its name, or from a YAML file.

    Raises:
        InputError: there is none, or it does not follow the schema; the message names the place.
    """
    known = grid_names()
    path = Path(name)
    where = f"grid {name}"
    folder = None  # where files lie that the grid names
    if name in known:
        text = _grids().joinpath(f"{name}.yaml").read_text(encoding="utf-8")
    elif path.suffix in (".yaml", ".yml"):
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"{where} cannot be read: {error}") from None
        folder = path.parent
    else:
        raise InputError(f"unknown {where}; known are {', '.join(known)}, or give a .yaml file")
    content = parse_yaml(text, where)
    in_schema(content, _validator(tuple(METHODS.values())), f"{where} is not valid")
    try:
        return _grid(path.stem, content, shlex.join(["rankfold", "reproduce", name]), folder)
    except InputError as error:
        raise InputError(f"{where} is not valid: {error}") from None


def grid_names() -> tuple[str, ...]:
    """The grids of the package."""
    names = []
    for entry in _grids().iterdir():
        if entry.name.endswith(".yaml"):
            names.append(entry.name.removesuffix(".yaml"))
    return tuple(sorted(names))


def _grids() -> Path:
    return package_data("rankfold.reproduce") / "grids"


def _grid(name: str, content: Any, command: str, folder: Path | None) -> Grid:
    """The grid that a file of the schema describes.

    Raises:
        InputError: what it says does not go together.
    """
    cells = _cells(content)
    _check_distinct(cells)
    for cell in cells:
        _check_setting(cell)
    return Grid(
        name=name,
        model=content["model"],
        data=content["data"],
        array=ArraySpec.parse(content["array"]),
        arrays=tuple(ArraySpec.parse(text) for text in content["arrays"]),
        recipe=Recipe(**content["recipe"]),
        baseline_recipe=Recipe(**content["baseline_recipe"]),
        cells=cells,
        command=command,
        hardware=load_hardware(content.get("hardware", DEFAULT_HARDWARE.name), folder),
    )


def _check_distinct(cells: Sequence[Cell]) -> None:
    """Refuse two cells that are one: of one name they would take turns in its folder, and two trainings of
    one seed, such as with a weight of 0 and of 0.0, would count as two seeds.

    Raises:
        InputError: there are two such cells.
    """
    known: set[Cell | str] = set()
    for cell in cells:
        if cell in known or cell.name in known:
            raise InputError(f"cell {cell.name} is there twice; keep one")
        known.update((cell, cell.name))


def _check_setting(cell: Cell) -> None:
    """Refuse what does not go together, or cannot be read, before anything is run.

    Raises:
        InputError: it is refused.
    """
    method = cell.setting()
    if isinstance(method, Planned):
        budgets_of(method)
        if bit_choices(method) is not None and cell.bits is None:
            raise InputError("layer_bits stand beside bits of the network, such as 4, not beside null")


@cache
def _validator(registered: tuple[type[Method], ...]) -> Any:
    """A validator of grids of these methods."""

    def with_methods(schema: dict[str, Any]) -> None:
        properties = schema["$defs"]["method"]["properties"]
        properties["method"] = {"enum": [method.name for method in registered]}
        for name, setting in settings().items():
            properties[name] = {"type": "array", "minItems": 1, "items": setting.schema}

    return strict_validator(package_schema("rankfold.reproduce", "grid.schema.json", with_methods))


def _cells(content: Mapping[str, Any]) -> tuple[Cell, ...]:
    """All cells of a grid, seed after seed; a method may have seeds of its own."""
    common = content["seeds"]
    methods = content["methods"]
    seeds = list(common)
    for method in methods:
        seeds += method.get("seeds", ())
    # Seeds outermost: when the time is up, all settings have as many seeds, or nearly so.
    cells: list[Cell] = []
    for seed in dict.fromkeys(seeds):
        for method in methods:
            # A method with seeds of its own is left out for the others.
            if seed in method.get("seeds", common):
                cells += _combinations(method, seed)
    return tuple(cells)


def _combinations(method: Mapping[str, Any], seed: int) -> list[Cell]:
    """A cell for each combination of the values that a method of a grid gives."""
    # The grid's order of values is kept, and the first setting changes slowest.
    names = list(dict.fromkeys([*COLUMNS, *settings()]))
    keys = [key for key in (*names, DISTIL, "bits") if key in method]
    cells = []
    for values in product(*(method[key] for key in keys)):
        chosen = dict(zip(keys, values, strict=True))
        # YAML reads 4 as a number and 1/8 as a text; in tables and names both are texts.
        if chosen.get("rank") is not None:
            chosen["rank"] = str(chosen["rank"])
        others = tuple((name, chosen.pop(name)) for name in names if name in chosen and name not in COLUMNS)
        cells.append(Cell(method["method"], seed, **chosen, others=others))
    return cells
