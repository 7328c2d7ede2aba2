"""A written ONNX file against the torch network it was made of, image by image."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from rankfold.calibration.observation import evaluating
from rankfold.calibration.onnx import Runner
from rankfold.calibration.samples import Inputs, call, tensors_of
from rankfold.errors import InputError
from rankfold.nn.quantisers import Quantiser

TINY = 1e-30  # what outputs that are all zero are divided by


@dataclass(frozen=True)
class OnnxCheck:
    """How a file and a network agree.

    Attributes:
        images: compared.
        same: of these, how many have the same top-1 class; None where outputs are not scores (B, classes).
        correct: how many the file gets right; None without labels.
        correct_in_torch: how many the network gets right.
        largest: the largest absolute difference of a logit, or other output.
        size: the largest absolute output, to measure it by.
        errors: of each output by its name in the file, the norm of the difference beside that of the output.
    """

    images: int
    same: int | None
    correct: int | None
    correct_in_torch: int | None
    largest: float
    size: float
    errors: Mapping[str, float]


def compare_onnx(
    model: nn.Module,
    path: str | Path,
    batches: Iterable[tuple[Tensor, Tensor | None]],
    *,
    quantised: bool = True,
) -> OnnxCheck:
    """Run a written file and its network on the same images.

    Args:
        model: the network, which runs in eval mode and is as before afterwards.
        path: the ONNX file.
        batches: (inputs, labels (B,) or None), the inputs as `calibration.samples.call` takes them.
        quantised: whether the file has the network's quantisers; if not, the network runs without them too.

    Raises:
        InputError: onnxruntime refuses the file, or gives other outputs, or there is no batch.
        MissingDependencyError: onnxruntime is not installed.
    """
    # As many threads as torch has: a user who gave torch few means them for the whole program.
    runner = Runner(path, torch.get_num_threads())
    tally = _Tally(runner.outputs)
    with ExitStack() as while_compared:
        while_compared.enter_context(evaluating(model))
        if not quantised:
            while_compared.enter_context(_bypassed(model))
        for inputs, labels in batches:
            given = [value for value in tree_leaves(call(model, inputs)) if isinstance(value, Tensor)]
            in_torch = [value.cpu().float().numpy() for value in given]
            tally.add(in_torch, runner(_fed(inputs, runner.inputs)), labels)
    if not tally.images:
        raise InputError("there are no images to compare the file and the network on")
    return tally.check()


def _fed(inputs: Inputs, names: Sequence[str]) -> dict[str, np.ndarray]:
    """The tensors of a batch, by the names that a file has for them; numbers became constants of it."""
    if isinstance(inputs, Mapping):
        given = dict(inputs)
    else:
        tensors = [value for value in tensors_of(inputs) if isinstance(value, Tensor)]
        given = dict(zip(names, tensors, strict=True))
    feed: dict[str, np.ndarray] = {}
    for name, value in given.items():
        if isinstance(value, Tensor):
            if value.is_floating_point():
                value = value.float()
            feed[name] = value.cpu().numpy()
    return feed


class _Tally:
    """What was counted over all batches so far.

    Args:
        names: of the file's outputs.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self.images = 0
        self.same = 0
        self.correct = 0
        self.correct_in_torch = 0
        self.largest = 0.0
        self.size = 0.0
        self.labelled = True
        self.scores = True
        self._squares = {name: np.zeros(2) for name in names}  # of differences, and of outputs

    def add(
        self, in_torch: Sequence[np.ndarray], in_onnx: Sequence[np.ndarray], labels: Tensor | None
    ) -> None:
        """Count a batch of outputs (B, ...)."""
        shapes, others = [one.shape for one in in_torch], [one.shape for one in in_onnx]
        if shapes != others:
            raise InputError(f"the file gives outputs of shapes {others}, and the network of {shapes}")
        for name, ours, theirs in zip(self._squares, in_torch, in_onnx, strict=True):
            difference = theirs.astype(np.float64) - ours
            self._squares[name] += np.square(difference).sum(), np.square(ours, dtype=np.float64).sum()
            self.largest = max(self.largest, float(np.abs(difference).max(initial=0)))
            self.size = max(self.size, float(np.abs(ours).max(initial=0)))
        self.images += len(in_torch[0])
        if len(in_torch) == 1 and in_torch[0].ndim == 2 and in_torch[0].shape[1] > 1:
            self._add_classes(in_torch[0].argmax(1), in_onnx[0].argmax(1), labels)
        else:
            self.scores = self.labelled = False

    def _add_classes(self, classes: np.ndarray, others: np.ndarray, labels: Tensor | None) -> None:
        """Count the top-1 classes of a batch."""
        self.same += int((classes == others).sum())
        if labels is None:
            # An accuracy of some batches alone would not be that of the images.
            self.labelled = False
            return
        right = labels.cpu().numpy()
        self.correct += int((others == right).sum())
        self.correct_in_torch += int((classes == right).sum())

    def check(self) -> OnnxCheck:
        """All that was counted."""
        check = OnnxCheck(
            self.images,
            self.same,
            self.correct,
            self.correct_in_torch,
            self.largest,
            self.size,
            {name: float(np.sqrt(error / max(size, TINY))) for name, (error, size) in self._squares.items()},
        )
        if not self.scores:
            check = replace(check, same=None)
        if not self.labelled:
            check = replace(check, correct=None, correct_in_torch=None)
        return check


@contextmanager
def _bypassed(model: nn.Module) -> Iterator[None]:
    """Inside, all quantisers of a network let everything through."""
    quantisers = [module for module in model.modules() if isinstance(module, Quantiser)]
    before = [quantiser.bypass for quantiser in quantisers]
    try:
        for quantiser in quantisers:
            quantiser.bypass = True
        yield
    finally:
        for quantiser, bypass in zip(quantisers, before, strict=True):
            quantiser.bypass = bypass
