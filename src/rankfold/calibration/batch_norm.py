"""Batch norm statistics measured again after a network's weights were changed under them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from rankfold.calibration.observation import evaluating, run_batches
from rankfold.calibration.samples import Inputs


def reestimate_batch_norm_(model: nn.Module, batches: Iterable[Inputs]) -> None:
    """Replace the running statistics of every batch norm by plain averages over `batches`.

    Each batch is normalised by its own statistics, as in training, and counts equally in the averages
    (PyTorch's momentum=None); all other modules are in eval mode. Momenta and modes are as before
    afterwards, and on an error the statistics are too. A network without batch norm is left alone.

    Args:
        model: any network; only running means, variances and batch counts change.
        batches: inputs of the model, on its device; at least one, best as large as in training.

    Raises:
        InputError: `batches` is empty.
    """
    # A norm without running statistics takes those of each batch, whatever its mode.
    norms: list[_BatchNorm] = []
    for module in model.modules():
        if isinstance(module, _BatchNorm) and module.track_running_stats:
            norms.append(module)
    if not norms:
        return
    # The modes of the norms are set within `evaluating`, which gives them back.
    with _unchanged_on_errors(norms), evaluating(model), _averaging(norms):
        run_batches(model, batches)


@contextmanager
def _averaging(norms: Sequence[_BatchNorm]) -> Iterator[None]:
    """Norms that begin anew inside and average over batches; `evaluating` gives their modes back."""
    momenta = [norm.momentum for norm in norms]
    try:
        for norm in norms:
            norm.reset_running_stats()
            norm.momentum = None  # all batches count alike
            norm.training = True
        yield
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum


@contextmanager
def _unchanged_on_errors(norms: Sequence[_BatchNorm]) -> Iterator[None]:
    """Give back, if anything fails inside, the statistics that the norms had."""
    before = []
    for norm in norms:
        for name, value in norm.named_buffers(recurse=False):
            before.append((norm, name, value.clone()))
    try:
        yield
    except BaseException:
        for norm, name, value in before:
            norm.get_buffer(name).copy_(value)
        raise
