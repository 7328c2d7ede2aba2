"""`Result`: what a run found, as the file `result.json`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rankfold.errors import InputError
from rankfold.machine import Hardware, hardware_from_json, hardware_to_json
from rankfold.records.fields import shallow, tuples_of
from rankfold.records.schema import schema_validator
from rankfold.records.typed import read_typed, write_typed
from rankfold.runs.energy_record import EnergyRecord
from rankfold.runs.folder import MEASURED
from rankfold.runs.layer_result import Counts, LayerResult
from rankfold.training.reconstruction_recipe import BlockRecord

TYPE, VERSION = "rankfold.result", 1


@dataclass(frozen=True, kw_only=True)
class DataInfo:
    """The data a run used: its source, hash, class names and sizes, whether training decoded it, whether it
    has labels, and by what images were normalised (`training.scaling.Scaling`; None: by their own mean and
    deviation). Without labels the classes are those of the network, by their numbers.
    """

    source: str
    digest: str
    classes: tuple[str, ...]
    train_images: int
    test_images: int
    image_size: tuple[int, int] | None
    streamed: bool = False
    labelled: bool = True
    normalised: str | None = None


@dataclass(frozen=True)
class Accuracies:
    """Top-1 accuracies on the test split, 0 to 1; or what else a run without labels measures there.

    Attributes:
        baseline: of the dense float network; None when the run trains it.
        decomposed: after decomposition (and quantisation, if any), before fine-tuning.
        final: at the end.
        arrays: at the end, on the arrays that noise-aware training trained for; None without it.
        measured: what they are: `accuracy`, or with the dense network `agreement` or `relative output error`.
    """

    baseline: float | None
    decomposed: float | None
    final: float
    arrays: float | None = None
    measured: str = "accuracy"

    @property
    def key(self) -> str:
        """Under which results have them."""
        return self.measured.replace(" ", "_")

    def to_json(self) -> dict[str, Any]:
        """Without their name, which is that of the key."""
        content = asdict(self)
        del content["measured"]
        return content


@dataclass(frozen=True)
class MetricResult:
    """A user's metric on the test split, the higher the better.

    Attributes:
        name: as the user calls it.
        baseline: of the dense float network.
        decomposed: after decomposition (and quantisation, if any), before any training.
        final: at the end.
        reconstructed: after training without labels; None: there was none.
    """

    name: str
    baseline: float
    decomposed: float
    final: float
    reconstructed: float | None = None


@dataclass(frozen=True, kw_only=True)
class ReconstructionResult:
    """What a reconstruction without labels did, before any fine-tuning.

    Attributes:
        images: training samples that it looked at.
        steps: of each block.
        rate: at the first step.
        before: accuracy on the test split before it, 0 to 1.
        after: the same after it.
        seconds: that all blocks took.
        blocks: one record for each.
    """

    images: int
    steps: int
    rate: float
    before: float
    after: float
    seconds: float
    blocks: tuple[BlockRecord, ...]

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> ReconstructionResult:
        """The same of what `dataclasses.asdict` made of it."""
        blocks = tuple(BlockRecord(**block) for block in content["blocks"])
        return cls(**{**content, "blocks": blocks})


@dataclass(frozen=True, kw_only=True)
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
        cycles: per image, of all convolutions, by the text of the mapping's key (`rankfold.cost.CostKey`).
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
        planned_conversions: columns converted by ADCs, one for a weight's column and a whole input vector as
            cycles count, as executed; None in older results.
        energy: what it costs in silicon; None in older results, and where no weight fits an array.
        hardware: what costs are counted for; None in older results.
        predicted_loss: what the plan said that the network would lose before any training, in nats per image
            and without rounding; None where it does not say so, or not for these dense weights and data.
        dense_weights: a hash of the weights of the dense network; None in older results.
        reconstruction: what training without labels did; None: there was none.
        decomposition: how weights were made, one of `lowrank.DECOMPOSITIONS`; None in older results.
        rounding: of weights before fine-tuning, one of `lowrank.ROUNDINGS`; None in older results.
        metric: what the user's metric says; None: there was none beside accuracy.
        of_outputs: the agreement, or relative error, of each of several outputs in the end, where data have
            no labels; None: there is one output, or labels.
    """

    run: str
    command: str
    model: str
    baseline: str
    data: DataInfo
    input: tuple[int, int, int]
    array: tuple[int, int]
    accuracy: Accuracies
    cycles: Counts
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
    hardware: Hardware | None = None
    predicted_loss: float | None = None
    dense_weights: str | None = None
    reconstruction: ReconstructionResult | None = None
    decomposition: str | None = None
    rounding: str | None = None
    metric: MetricResult | None = None
    of_outputs: dict[str, float] | None = None

    def to_json(self) -> dict[str, Any]:
        """The content of `result.json`, without its type and version."""
        # Only what holds data classes is taken apart; numbers, texts and lists go as they are.
        content = shallow(self)
        content["data"] = asdict(self.data)
        # As older versions wrote it, which decoded all data before.
        if not self.data.streamed:
            del content["data"]["streamed"]
        if self.data.labelled:
            del content["data"]["labelled"]
        if self.data.normalised is None:
            del content["data"]["normalised"]
        content["accuracy"] = self.accuracy.to_json()
        content["layers"] = [layer.to_json() for layer in self.layers]
        if self.energy is not None:
            content["energy"] = self.energy.to_json()
        # Results of version 0.1, written again, stay as they were.
        del content["hardware"]
        if self.hardware is not None:
            content["hardware"] = hardware_to_json(self.hardware)
        for name in ("predicted_loss", "dense_weights", "decomposition", "rounding", "of_outputs"):
            if content[name] is None:
                del content[name]
        del content["reconstruction"]
        if self.reconstruction is not None:
            content["reconstruction"] = asdict(self.reconstruction)
        del content["metric"]
        if self.metric is not None:
            content["metric"] = asdict(self.metric)
        # In the same place, whatever it is called.
        names = {"accuracy": self.accuracy.key}
        return {names.get(name, name): part for name, part in content.items()}

    def save(self, path: str | Path) -> None:
        """Write `result.json` atomically."""
        write_typed(path, TYPE, VERSION, self.to_json())

    @classmethod
    def load(cls, path: str | Path) -> Result:
        """Read a `result.json`.

        Raises:
            InputError: the file is missing or not a result of this version; the message names the place.
        """
        # The schema has seen to types and ranges; what follows only gives the content its classes.
        validator = schema_validator("rankfold.runs", "result.schema.json")
        return cls.from_json(read_typed(path, TYPE, VERSION, validator), str(path))

    @classmethod
    def from_json(cls, content: Mapping[str, Any], where: str) -> Result:
        """The result that follows the schema of `result.json`; `where` is what it was read from.

        Raises:
            InputError: it has a convolution or a layer that there cannot be.
        """
        content = tuples_of(content, "input", "array")
        content["data"] = DataInfo(**tuples_of(content["data"], "classes", "image_size"))
        for key in MEASURED:
            if key in content:
                content["accuracy"] = Accuracies(**content.pop(key), measured=key.replace("_", " "))
        try:
            content["layers"] = tuple(LayerResult.from_json(layer) for layer in content["layers"])
        except InputError as error:  # the schema knows no padded input that is smaller than a kernel
            raise InputError(f"{where} is not a complete result: {error}") from None
        # Results of older versions have no such key.
        if content.get("energy") is not None:
            content["energy"] = EnergyRecord.from_json(content["energy"])
        if content.get("hardware") is not None:
            content["hardware"] = hardware_from_json(content["hardware"], f"{where}: hardware")
        content["untouched"] = tuple((name, what) for name, what in content["untouched"])
        if content.get("reconstruction") is not None:
            content["reconstruction"] = ReconstructionResult.from_json(content["reconstruction"])
        if content.get("metric") is not None:
            content["metric"] = MetricResult(**content["metric"])
        return cls(**content)
