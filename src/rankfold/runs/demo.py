"""The demo: one baseline on scikit-learn's digits, and three networks made of it."""

from __future__ import annotations

from pathlib import Path

from rankfold import run_files
from rankfold.cost.energy import choose_mappings
from rankfold.mapping import ArraySpec
from rankfold.models.load import load_model
from rankfold.plan import LowRank, Method, Quantise, uniform_plan
from rankfold.progress import Progress
from rankfold.runs.baseline import StoredWeights
from rankfold.runs.run import run
from rankfold.runs.state import RunNotes, traced
from rankfold.runs.train import train_network
from rankfold.training.data import load_images
from rankfold.training.recipe import Recipe

# Small enough for a processor: 8x8 images that come with scikit-learn, so nothing is downloaded.
MODEL, DATA = "resnet8", "digits"
ARRAY = ArraySpec(32, 32)
BITS = 4
VARIANTS: dict[str, Method] = {
    "dense": Quantise(),
    # These two have nearly the same number of weights.
    "plain low-rank": LowRank(rank="1/4"),
    "group low-rank": LowRank(rank="1/8", groups=4),
}


def run_demo(out: Path, epochs: int, seed: int, progress: Progress, device: str = "auto") -> dict[str, Path]:
    """Train ResNet-8 on 8x8 digits, then quantise it to 4 bits dense, plain low-rank and group low-rank.

    The arrays are 32x32. What an earlier call with the same arguments finished is not done again.

    Args:
        out: folder for the results.
        epochs: of fine-tuning; the dense network is trained twice as long.
        seed: of everything drawn at random.
        progress: hears how far it is.
        device: `auto`, `cpu`, `cuda`, ...

    Returns:
        The run folder of each variant, by its name.
    """
    # The dense network learns from nothing, in longer and larger steps than those that start from it.
    dense_recipe = Recipe(epochs=2 * epochs, batch_size=64, peak_rate=0.2, seed=seed)
    tuning = Recipe(epochs=epochs, batch_size=64, peak_rate=0.05, seed=seed)
    notes = RunNotes(f"rankfold demo --epochs {epochs} --seed {seed}")
    data = load_images(DATA)
    # One network for all: runs work on copies of it.
    model = load_model(MODEL, len(data.classes), data.input_size[0], seed)
    network = traced(model, data, MODEL)
    baseline = out / "baseline"
    train_network(
        model,
        data,
        dense_recipe,
        out=baseline,
        name=MODEL,
        array=ARRAY,
        mapping=None,
        notes=notes,
        resume=True,
        progress=progress,
        device=device,
    )
    # Its last weights; all three variants begin with these, so that only the method differs.
    weights = StoredWeights(baseline / run_files.WEIGHTS)
    folders = {}
    for name, method in VARIANTS.items():
        progress.note(f"-- {name}")
        folders[name] = out / name.replace(" ", "-")
        plan = uniform_plan(network, ARRAY, method, bits=BITS)
        run(
            model,
            data,
            choose_mappings(network, plan),
            tuning,
            out=folders[name],
            baseline=weights,
            notes=notes,
            resume=True,
            progress=progress,
            device=device,
        )
    return folders
