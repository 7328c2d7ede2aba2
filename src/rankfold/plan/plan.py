"""`Plan`: what every layer becomes, as a file that people can read and edit."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field, replace
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

from rankfold.errors import InputError
from rankfold.files import in_schema, read_json, write_text
from rankfold.lowrank import check_rank
from rankfold.mapping import LOW_RANK_METHODS, METHODS, PRUNED_METHODS, ArraySpec
from rankfold.plan.support import WORDS, check_entries, check_row_sparse, check_support
from rankfold.pruning import PAIRS
from rankfold.pruning import PRUNINGS as PATTERNS
from rankfold.workload import ConvShape, Network

DENSE, LOW_RANK, PRUNED, NARROWED = "dense", "low-rank", "pattern-pruned", "channel-pruned"
MAPPINGS = {DENSE: METHODS, LOW_RANK: LOW_RANK_METHODS, PRUNED: PRUNED_METHODS, NARROWED: METHODS}
CHOICES = {  # what a layer of each kind must say, and no other kind may
    LOW_RANK: ("groups", "rank"),
    PRUNED: ("pruning", "steering"),
    NARROWED: ("in_channels", "out_channels"),
}
SUPPORT = "support"
PRUNINGS = (*PATTERNS, SUPPORT)
PLAIN, IDEAL = STEERINGS = "plain", "ideal"
TYPE, VERSION = "rankfold.plan", 1


@dataclass(frozen=True)
class LayerPlan:
    """What becomes of one layer.

    Attributes:
        name: the layer's name in the network.
        kind: `dense` (kept), `low-rank`, `pattern-pruned` or `channel-pruned`.
        groups: g, low-rank groups; None for any other layer.
        rank: r of each group; None for any other layer.
        pruning: which weights a pattern-pruned layer keeps: `patdnn` (a pattern for each kernel), `pairs` (one for all kernels
            of an input channel in a block of output channels) or `support` (one for all kernels of an input channel, chosen
            for the layer's output). The patterns themselves are saved with the weights, as masks.
        entries: e, positions that a pattern keeps; of a low-rank layer the positions of each input channel that R_ uses, None:
            all.
        support: the positions themselves, of pruning `support` and of low-rank layers with `entries`: a hexadecimal number for
            each input channel, the lowest bit for the first position, separated by blanks. None: to be chosen on data.
        block: output channels in a block of `pairs`; None: all of a group.
        steering: how rows of a pattern-pruned layer are counted: `plain` (a row is skipped where nothing in a tile needs it)
            or `ideal` (each column is given inputs of its own).
        in_channels: input channels that a channel-pruned layer keeps.
        out_channels: output channels that it keeps.
        mapping: how it is laid on the array, one of `rankfold.mapping.METHODS`, `LOW_RANK_METHODS` or `PRUNED_METHODS`.
        weight_bits: 1 to 8, or None for float.
        input_bits: bits of the layer's input, and of the value between two low-rank stages; None for float.
        input_signed: whether the input can be negative; None: to be seen from the data.
        reason: why it is so, in words.
    """

    name: str
    kind: str
    groups: int | None = None
    rank: int | None = None
    pruning: str | None = field(default=None, kw_only=True)
    entries: int | None = field(default=None, kw_only=True)
    support: str | None = field(default=None, kw_only=True)
    block: int | None = field(default=None, kw_only=True)
    steering: str | None = field(default=None, kw_only=True)
    in_channels: int | None = field(default=None, kw_only=True)
    out_channels: int | None = field(default=None, kw_only=True)
    mapping: str = "sdk"
    weight_bits: int | None = None
    input_bits: int | None = None
    input_signed: bool | None = None
    reason: str = ""

    @property
    def supported(self) -> bool:
        """Whether all its outputs share a support, in the plan or to be chosen on data."""
        return self.pruning == SUPPORT or (self.kind == LOW_RANK and self.entries is not None)

    @property
    def made_for_data(self) -> bool:
        """Whether its weights can be made for what its inputs are on data."""
        return self.kind == LOW_RANK or self.pruning == SUPPORT

    def __post_init__(self) -> None:
        if self.kind not in MAPPINGS:
            *kinds, last = MAPPINGS
            raise InputError(f"plan, layer {self.name}: kind (={self.kind}) must be {', '.join(kinds)} or {last}")
        for kind, name in ((kind, name) for kind, names in CHOICES.items() for name in names):
            given = getattr(self, name) is not None
            if given and kind != self.kind:
                raise InputError(f"plan, layer {self.name}: only a {kind} layer has {name}, this one is {self.kind}")
            if not given and kind == self.kind:
                raise InputError(f"plan, layer {self.name}: a {kind} layer needs {name}")
        if self.kind == PRUNED and self.entries is None:
            raise InputError(f"plan, layer {self.name}: a {PRUNED} layer needs entries")
        if self.entries is not None and self.kind not in (LOW_RANK, PRUNED):
            raise InputError(
                f"plan, layer {self.name}: only {LOW_RANK} and {PRUNED} layers have entries, this one is {self.kind}"
            )
        if self.support is not None:
            if not self.supported:
                raise InputError(
                    f"plan, layer {self.name}: only {LOW_RANK} layers with entries, and pruning {SUPPORT}, have a support"
                )
            if not WORDS.fullmatch(self.support):
                raise InputError(f"plan, layer {self.name}: support must be hexadecimal numbers separated by single blanks")
        for name, value, known in (("pruning", self.pruning, PRUNINGS), ("steering", self.steering, STEERINGS)):
            if value is not None and value not in known:
                raise InputError(f"plan, layer {self.name}: {name} (={value}) must be {' or '.join(known)}")
        if self.block is not None and (self.pruning != PAIRS or self.block < 1):
            raise InputError(f"plan, layer {self.name}: block (={self.block}) must be 1 or more, and only {PAIRS} has one")
        if self.mapping not in MAPPINGS[self.kind]:
            raise InputError(
                f"plan, layer {self.name}: mapping (={self.mapping}) of a {self.kind} layer must be one of "
                f"{', '.join(MAPPINGS[self.kind])}"
            )
        if (self.weight_bits is None) != (self.input_bits is None):
            raise InputError(f"plan, layer {self.name}: give weight_bits and input_bits, or neither")


@dataclass(frozen=True)
class Plan:
    """The plan of a whole network.

    Attributes:
        model: the network's name.
        input: (C, H, W) it was planned for.
        array: the array it was planned for.
        layers: one entry for each weight, in execution order.
    """

    model: str
    input: tuple[int, int, int]
    array: ArraySpec
    layers: tuple[LayerPlan, ...]

    def layer(self, name: str) -> LayerPlan:
        """The entry of layer `name`."""
        return next(layer for layer in self.layers if layer.name == name)

    @property
    def quantised(self) -> bool:
        """Whether any layer has bit widths."""
        return any(layer.weight_bits is not None for layer in self.layers)

    def with_supports(self, supports: dict[str, str]) -> Plan:
        """The plan with the supports of some layers, by name, as text."""
        layers = (replace(layer, support=supports.get(layer.name, layer.support)) for layer in self.layers)
        return replace(self, layers=tuple(layers))

    def with_signs(self, signed: dict[str, bool]) -> Plan:
        """The plan with `input_signed` filled in where it was open."""
        layers = (
            replace(layer, input_signed=signed[layer.name]) if layer.input_signed is None and layer.name in signed else layer
            for layer in self.layers
        )
        return replace(self, layers=tuple(layers))

    def to_json(self) -> dict[str, Any]:
        """The content of a plan file."""
        layers = [{key: value for key, value in asdict(layer).items() if value not in (None, "")} for layer in self.layers]
        content = {
            "_type": TYPE,
            "_version": VERSION,
            "model": self.model,
            "input": list(self.input),
            "array": [self.array.rows, self.array.columns],
        }
        plain = ArraySpec(self.array.rows, self.array.columns)
        if self.array != plain:
            cells = {key: getattr(self.array, key) for key in ("cell_bits", "coding", "dac_bits")}
            content["cells"] = {key: value for key, value in cells.items() if value is not None}
        return {**content, "layers": layers}

    @classmethod
    def from_json(cls, content: Any, where: str = "plan") -> Plan:
        """Build a plan from the content of a file.

        Raises:
            InputError: the content does not follow the schema; the message names the place.
        """
        in_schema(content, _validator(), f"{where} is not a valid plan")
        channels, height, width = content["input"]
        try:
            layers = tuple(LayerPlan(**layer) for layer in content["layers"])
            return cls(
                content["model"], (channels, height, width), ArraySpec(*content["array"], **content.get("cells", {})), layers
            )
        except InputError as error:
            raise InputError(f"{where} is not a valid plan: {error}") from None

    def save(self, path: str | Path) -> None:
        """Write the plan atomically, one layer a line."""
        content = self.to_json()
        lines = ",\n".join("    " + json.dumps(layer) for layer in content.pop("layers"))
        head = ",\n".join(f"  {json.dumps(key)}: {json.dumps(value)}" for key, value in content.items())
        write_text(path, f'{{\n{head},\n  "layers": [\n{lines}\n  ]\n}}\n')

    @classmethod
    def load(cls, path: str | Path) -> Plan:
        """Read a plan file.

        Raises:
            InputError: the file is missing, not JSON, or not a valid plan.
        """
        return cls.from_json(read_json(path), str(path))

    def digest(self) -> str:
        """A hash of all decisions; reasons are words and do not count."""
        bare = replace(self, layers=tuple(replace(layer, reason="") for layer in self.layers))
        return hashlib.sha256(json.dumps(bare.to_json(), sort_keys=True).encode()).hexdigest()[:16]


@cache
def _validator() -> Any:
    import jsonschema

    schema = json.loads(resources.files("rankfold.plan").joinpath("plan.schema.json").read_text(encoding="utf-8"))
    # JSON Schema counts 4.0 as an integer; as a rank or a bit width it would fail much later.
    plain = jsonschema.Draft202012Validator.TYPE_CHECKER.redefine(
        "integer", lambda _, value: isinstance(value, int) and not isinstance(value, bool)
    )
    return jsonschema.validators.extend(jsonschema.Draft202012Validator, type_checker=plain)(schema)  # type: ignore[no-untyped-call]


def check_plan(plan: Plan, network: Network) -> None:
    """Refuse a plan that was made for another network, or that a layer cannot follow.

    Raises:
        InputError: names or sizes differ, or a (g, r) does not fit its layer; the message names the layer.
    """
    shapes = weights(network)
    planned = [layer.name for layer in plan.layers]
    if len(set(planned)) != len(planned):
        raise InputError(f"the plan names layer {next(n for n in planned if planned.count(n) > 1)} twice; keep one entry")
    missing = [name for name in shapes if name not in planned]
    extra = [name for name in planned if name not in shapes]
    if missing or extra:
        odd = f"layer {missing[0]} of the network is missing" if missing else f"the network has no layer {extra[0]}"
        raise InputError(f"the plan is for another network ({plan.model}, not {network.name}): {odd}")
    if plan.input != network.input:
        raise InputError(
            f"the plan is for images of {plan.input} (C, H, W), the network gets {network.input}; make a plan for these"
        )
    for layer in plan.layers:
        if layer.groups is not None and layer.rank is not None:
            if shapes[layer.name].fixed:
                raise InputError(f"plan, layer {layer.name}: it cannot be low-rank: {shapes[layer.name].fixed}; make it dense")
            if layer.entries is None:
                check_rank(shapes[layer.name], layer.groups, layer.rank)
            else:
                check_row_sparse(shapes[layer.name], layer.groups, layer.rank, layer.entries)
        elif layer.entries is not None:
            check_entries(shapes[layer.name], layer.entries)
        if layer.support is not None:
            check_support(shapes[layer.name], layer.entries or 0, layer.support)
        for what, kept, there in (
            ("in_channels", layer.in_channels, shapes[layer.name].in_channels),
            ("out_channels", layer.out_channels, shapes[layer.name].out_channels),
        ):
            if kept is not None and kept > there:
                raise InputError(f"plan, layer {layer.name}: {what} (={kept}) must be at most the {there} that it has")


def weights(network: Network) -> dict[str, ConvShape]:
    """The first run of every weight of the network, by the weight's name."""
    found: dict[str, ConvShape] = {}
    for layer in network.layers:
        found.setdefault(layer.weight, layer)
    return found
