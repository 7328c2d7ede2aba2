"""Samples without labels: arrays as a network takes them, and what networks are measured by on them."""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from rankfold.calibration.observation import evaluating
from rankfold.calibration.output_losses import OutputLoss
from rankfold.calibration.samples import call, inputs_of, size_of
from rankfold.errors import InputError, first_line
from rankfold.training.data import ImageData, ImageSplit
from rankfold.training.loaders import LoaderData
from rankfold.training.share import ALL, Share
from rankfold.training.source import LabelledBatch
from rankfold.training.splits import HELD_OUT

BATCH = 128
TARGETS = "targets"  # arrays that are no inputs
ARRAY_SUFFIXES = (".npy", ".npz")
LEVELS = (np.uint8, np.int8, np.uint16, np.int16)  # of pixels as files have them, which no network takes


class ArrayData(LoaderData):
    """Arrays without labels, as a network takes them: every fifth sample is kept to measure on.

    The arrays of a .npz file are given to the network by their names, that of a .npy file alone. They are
    given as they are, in batches of 128, in their order; real numbers as float32. An array called `targets`,
    or several called `targets.NAME`, are no inputs: a metric is given them, as a tensor or a dictionary of
    them by NAME. Nothing is learnt from these.

    Args:
        path: of the file.

    Raises:
        InputError: it cannot be read, or its arrays are no samples.
    """

    is_labelled = False

    def __init__(self, path: str | Path) -> None:
        arrays = _read(Path(path))
        _check(arrays, path)
        count = len(next(iter(arrays.values())))
        tested = np.arange(count) % HELD_OUT == HELD_OUT - 1
        if not tested.any():
            tested[-1] = True
        inputs = {name: values for name, values in arrays.items() if _place(name) is None}
        targets = {_place(name): values for name, values in arrays.items() if _place(name) is not None}
        alone = Path(path).suffix.lower() == ".npy"
        train, test = (_batches(inputs, chosen, alone) for chosen in (~tested, tested))
        super().__init__(
            [(one, _no_labels(one)) for one in train],
            [(one, _no_labels(one)) for one in test],
            classes=1,
            name=str(path),
            digest=_digest(arrays),
        )
        self.classes = ()
        self._targets: tuple[list[Any], list[Any]] | None = None
        if targets:
            of_train, of_test = (_batches(targets, chosen, "" in targets) for chosen in (~tested, tested))
            self._targets = of_train, of_test

    @property
    def has_targets(self) -> bool:
        """Whether there are arrays of them."""
        return self._targets is not None

    def test_batches(self, device: torch.device, share: Share = ALL) -> Iterator[LabelledBatch]:
        """Every fifth sample, with its targets where there are any."""
        pairs = super().test_batches(device, share)
        if self._targets is None or share != ALL:
            return pairs
        return ((inputs, known) for (inputs, _), known in zip(pairs, self._targets[1], strict=True))

    def targeted_batches(self) -> list[tuple[Any, Any]]:
        """The samples that are not kept to measure on, with their targets.

        Raises:
            InputError: they have none.
        """
        self.require_targets()
        assert self._targets is not None  # required
        return [(inputs, known) for (inputs, _), known in zip(self.train, self._targets[0], strict=True)]


def is_arrays(source: str | Path) -> bool:
    """Whether a source of data is a file of arrays."""
    return Path(source).suffix.lower() in ARRAY_SUFFIXES


def _read(path: Path) -> dict[str, np.ndarray]:
    if not path.is_file():
        raise InputError(f"data {path} does not exist; give a .npz or .npy file of a network's inputs")
    try:
        with path.open("rb") as file:
            begin = file.read(len(np.lib.format.MAGIC_PREFIX))
        # What is neither NumPy would take for a pickle, and advise to trust it.
        if begin != np.lib.format.MAGIC_PREFIX and not zipfile.is_zipfile(path):
            raise ValueError("it is neither a .npz nor a .npy file")
        found = np.load(path, allow_pickle=False)
        if isinstance(found, np.ndarray):
            return {"": found}
        with found:
            return {name: found[name] for name in found.files}
    except (OSError, ValueError, zipfile.BadZipFile, EOFError) as error:
        raise InputError(
            f"data {path} cannot be read: {first_line(error)}; give arrays of numbers, as np.savez writes "
            "them"
        ) from error


def _place(name: str) -> str | None:
    """What the targets in an array are called, empty where there are no others; None: they are inputs."""
    if name == TARGETS:
        return ""
    if name.startswith(f"{TARGETS}."):
        return name.removeprefix(f"{TARGETS}.")
    return None


