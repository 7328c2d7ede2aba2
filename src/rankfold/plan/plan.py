"""`Plan`: what every layer becomes, as a file that people can read and edit."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from copy import deepcopy
from dataclasses import dataclass, field, replace
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import numpy as np

from rankfold.arguments import PATH, TEXT, Wanted, check_fields, takes
from rankfold.documents import in_schema, read_json
from rankfold.errors import InputError
from rankfold.files import digest_of, package_data, write_text
from rankfold.machine import DEFAULT_HARDWARE, Hardware, hardware_from_json, hardware_to_json
from rankfold.mapping import CELLS, ArraySpec
from rankfold.mapping.array import COLUMNS
from rankfold.notebooks import Shown, in_brackets
from rankfold.plan.kinds import LayerKind, field_schemas, kind_names, kinds
from rankfold.plan.layer import LayerPlan
from rankfold.plan.on_chip import OnChip
from rankfold.plan.prediction import NATS, Prediction, decisions
from rankfold.records.schema import strict_validator
from rankfold.workload import ConvShape, InputSpec, Network
from rankfold.workload.shape import Image, checked_image

# Written into every file; the schema refuses any other.
TYPE, VERSION = "rankfold.plan", 1
# What version 0.1 took where a file says something of cells, and not this.
OF_OLD_FILES = {"coding": "offset", "converts": COLUMNS}


@dataclass(frozen=True)
class Plan(Shown):
    """The plan of a whole network.

    Attributes:
        model: the network's name.
        input: (C, H, W) it was planned for.
        array: the array it was planned for.
        layers: one entry for each weight, in execution order.
        inputs: what the network is called with, where that is not one image.
        masks: the weights that pruned layers keep, (m, C_in/G, kh, kw) booleans by layer, where the plan is
            that of a network in memory (see `quantise_` and `load_`). They are the network's: files of plans
            do not hold them, and plans that differ in them alone are equal.
        hardware: what else it was planned for: technology, converters, defects; its array is `array`. None:
            nothing else was said.
        prediction: what it was predicted to lose, and of which decisions; see `predicted_loss`. Plans that
            differ in it alone are equal.
        on_chip: copies of its layers on a described chip, where it was made for one; likewise.
    """

    model: str
    input: tuple[int, int, int]
    array: ArraySpec
    layers: tuple[LayerPlan, ...]
    inputs: tuple[InputSpec, ...] = ()
    masks: Mapping[str, np.ndarray] = field(default_factory=dict, compare=False, repr=False)
    hardware: Hardware | None = None
    prediction: Prediction | None = field(default=None, compare=False)
    on_chip: OnChip | None = field(default=None, compare=False)

    def __repr__(self) -> str:
        became = Counter(layer.kind.name for layer in self.layers)
        words = ", ".join(f"{number} {name}" for name, number in became.items())
        return in_brackets("Plan", f"of {self.model} for {self.array} arrays: {words}")

    def __post_init__(self) -> None:
        entries = Wanted("a tuple of LayerPlan", tuple)
        check_fields(self, model=TEXT, array=Wanted("an ArraySpec", ArraySpec), layers=entries)
        for layer in self.layers:
            Wanted("a LayerPlan", LayerPlan).check("Plan layers", layer)
        names = Counter(layer.name for layer in self.layers)
        # Only one of two entries could be followed.
        for name, times in names.items():
            if times > 1:
                raise InputError(f"the plan names layer {name} twice; keep one entry")
        checked_image(self.input)
        named = [bool(spec.name) for spec in self.inputs]
        if any(named) and not all(named):
            raise InputError(f"the plan of {self.model}: inputs must all have a name, or none of them")

    @classmethod
    def of(cls, network: Network, hardware: ArraySpec | Hardware, layers: Iterable[LayerPlan]) -> Plan:
        """The plan of a network, for an array or hardware."""
        array = hardware
        if isinstance(array, Hardware):
            array = array.array
        made = cls(network.name, network.input, array, tuple(layers), network.inputs)
        return made.on(hardware)

    @property
    def machine(self) -> Hardware:
        """The hardware that the plan is for: as it says, else the default one, with the plan's array."""
        return (self.hardware or DEFAULT_HARDWARE).with_array(self.array)

    def on(self, hardware: ArraySpec | Hardware) -> Plan:
        """The same decisions for other hardware, or for other arrays of the same."""
        if isinstance(hardware, ArraySpec):
            return replace(self, array=hardware)
        # The default with another array is what plans without hardware are for.
        kept = None
        if not hardware.is_default:
            kept = hardware
        return replace(self, array=hardware.array, hardware=kept)

    @property
    def predicted_loss(self) -> float | None:
        """What the network is predicted to lose as planned, per image before any training and without what
        rounding costs, in the unit of `prediction`; None: it was not predicted, or for layers that became
        something else.
        """
        if self.prediction is None or self.prediction.of != decisions(self.layers):
            return None
        return self.prediction.loss

    def predicting(
        self, loss: float, weights: str | None = None, data: str | None = None, unit: str = NATS
    ) -> Plan:
        """The plan with what its layers, as they are now, are predicted to lose.

        Args:
            loss: per image.
            weights: digest of the dense network's weights that it was predicted for.
            data: digest of the data set that it was predicted on.
            unit: of the loss.
        """
        return replace(self, prediction=Prediction(loss, decisions(self.layers), weights, data, unit))

    def predicted_loss_for(self, weights: str, data: str) -> float | None:
        """`predicted_loss` in nats, where it was predicted for these weights and data (digests); None: it was
        not.
        """
        if self.prediction is None or not self.prediction.is_for(weights, data):
            return None
        if self.prediction.unit != NATS:
            return None
        return self.predicted_loss

    @property
    def called_with(self) -> str:
        """What the network is called with, in words."""
        if not self.inputs:
            return f"images of {self.input} (C, H, W), in batches (B, C, H, W)"
        return f"inputs of {', '.join(map(str, self.inputs))}, for one sample"

    @property
    def one_image(self) -> Image | None:
        """(C, H, W), where the network is called with an image and nothing else."""
        if self.inputs:
            return None
        return self.input

    def layer(self, name: str) -> LayerPlan:
        """The entry of layer `name`.

        Raises:
            InputError: there is none, as of a plan for another network.
        """
        if name not in self._by_name:
            raise InputError(f"the plan of {self.model} has no layer {name}; make a plan for this network")
        return self._by_name[name]

    @cached_property
    def _by_name(self) -> dict[str, LayerPlan]:
        # The first of a name counts.
        return {layer.name: layer for layer in reversed(self.layers)}

    @property
    def quantised(self) -> bool:
        """Whether any layer has bit widths."""
        return any(layer.quantised for layer in self.layers)

    @property
    def changed(self) -> tuple[LayerPlan, ...]:
        """The layers whose weight is replaced."""
        return tuple(layer for layer in self.layers if layer.kind.changes_weight)

    def with_supports(self, supports: dict[str, str]) -> Plan:
        """The plan with the supports of some layers, by name, as text."""
        layers = []
        for layer in self.layers:
            if layer.name in supports:
                layer = layer.with_support(supports[layer.name])
            layers.append(layer)
        return replace(self, layers=tuple(layers))

    def with_signs(self, signed: dict[str, bool]) -> Plan:
        """The plan with `input_signed` filled in where it was open."""
        layers = []
        for layer in self.layers:
            # What the plan says already goes before what was seen on some data.
            if layer.input_signed is None and layer.name in signed:
                layer = replace(layer, input_signed=signed[layer.name])
            layers.append(layer)
        return replace(self, layers=tuple(layers))

    def with_levels_for(self, array: ArraySpec) -> Plan:
        """The plan with the levels of weights that the cells of an array hold, see `narrow_weights`."""
        layers = []
        for layer in self.layers:
            narrow = layer.weight_bits is not None and array.lacks_lowest(layer.weight_bits)
            layers.append(replace(layer, narrow_weights=narrow))
        return replace(self, layers=tuple(layers))

    def to_json(self) -> dict[str, Any]:
        """The content of a plan file."""
        content = {
            "_type": TYPE,
            "_version": VERSION,
            "model": self.model,
            "input": list(self.input),
            "array": [self.array.rows, self.array.columns],
        }
        # Most networks take one image, and their files say its size alone.
        if self.inputs:
            content["inputs"] = [spec.to_json() for spec in self.inputs]
        # Most plans are for default cells: their files give rows and columns alone.
        plain = ArraySpec(self.array.rows, self.array.columns)
        if self.array != plain:
            cells = self.array.to_json()
            # Version 0.1 did not know the key: without it, columns are converted as they are.
            if self.array.converts == OF_OLD_FILES["converts"]:
                del cells["converts"]
            content["cells"] = {key: cells[key] for key in CELLS if cells.get(key) is not None}
        if self.hardware is not None:
            content["hardware"] = hardware_to_json(self.machine)
        # Not one of decisions that are no longer those of the plan.
        if self.prediction is not None and self.predicted_loss is not None:
            content["prediction"] = self.prediction.to_json()
        if self.on_chip is not None:
            content["chip"] = self.on_chip.to_json()
        return {**content, "layers": [layer.to_json() for layer in self.layers]}

    @classmethod
    def from_json(cls, content: Any, where: str = "plan") -> Plan:
        """Build a plan from the content of a file.

        Raises:
            InputError: the content does not follow the schema; the message names the place.
        """
        # A kind that nobody registered: its fields would be what the schema complains of.
        _check_kinds(content, where)
        # Types and ranges first: the classes below check only what a schema cannot say.
        in_schema(content, _validator(), f"{where} is not a valid plan")
        channels, height, width = content["input"]
        hardware = None
        if "hardware" in content:
            hardware = hardware_from_json(content["hardware"], f"{where}: hardware")
        try:
            prediction = on_chip = None
            if "prediction" in content:
                prediction = Prediction.from_json(content["prediction"])
            if "chip" in content:
                on_chip = OnChip.from_json(content["chip"])
            return cls(
                content["model"],
                (channels, height, width),
                _array(content),
                tuple(LayerPlan.from_json(layer) for layer in content["layers"]),
                tuple(InputSpec.from_json(spec) for spec in content.get("inputs", ())),
                hardware=hardware,
                prediction=prediction,
                on_chip=on_chip,
            )
        except InputError as error:
            # The message names the layer already; here the file is added.
            raise InputError(f"{where} is not a valid plan: {error}") from None

    @takes(path=PATH)
    def save(self, path: str | Path) -> None:
        """Write the plan atomically, one layer a line."""
        content = self.to_json()
        # By hand, as `indent` would give every field a line: so a changed layer is one line of a diff.
        lines = ",\n".join("    " + json.dumps(layer) for layer in content.pop("layers"))
        head = ",\n".join(f"  {json.dumps(key)}: {json.dumps(value)}" for key, value in content.items())
        write_text(path, f'{{\n{head},\n  "layers": [\n{lines}\n  ]\n}}\n')

    @classmethod
    @takes(path=PATH)
    def load(cls, path: str | Path) -> Plan:
        """Read a plan file.

        Raises:
            InputError: the file is missing, not JSON, or not a valid plan.
        """
        return cls.from_json(read_json(path), str(path))

    def digest(self) -> str:
        """A hash of all decisions: not of reasons and predictions, nor of copies on a chip, which change no
        output.
        """
        layers = tuple(replace(layer, reason="") for layer in self.layers)
        bare = replace(self, layers=layers, prediction=None, on_chip=None)
        # Sorted, so that the order of fields may change.
        return digest_of(json.dumps(bare.to_json(), sort_keys=True).encode())


