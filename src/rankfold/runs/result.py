"""`Result`: what a run found, as the file `result.json`."""

from __future__ import annotations

from dataclasses import MISSING, asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from rankfold.errors import InputError
from rankfold.files import read_json, write_json
from rankfold.runs.energy_record import EnergyRecord
from rankfold.workload import ConvShape

TYPE, VERSION = "rankfold.result", 1


@dataclass(frozen=True)
class DataInfo:
    """The data a run used: its source, hash, class names and sizes."""

    source: str
    digest: str
    classes: tuple[str, ...]
    train_images: int
    test_images: int
    image_size: tuple[int, int] | None


@dataclass(frozen=True)
class LayerResult:
    """One layer of the plan after the run; cycles are None for a fully connected layer.

    `error` is the relative Frobenius error of the factors before fine-tuning, `plain_error` the bound of Theorem 1,
    None where R_ keeps only some positions, for which it does not hold.
    `window` and `tiles` are those of the (first) stage as executed. `output_error` is the relative error of the layer's output
    on calibration data, where the factors were made for them. `shape` is the convolution's, None in older results. `pruning` and
    `entries` are those of the plan, None for layers that keep all kernel positions.
    """

    name: str
    kind: str
    reason: str
    groups: int | None
    rank: int | None
    error: float | None
    plain_error: float | None
    parameters_before: int
    parameters_after: int
    weight_bits: int | None
    input_bits: int | None
    cycles: dict[str, int] | None
    planned_cycles: int | None
    utilisation: float | None
    window: tuple[int, int] | None
    tiles: tuple[int, int] | None
    output_error: float | None = None
    shape: ConvShape | None = None
    pruning: str | None = None
    entries: int | None = None


@dataclass(frozen=True)
class Accuracies:
    """Top-1 accuracies on the test split, 0 to 1.

    Attributes:
        baseline: of the dense float network; None when the run trains it.
        decomposed: after decomposition (and quantisation, if any), before fine-tuning.
        final: at the end.
        arrays: at the end, on the arrays that noise-aware training trained for; None without it.
    """

    baseline: float | None
    decomposed: float | None
    final: float
    arrays: float | None = None


@dataclass(frozen=True)
class Result:
    """All that a run reports.

    Attributes:
        run: the run's identity, a hash of everything the numbers depend on.
        command: the command line that made it.
        model: network name.
        baseline: where the dense weights came from.
        data: the data set.
        input: (C, H, W).
        array: (R, C).
        accuracy: the accuracies.
        cycles: per image, of all convolutions, by mapping.
        planned_cycles: as executed.
        utilisation: of the planned network, 0 to 1.
        macs: dense multiply-accumulates of the convolutions.
        parameters_before: parameters of the dense network.
        parameters_after: parameters after compression.
        layers: one entry for each layer.
        untouched: layers of other kinds, with what they are.
        recipe: the training recipe.
        device: what computed it.
        precision: of the training arithmetic.
        seconds: training time.
        images_per_second: training speed, mean over epochs.
        versions: of the software.
        planned_conversions: columns converted by ADCs, one for a weight's column and a whole input vector as cycles count, as
            executed; None in older results.
        energy: what it costs in silicon; None in older results, and where no weight fits an array.
    """

    run: str
    command: str
    model: str
    baseline: str
    data: DataInfo
    input: tuple[int, int, int]
    array: tuple[int, int]
    accuracy: Accuracies
    cycles: dict[str, int]
    planned_cycles: int
    utilisation: float
    macs: int
    parameters_before: int
    parameters_after: int
    layers: tuple[LayerResult, ...]
    untouched: tuple[tuple[str, str], ...]
    recipe: dict[str, Any]
    device: str
    precision: str
    seconds: float
    images_per_second: float | None
    versions: dict[str, str]
    planned_conversions: int | None = None
    energy: EnergyRecord | None = None

    def save(self, path: str | Path) -> None:
        """Write `result.json` atomically."""
        write_json(path, {"_type": TYPE, "_version": VERSION, **asdict(self)})

    @classmethod
    def load(cls, path: str | Path) -> Result:
        """Read a `result.json`.

        Raises:
            InputError: the file is missing or not a result of this version.
        """
        content = read_json(path)
        wanted = {field.name for field in fields(cls)}
        if not isinstance(content, dict) or content.pop("_type", None) != TYPE or content.pop("_version", None) != VERSION:
            raise InputError(f"{path} is not a result of this version; expected _type {TYPE}, _version {VERSION}")
        later = {field.name for field in fields(cls) if field.default is not MISSING}
        odd = (set(content) ^ wanted) - (later - set(content))
        if odd:
            raise InputError(f"{path} is not a complete result: it differs in {', '.join(sorted(odd))}")
        try:
            content["data"] = DataInfo(**_tuples(content["data"], "classes", "image_size"))
            content["accuracy"] = Accuracies(**content["accuracy"])
            content["layers"] = tuple(_layer(layer) for layer in content["layers"])
            if content.get("energy") is not None:
                content["energy"] = EnergyRecord.from_json(content["energy"])
            content["untouched"] = tuple((name, what) for name, what in content["untouched"])
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(f"{path} is not a complete result: {error}") from error
        return cls(**_tuples(content, "input", "array"))


def _layer(content: dict[str, Any]) -> LayerResult:
    layer = LayerResult(**_tuples(content, "window", "tiles"))
    if layer.shape is None:
        return layer
    shape = _tuples(dict(content["shape"]), "kernel", "input", "stride", "padding", "dilation")
    return replace(layer, shape=ConvShape(**shape))


def _tuples(content: dict[str, Any], *keys: str) -> dict[str, Any]:
    return {key: tuple(value) if key in keys and value is not None else value for key, value in content.items()}