def _check(arrays: Mapping[str, np.ndarray], path: str | Path) -> None:
    """Refuse what holds no samples."""
    inputs = [name for name in arrays if _place(name) is None]
    if not inputs:
        raise InputError(f"data {path} holds no array; give one for each input of the network, by its name")
    if TARGETS in arrays and len(arrays) > len(inputs) + 1:
        raise InputError(
            f"data {path} holds {TARGETS} and {TARGETS}.NAME; give one array, or several by name"
        )
    counts = {}
    for name, values in arrays.items():
        what = f"array {name!r} of data {path}" if name else f"data {path}"
        if name not in inputs and (values.ndim < 1 or values.dtype.kind not in "fiub"):
            raise InputError(
                f"{what} is of shape {values.shape} and type {values.dtype}; give numbers of shape "
                "(samples, ...)"
            )
        if name not in inputs:
            counts[name] = len(values)
            continue
        if values.ndim < 2 or values.dtype.kind not in "fiub":
            raise InputError(
                f"{what} is of shape {values.shape} and type {values.dtype}; give numbers of shape "
                "(samples, ...)"
            )
        if values.dtype in LEVELS:
            raise InputError(
                f"{what} holds {values.dtype}; arrays are given to the network as they are: scale them to "
                "what it was trained with, as float32, or give a folder of images"
            )
        counts[name] = len(values)
    if len(set(counts.values())) > 1:
        told = ", ".join(f"{name} {count}" for name, count in counts.items())
        raise InputError(f"the arrays of data {path} have different numbers of samples: {told}")
    if min(counts.values()) < 2:
        raise InputError(
            f"data {path} has {min(counts.values())} samples; give 2 or more, to look at and to measure on"
        )


def _no_labels(inputs: Any) -> Tensor:
    """Zeros, which nobody looks at."""
    return torch.zeros(size_of(inputs), dtype=torch.int64)


def _batches(arrays: Mapping[Any, np.ndarray], chosen: np.ndarray, alone: bool) -> list[Any]:
    """Some samples in batches: dictionaries of tensors, or tensors where there is one array alone."""
    tensors = {}
    for name, values in arrays.items():
        # In the order of bytes of this machine, which is the only one that torch knows.
        usual = np.dtype(np.float32) if values.dtype.kind == "f" else values.dtype.newbyteorder("=")
        tensors[name] = torch.from_numpy(np.ascontiguousarray(values[chosen], usual))
    batches: list[Any] = []
    for start in range(0, int(chosen.sum()), BATCH):
        inputs: Any = {name: values[start : start + BATCH] for name, values in tensors.items()}
        if alone:
            (inputs,) = inputs.values()
        batches.append(inputs)
    return batches


def _digest(arrays: Mapping[str, np.ndarray]) -> str:
    content = hashlib.sha256()
    for name, values in arrays.items():
        content.update(f"{name} {values.dtype} {values.shape}".encode())
        content.update(np.ascontiguousarray(values).tobytes())
    return content.hexdigest()[:16]


@dataclass(frozen=True)
class Likeness:
    """How much a network gives what the dense one gives: what is measured where there are no labels.

    Attributes:
        reference: the dense network.
        loss: what its outputs are.
    """

    reference: nn.Module
    loss: OutputLoss

    @property
    def name(self) -> str:
        """`agreement`, the share of samples (and positions) with the same most likely class; or `relative
        output error`, of values.
        """
        return self.loss.likeness

    @property
    def reads_targets(self) -> bool:
        """False: there may be none."""
        return False

    def has_several(self, data: Iterable[Any]) -> bool:
        """Whether the dense network gives several outputs for a first batch."""
        inputs = inputs_of(next(iter(data)))
        with evaluating(self.reference), torch.no_grad():
            return len(self.loss.read(call(self.reference, inputs), size_of(inputs))) > 1

    def __call__(self, model: nn.Module, batches: Iterable[tuple[Any, Any]]) -> float:
        """The mean of `of_outputs`."""
        found = self.of_outputs(model, batches)
        return sum(found.values()) / len(found)

    def of_outputs(self, model: nn.Module, batches: Iterable[tuple[Any, Any]]) -> dict[str, float]:
        """Of each output of a network in eval mode, by where it is; modes are as before afterwards.

        Args:
            model: the network, on the device of the batches as the dense one is.
            batches: pairs (inputs, targets), of which targets are not looked at.

        Raises:
            InputError: there is no batch, or an output is not what it was.
        """
        totals: dict[str, float] = {}
        samples = 0
        with evaluating(model), evaluating(self.reference), torch.no_grad():
            for number, (inputs, _) in enumerate(batches, 1):
                size = size_of(inputs)
                what = f"batch {number} of the data, inputs"
                wanted = self.loss.read(call(self.reference, inputs, what), size)
                given = self.loss.read(call(model, inputs, what), size)
                for where, alike in self.loss.alike_each(given, wanted).items():
                    totals[where] = totals.get(where, 0.0) + float(alike) * size
                samples += size
        if samples == 0:
            raise InputError("there is no batch to measure on; give two or more samples")
        return {where: total / samples for where, total in totals.items()}


@torch.no_grad()
def labelled_by(data: ImageData, model: nn.Module, device: torch.device) -> ImageData:
    """Images without labels with those that a network gives them, its most likely classes: what is called
    accuracy on them is agreement with that network.

    Args:
        data: the images; with labels of their own they stay as they are.
        model: gives scores (B, classes), and is on the device.
        device: where it works.
    """
    if data.is_labelled:
        return data

    def labelled(split: ImageSplit) -> ImageSplit:
        found = [call(model, x).argmax(1).cpu() for x, _ in data.batches_of(split, device)]
        return ImageSplit(split.images, torch.cat(found).numpy())

    with evaluating(model):
        return replace(data, train=labelled(data.train), test=labelled(data.test))