def _array(content: dict[str, Any]) -> ArraySpec:
    """The array that a file describes; what it leaves open of its cells is as in version 0.1."""
    rows, columns = content["array"]
    if "cells" not in content:
        return ArraySpec(rows, columns)
    return ArraySpec(rows, columns, **{**OF_OLD_FILES, **content["cells"]})


# For `arguments.takes`.
PLAN = Wanted("a Plan, such as uniform_plan(...), best_plan(...).plan or Plan.load(path)", Plan)


def _check_kinds(content: Any, where: str) -> None:
    """Refuse kinds of layers that are not registered; any other fault is left to the schema."""
    layers = []
    if isinstance(content, dict) and isinstance(content.get("layers"), list):
        layers = [layer for layer in content["layers"] if isinstance(layer, dict)]
    for layer in layers:
        kind = layer.get("kind")
        if isinstance(kind, str) and kind not in kind_names():
            raise InputError(
                f"{where} is not a valid plan: layer {layer.get('name')}: kind (={kind}) must be one of "
                f"{', '.join(kind_names())}; kinds of one's own are registered first (register_kind)"
            )


def _validator() -> Any:
    # Kept until a kind is registered or forgotten.
    return _validator_for(kinds())


@cache
def _validator_for(registered: tuple[type[LayerKind], ...]) -> Any:
    """A validator of plans with layers of these kinds."""
    return strict_validator(plan_schema())


