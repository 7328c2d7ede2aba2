"""The demo: one baseline on scikit-learn's digits, and three networks made of it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from rankfold.mapping import ArraySpec
from rankfold.runs.compress import compress, train_baseline
from rankfold.runs.settings import CompressSettings, Observer
from rankfold.training.recipe import Recipe

# name -> (groups, rank): the second and third have nearly the same number of weights.
VARIANTS: dict[str, tuple[int | None, str | None]] = {
    "dense": (None, None),
    "plain low-rank": (1, "1/4"),
    "group low-rank": (4, "1/8"),
}


def run_demo(out: Path, epochs: int, seed: int, observer: Observer) -> dict[str, Path]:
    """Train ResNet-8 on 8x8 digits, then quantise it to 4 bits dense, plain low-rank and group low-rank for 32x32 arrays.

    What an earlier call with the same arguments finished is not done again.

    Returns:
        The run folder of each variant, by its name.
    """
    baseline = Recipe(epochs=2 * epochs, batch_size=64, peak_rate=0.2, seed=seed)
    tuning = Recipe(epochs=epochs, batch_size=64, peak_rate=0.05, seed=seed)
    common = CompressSettings(
        "resnet8", "digits", out / "baseline", ArraySpec(32, 32), bits=4, recipe=tuning, baseline_recipe=baseline, resume=True,
        command=f"rankfold demo --epochs {epochs} --seed {seed}",
    )  # fmt: skip
    train_baseline(common, observer)
    checkpoint = out / "baseline" / "model.safetensors"
    folders = {}
    for name, (groups, rank) in VARIANTS.items():
        observer.note(f"-- {name}")
        folders[name] = out / name.replace(" ", "-")
        compress(replace(common, out=folders[name], groups=groups, rank=rank, checkpoint=checkpoint), observer)
    return folders
