"""Where a run has its dense weights from: the network has them, a file has them, or the run trains them."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from rankfold.models.load import apply_weights, is_onnx, read_weights
from rankfold.models.pretrained import file_digest, shipped_baseline
from rankfold.progress import Progress, Silent
from rankfold.runs.folder import RunFolder
from rankfold.runs.recipes import DENSE, recipe_identity
from rankfold.surgery.saving import save_weights
from rankfold.training.checkpoint import Checkpoint
from rankfold.training.loaders import bytes_of
from rankfold.training.loop import train
from rankfold.training.processes import ALONE, Processes
from rankfold.training.recipe import Recipe
from rankfold.training.source import TrainingData


class DenseWeights(ABC):
    """Where the weights of the dense network come from; the base of all such places."""

    @property
    @abstractmethod
    def origin(self) -> str:
        """The same in words."""

    @abstractmethod
    def identity(self, model: nn.Module, device: torch.device) -> Any:
        """What tells these weights from others, as JSON; a run's folder is known by it."""

    def for_run(self, recipe: Recipe, data: TrainingData) -> DenseWeights:
        """The same for a run of this recipe on this data."""
        return self

    def load_(self, model: nn.Module) -> None:  # noqa: B027 (there may be none)
        """Put the weights that are there already into the network.

        Raises:
            InputError: they are of another network.
        """

    def make_(  # noqa: B027 (all may be there)
        self,
        model: nn.Module,
        data: TrainingData,
        device: torch.device,
        *,
        folder: RunFolder | None = None,
        progress: Progress | None = None,
        processes: Processes = ALONE,
    ) -> None:
        """Make the weights that are not there yet, on `device`; what is in the run's folder is taken up.

        Several processes make them together; the first has the folder.
        """


@dataclass(frozen=True)
class GivenWeights(DenseWeights):
    """The network has its weights already.

    Attributes:
        words: where it has them from.
    """

    words: str = "given with the network"

    @property
    def origin(self) -> str:
        """`words`."""
        return self.words

    def identity(self, model: nn.Module, device: torch.device) -> Any:
        """A hash of all weights and buffers."""
        return weights_digest(model)


@dataclass(frozen=True)
class StoredWeights(DenseWeights):
    """The weights are in a file.

    Attributes:
        path: safetensors, or a torch state dict.
        words: where it is from; empty: a checkpoint of the user's.
    """

    path: Path
    words: str = ""

    @property
    def origin(self) -> str:
        """`words`, or the name of the file."""
        return self.words or f"checkpoint {self.path}"

    def identity(self, model: nn.Module, device: torch.device) -> Any:
        """A hash of the file."""
        # Of its bytes and not of its name: a file that was moved is the same, a file that changed is not.
        return file_digest(self.path)

    def load_(self, model: nn.Module) -> None:
        """Read the file."""
        apply_weights(model, read_weights(self.path), str(self.path))


@dataclass(frozen=True)
class TrainedWeights(DenseWeights):
    """The run trains them itself, and keeps them in its folder.

    Attributes:
        recipe: of the training; seed and precision are those of the run.
    """

    recipe: Recipe = DENSE

    @property
    def origin(self) -> str:
        """How long they were trained."""
        return f"trained for {self.recipe.epochs} epochs"

    def for_run(self, recipe: Recipe, data: TrainingData) -> DenseWeights:
        """The same with the run's seed and precision, for its data.

        Raises:
            InputError: a batch is larger than the training split.
        """
        # One seed and one precision for all of a run: its identity would not tell two of them apart.
        own = replace(self.recipe, seed=recipe.seed, precision=recipe.precision)
        return TrainedWeights(data.fitted(own))

    def identity(self, model: nn.Module, device: torch.device) -> Any:
        """The recipe."""
        return recipe_identity(self.recipe, device)

    def make_(
        self,
        model: nn.Module,
        data: TrainingData,
        device: torch.device,
        *,
        folder: RunFolder | None = None,
        progress: Progress | None = None,
        processes: Processes = ALONE,
    ) -> None:
        """Train, unless the folder has the weights; go on from the checkpoint that it has.

        Raises:
            InputError: training diverged, or what is in the folder belongs to another run.
        """
        # Without a folder nothing is kept, and training begins anew each time.
        checkpoint = None
        stored = None
        if folder is not None:
            checkpoint = Checkpoint(folder.baseline_checkpoint, folder.run)
            stored = folder.baseline
        # Trained by an earlier call that was stopped later on: they are taken as they are.
        there = None
        if stored is not None and checkpoint is not None and stored.exists():
            apply_weights(model, read_weights(stored), str(stored))
            # Left by a process that was killed when all was written.
            checkpoint.path.unlink(missing_ok=True)
            there = b""
        if processes.from_first(there) is not None:
            processes.take_first_(model)
            return
        train(
            model,
            data,
            self.recipe,
            device,
            checkpoint=checkpoint,
            progress=progress or Silent(),
            stage="baseline",
            processes=processes,
        )
        if stored is not None and checkpoint is not None:
            # In this order: a process that is killed between the two has trained the network all the same.
            save_weights(stored, model)
            checkpoint.path.unlink(missing_ok=True)


def dense_weights(
    name: str,
    data: TrainingData,
    checkpoint: str | Path | None = None,
    recipe: Recipe = DENSE,
    *,
    classes: int | None = None,
) -> DenseWeights:
    """Where a network that is known by its name has its weights from.

    Args:
        name: a network of the zoo, or as `load_model` takes it.
        data: what it is trained on.
        checkpoint: a file of weights; None: shipped ones, if there are any for this network and data.
        recipe: of the training, where there are none.
        classes: of the network, where the data have no labels.
    """
    if checkpoint is not None:
        return StoredWeights(Path(checkpoint))
    # Shipped weights go before training: they are of this very network and these classes.
    shipped = shipped_baseline(name, data.classes or classes or 0, data.input_size)
    if shipped is not None:
        return StoredWeights(shipped.weights, f"shipped {shipped.name}")
    # An ONNX file is of a network that is in use; whoever wants to train it anew has its source.
    if is_onnx(name):
        return GivenWeights()
    return TrainedWeights(recipe)


def weights_digest(model: nn.Module) -> str:
    """A hash of all weights and buffers of a network, by their names."""
    content = hashlib.sha256()
    # Names too: the same numbers in other layers are another network.
    for name, value in model.state_dict().items():
        content.update(name.encode())
        content.update(bytes_of(value))
    return content.hexdigest()[:16]
