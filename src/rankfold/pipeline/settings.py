"""What the user asked of a run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from rankfold.mapping import ArraySpec
from rankfold.training.loop import Silent, Watcher
from rankfold.training.recipe import Recipe

BASELINE = Recipe(epochs=60, peak_rate=0.2)
FINE_TUNING = Recipe(epochs=10, peak_rate=0.05)


@dataclass(frozen=True)
class CompressSettings:
    """All choices of one compression run.

    Attributes:
        model: a zoo network or `package.module:factory`.
        data: a data source, as `load_images` takes it.
        out: the run's folder.
        array: the array; default: that of `plan`, else 64x64.
        groups: g of the uniform plan; None with no rank leaves every layer dense.
        rank: r of the uniform plan, a number or a fraction such as `1/8`.
        bits: of weights and inputs; None for float.
        pointwise: low-rank for 1x1 convolutions too.
        mapping: of the uniform plan.
        plan: a plan file to follow instead of the uniform plan.
        decomposition: `svd` (nearest to the weights), `data` (nearest to the layers' outputs on training images) or
            `sequential` (the same, layer after layer, taking back the errors of the layers before).
        checkpoint: weights of the dense network; default: shipped ones if there are any for this data, else trained.
        recipe: of fine-tuning.
        baseline_recipe: of the dense network, where it must be trained.
        image_size: (H, W) to resize images to.
        device: `auto`, `cpu`, `cuda`, ...
        resume: go on with what is in `out`.
        command: the command line, for the record.
    """

    model: str
    data: str
    out: str | Path
    array: ArraySpec | None = None
    groups: int | None = None
    rank: str | None = None
    bits: int | None = 4
    pointwise: bool = False
    mapping: str = "sdk"
    plan: str | Path | None = None
    decomposition: str = "data"
    checkpoint: str | Path | None = None
    recipe: Recipe = FINE_TUNING
    baseline_recipe: Recipe = BASELINE
    image_size: tuple[int, int] | None = None
    device: str = "auto"
    resume: bool = False
    command: str = ""


class Observer(Protocol):
    """Hears what a run is doing."""

    def stage(self, name: str) -> Watcher:
        """A training stage begins; its progress goes to the watcher."""

    def note(self, text: str) -> None:
        """Something the user should know."""


class Quiet:
    """An observer that shows nothing."""

    def stage(self, name: str) -> Watcher:
        """Show nothing."""
        return Silent()

    def note(self, text: str) -> None:
        """Show nothing."""
