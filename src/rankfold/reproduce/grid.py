"""`Grid`: what is trained and for which arrays it is mapped, as a YAML file."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from functools import cache
from importlib import resources
from itertools import product
from pathlib import Path
from typing import Any

from rankfold.errors import InputError
from rankfold.files import in_schema, parse_yaml
from rankfold.mapping import ArraySpec
from rankfold.runs.settings import CompressSettings
from rankfold.training.distillation import Distillation
from rankfold.training.recipe import Recipe

CHOICES = ("groups", "rank", "entries", "block", "ratio", "distil")
SHORT = {"groups": "g", "rank": "r", "entries": "e", "block": "block", "ratio": "ratio", "distil": "d"}


@dataclass(frozen=True)
class Cell:
    """One network to train: a method, its setting, bits and a seed.

    The attributes are those of `CompressSettings`; `distil` is the weight of distillation, None: labels alone, as in
    the papers.
    """

    method: str
    seed: int
    bits: int | None
    groups: int | None = None
    rank: str | None = None
    entries: int | None = None
    block: int | None = None
    ratio: float | None = None
    distil: float | None = None

    @property
    def name(self) -> str:
        """A name for its folder, such as `low-rank-g4-r1_8-b4-s0`, or `low-rank-g4-r1_8-e4-b4-s0` with entries."""
        chosen = [(SHORT[choice], getattr(self, choice)) for choice in CHOICES if getattr(self, choice) is not None]
        parts = [self.method, *(f"{short}{value}" for short, value in chosen)]
        return "-".join([*parts, "float" if self.bits is None else f"b{self.bits}", f"s{self.seed}"]).replace("/", "_")


@dataclass(frozen=True)
class Grid:
    """Cells that share network, data, baseline and recipe.

    Attributes:
        name: what it is called.
        model: the network.
        data: a data source, as `load_images` takes it.
        array: of the plans; the weights do not depend on it.
        arrays: to map every trained network for.
        recipe: of fine-tuning; its seed is each cell's.
        baseline_recipe: of the dense network, where no weights for it are shipped.
        cells: the most important first; all settings of one seed before the next seed.
    """

    name: str
    model: str
    data: str
    array: ArraySpec
    arrays: tuple[ArraySpec, ...]
    recipe: Recipe
    baseline_recipe: Recipe
    cells: tuple[Cell, ...]

    def settings(self, cell: Cell, out: Path, checkpoint: Path | None, device: str = "auto") -> CompressSettings:
        """The run of a cell, to be taken up where it was left."""
        return CompressSettings(
            self.model, self.data, out, self.array, cell.groups, cell.rank, cell.method, cell.entries, cell.block,
            ratio=cell.ratio, bits=cell.bits, checkpoint=checkpoint, recipe=replace(self.recipe, seed=cell.seed),
            baseline_recipe=self.baseline_recipe, distillation=None if cell.distil is None else Distillation(cell.distil),
            device=device, resume=True, command=f"rankfold reproduce {self.name}",
        )  # fmt: skip


def load_grid(name: str) -> Grid:
    """A grid of the package by its name, or from a YAML file.

    Raises:
        InputError: there is none, or it does not follow the schema; the message names the place.
    """
    known = grid_names()
    path = Path(name)
    if name in known:
        text = resources.files("rankfold.reproduce").joinpath(f"grids/{name}.yaml").read_text(encoding="utf-8")
    elif path.suffix in (".yaml", ".yml"):
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"grid {name} cannot be read: {error}") from None
    else:
        raise InputError(f"unknown grid {name}; known are {', '.join(known)}, or give a .yaml file")
    return _grid(path.stem, parse_yaml(text, f"grid {name}"), f"grid {name}")


def grid_names() -> tuple[str, ...]:
    """The grids of the package."""
    folder = resources.files("rankfold.reproduce").joinpath("grids")
    return tuple(sorted(entry.name.removesuffix(".yaml") for entry in folder.iterdir() if entry.name.endswith(".yaml")))


@cache
def _validator() -> Any:
    import jsonschema

    schema = resources.files("rankfold.reproduce").joinpath("grid.schema.json").read_text(encoding="utf-8")
    return jsonschema.Draft202012Validator(json.loads(schema))


def _grid(name: str, content: Any, where: str) -> Grid:
    in_schema(content, _validator(), f"{where} is not valid")
    methods = content["methods"]
    seeds = dict.fromkeys(seed for part in (content, *methods) for seed in part.get("seeds", ()))
    cells = tuple(
        cell
        for seed in seeds
        for method in methods
        if seed in method.get("seeds", content["seeds"])
        for cell in _cells(method, seed)
    )
    names = [cell.name for cell in cells]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise InputError(f"{where} has cell {twice} twice; keep one")
    try:
        array, *arrays = (ArraySpec.parse(text) for text in (content["array"], *content["arrays"]))
        recipes = [Recipe(**content[key]) for key in ("recipe", "baseline_recipe")]
        grid = Grid(name, content["model"], content["data"], array, tuple(arrays), recipes[0], recipes[1], cells)
        for cell in cells:
            grid.settings(cell, Path(cell.name), None)
    except InputError as error:
        raise InputError(f"{where} is not valid: {error}") from None
    return grid


def _cells(method: dict[str, Any], seed: int) -> list[Cell]:
    keys = [key for key in (*CHOICES, "bits") if key in method]
    combinations = product(*(method[key] for key in keys))
    cells = []
    for values in combinations:
        chosen = dict(zip(keys, values, strict=True))
        if chosen.get("rank") is not None:
            chosen["rank"] = str(chosen["rank"])
        cells.append(Cell(method["method"], seed, **chosen))
    return cells