def plan_schema() -> dict[str, Any]:
    """JSON Schema of a plan file, with the fields of all registered kinds."""
    # The common part is kept for all callers, and filled in below.
    schema: dict[str, Any] = deepcopy(_common_schema())
    fields = schema["properties"]["layers"]["items"]["properties"]
    fields["kind"] = {"enum": list(kind_names())}
    # Whether it is one of the layer's own, `LayerPlan` says, in one sentence.
    fields["mapping"] = {"type": "string", "minLength": 1, "examples": [*_mappings(), "4x8", "4x8+2x2"]}
    fields["pruning"] = {"enum": [kind.variant for kind in kinds() if kind.variant is not None]}
    fields.update(field_schemas())
    return schema


def _mappings() -> list[str]:
    """The names of all mappings that any kind of layer has, each once."""
    names: dict[str, None] = {}
    for kind in kinds():
        names.update(dict.fromkeys(kind.mappings))
    return list(names)


@cache
def _common_schema() -> dict[str, Any]:
    """What the schema says whatever kinds there are."""
    text = (package_data("rankfold.plan") / "plan.schema.json").read_text(encoding="utf-8")
    content: dict[str, Any] = json.loads(text)
    return content


def check_plan(plan: Plan, network: Network) -> None:
    """Refuse a plan that was made for another network, or that a layer cannot follow.

    Raises:
        InputError: names or sizes differ, or a (g, r) does not fit its layer; the message names the layer.
    """
    shapes = weights(network)
    planned = [layer.name for layer in plan.layers]
    missing = [name for name in shapes if name not in planned]
    extra = [name for name in planned if name not in shapes]
    if missing or extra:
        if missing:
            odd = f"layer {missing[0]} of the network is missing"
        else:
            odd = f"the network has no layer {extra[0]}"
        other = "the plan is for another network"
        # Of the same name, say, where a file was edited.
        if plan.model != network.name:
            other += f" ({plan.model}, not {network.name})"
        raise InputError(f"{other}: {odd}")
    # A mapping and its cycles hold for one size of image only.
    if plan.input != network.input:
        raise InputError(
            f"the plan is for images of {plan.input} (C, H, W), the network gets {network.input}; make a "
            "plan for these"
        )
    kinds = {layer.name: layer.kind for layer in plan.layers}
    # A window, say, must fit all planes that a layer runs on.
    for run in network.layers:
        kinds[run.weight].check(run)


def weights(network: Network) -> dict[str, ConvShape]:
    """The first run of every weight of the network, by the weight's name."""
    # Later runs of a weight may read planes of other sizes, but its matrix is the same.
    found: dict[str, ConvShape] = {}
    for layer in network.layers:
        found.setdefault(layer.weight, layer)
    return found
