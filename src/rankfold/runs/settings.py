"""What the user asked of a run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from rankfold.errors import InputError
from rankfold.mapping import ArraySpec
from rankfold.plan import LOW_RANK, PLAIN, Coverage, LayerRule
from rankfold.runs.methods import EXAMPLES, METHODS, QUANTISE, STEERED
from rankfold.simulator import ArrayNonIdealities
from rankfold.training.distillation import Distillation
from rankfold.training.loop import Silent, Watcher
from rankfold.training.recipe import Recipe

BASELINE = Recipe(epochs=60, peak_rate=0.2)
FINE_TUNING = Recipe(epochs=10, peak_rate=0.05)
DISTILLATION = Distillation()  # what fine-tuning does where nothing is said; docs/planning.md has what it is worth


@dataclass(frozen=True)
class CompressSettings:
    """All choices of one compression run.

    What belongs to another method than the one chosen must be left away.

    Attributes:
        model: a zoo network or `package.module:factory`.
        data: a data source, as `load_images` takes it.
        out: the run's folder.
        array: the array; default: that of `plan`, else 64x64.
        method: `low-rank` (needs `rank`), `patdnn`, `pairs` or `support` (need `entries`), `quantise` (every layer stays dense),
            or `channel` (needs `ratio`); default: `low-rank` with a rank or groups, else `quantise`.
        groups: g of the uniform plan; None with no rank leaves every layer dense.
        rank: r of the uniform plan, a number or a fraction such as `1/8`.
        entries: e of pattern pruning, positions kept of each kernel; of `low-rank` those of each input channel that R_ keeps.
        block: output channels that share a pattern under `pairs`; None: all.
        steering: how pattern-pruned layers are counted, `plain` or `ideal`.
        ratio: share of the channels that channel pruning removes.
        bits: of weights and inputs; None for float.
        pointwise: low-rank for 1x1 convolutions too.
        linear: low-rank for fully connected layers too.
        rules: which layers the uniform plan shall make low-rank after all, or not.
        fit: let the uniform plan lower (g, r) where a layer cannot have them.
        mapping: of the uniform plan.
        plan: a plan file to follow instead of the uniform plan.
        decomposition: `svd` (nearest to the weights), `data` (nearest to the layers' outputs on training images) or
            `sequential` (the same, layer after layer, taking back the errors of the layers before).
        checkpoint: weights of the dense network; default: shipped ones if there are any for this data, else trained.
        recipe: of fine-tuning.
        baseline_recipe: of the dense network, where it must be trained.
        distillation: how the dense float network that the run starts from teaches in fine-tuning; None: it does not.
        noise: non-idealities of the arrays to fine-tune with; None: the network is fine-tuned as it is quantised.
        image_size: (H, W) to resize images to.
        device: `auto`, `cpu`, `cuda`, ...
        technology: component table for energy and area, by name or YAML file; None: the default.
        adc: an ADC of that table; None: the table's choice.
        adc_bits: its resolution; None: the table's choice.
        resume: go on with what is in `out`.
        command: the command line, for the record.
    """

    model: str
    data: str
    out: str | Path
    array: ArraySpec | None = None
    groups: int | None = None
    rank: str | None = None
    method: str | None = None
    entries: int | None = None
    block: int | None = None
    steering: str = PLAIN
    ratio: float | None = None
    bits: int | None = 4
    pointwise: bool = False
    linear: bool = False
    rules: tuple[LayerRule, ...] = ()
    fit: bool = False
    mapping: str = "sdk"
    plan: str | Path | None = None
    decomposition: str = "data"
    checkpoint: str | Path | None = None
    recipe: Recipe = FINE_TUNING
    baseline_recipe: Recipe = BASELINE
    distillation: Distillation | None = DISTILLATION
    noise: ArrayNonIdealities | None = None
    image_size: tuple[int, int] | None = None
    device: str = "auto"
    technology: str | None = None
    adc: str | None = None
    adc_bits: int | None = None
    resume: bool = False
    command: str = ""

    def __post_init__(self) -> None:
        if self.noise is not None and self.recipe.compiled:
            raise InputError(
                "noise-aware training programs arrays anew in every step, which compiled steps do not; leave --compile"
            )
        if self.method is not None and self.method not in METHODS:
            raise InputError(f"method (={self.method}) must be one of {', '.join(METHODS)}")
        if self.method is not None and self.plan is not None:
            raise InputError(f"method (={self.method}) does not go with a plan, which says what every layer becomes")
        known = () if self.plan is not None else METHODS[self.chosen_method]
        where = "a plan" if self.plan is not None else f"method {self.chosen_method}"
        for name in ("groups", "rank", "entries", "block", "ratio"):
            if getattr(self, name) is not None and name not in known:
                raise InputError(f"{name} (={getattr(self, name)}) does not go with {where}")
        if known and getattr(self, known[0]) is None:
            raise InputError(f"{where} needs {known[0]}, such as {EXAMPLES[known[0]]}")
        for name in ("linear", "fit", "rules"):
            if getattr(self, name) and "rank" not in known:
                what = "include and exclude rules do" if name == "rules" else f"{name} does"
                raise InputError(f"{what} not go with {where}; they choose low-rank layers, with rank")
        if self.steering != PLAIN and (self.plan is not None or self.chosen_method not in STEERED):
            raise InputError(f"steering (={self.steering}) does not go with {where}")

    @property
    def teaching(self) -> Distillation | None:
        """The distillation, where it has any weight and anything is trained."""
        return self.distillation if self.distillation is not None and self.distillation.weight and self.recipe.epochs else None

    @property
    def chosen_method(self) -> str:
        """The method, or the default one; of no meaning with a plan."""
        if self.method is not None:
            return self.method
        return QUANTISE if self.rank is None and self.groups is None else LOW_RANK


class Observer(Protocol):
    """Hears what a run is doing."""

    def stage(self, name: str) -> Watcher:
        """A training stage begins; its progress goes to the watcher."""

    def covered(self, coverage: Coverage) -> None:
        """What will become of every layer, before any work is started."""

    def note(self, text: str) -> None:
        """Something the user should know."""


class Quiet:
    """An observer that shows nothing."""

    def stage(self, name: str) -> Watcher:
        """Show nothing."""
        return Silent()

    def covered(self, coverage: Coverage) -> None:
        """Show nothing."""

    def note(self, text: str) -> None:
        """Show nothing."""
