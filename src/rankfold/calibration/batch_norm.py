"""Batch norm statistics measured again after a network's weights were changed under them."""

from __future__ import annotations

from collections.abc import Iterable

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from rankfold.calibration.observation import evaluating, run_batches


def reestimate_batch_norm_(model: nn.Module, batches: Iterable[Tensor]) -> None:
    """Replace the running statistics of every batch norm by plain averages over `batches`.

    Each batch is normalised by its own statistics, as in training, and counts equally in the averages (PyTorch's
    momentum=None); all other modules are in eval mode. Momenta and modes are as before afterwards, and on an error
    the statistics are too. A network without batch norm is left alone.

    Args:
        model: any network; only running means, variances and batch counts change.
        batches: inputs of the model, on its device; at least one, best as large as in training.

    Raises:
        InputError: `batches` is empty.
    """
    norms = [module for module in model.modules() if isinstance(module, _BatchNorm) and module.track_running_stats]
    if not norms:
        return
    before = [(norm, norm.momentum, {name: value.clone() for name, value in norm.named_buffers(recurse=False)}) for norm in norms]
    try:
        with evaluating(model):
            for norm in norms:
                norm.reset_running_stats()
                norm.momentum = None
                norm.training = True
            run_batches(model, batches)
    except BaseException:
        for norm, _, statistics in before:
            for name, value in statistics.items():
                norm.get_buffer(name).copy_(value)
        raise
    finally:
        for norm, momentum, _ in before:
            norm.momentum = momentum
