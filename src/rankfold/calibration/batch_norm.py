"""Batch norm statistics measured again after a network's weights were changed under them.

Plain averages over data stand for what training would have left, where the data are like those that the
network was trained on. A user's few hundred images may not be: then even an unchanged network would compute
something else with averages over them. Where the network that it was made from is known, that is measured on
the same data, and only what has changed changes the statistics:

    mean' = mean + m - m_0,    var' = var v / v_0

with m and v of a norm's inputs on a batch in the network, and m_0 and v_0 in the other one, whose norms have
mean and var.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from rankfold.calibration.observation import evaluating, observing, run_batches
from rankfold.calibration.samples import Inputs, call, map_tensors
from rankfold.errors import InputError
from rankfold.models.device import device_of


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
    norms = list(_norms(model).values())
    if not norms:
        return
    # The modes of the norms are set within `evaluating`, which gives them back.
    with _unchanged_on_errors(norms), evaluating(model), _averaging(norms):
        run_batches(model, batches)


@torch.no_grad()
def follow_batch_norm_(model: nn.Module, reference: nn.Module, batches: Iterable[Inputs]) -> None:
    """Change the statistics of batch norms by what has changed since the network was made from another one.

    In each batch a norm has the statistics that follow from this batch while it runs, so that those behind it
    see what they will see; averages over the batches remain. Norms that the reference does not have, or not
    of the same channels, stay as they are.

    Args:
        model: any network; only running means and variances change.
        reference: the network that it was made from, on any device; it stays as it is.
        batches: inputs of the model, on its device.

    Raises:
        InputError: `batches` is empty, or a norm runs on them more often in one network than in the other.
    """
    own, others = _norms(model), _norms(reference)
    shared = {name: norm for name, norm in own.items() if name in others and _alike(norm, others[name])}
    if not shared:
        return
    followed = _Followed({name: others[name] for name in shared})
    place = device_of(reference)
    with _unchanged_on_errors(list(shared.values())), evaluating(model), evaluating(reference):
        for batch in batches:
            with observing({name: others[name] for name in shared}, before=followed.see):
                call(reference, map_tensors(batch, lambda values: values.to(place)))
            with observing(shared, before=followed.set_):
                call(model, batch)
            followed.check_all_met()
        followed.average_(shared)


class _Followed:
    """Statistics of the reference's norms, batch by batch, and those that follow from them.

    Args:
        norms: of the reference, by name.
    """

    def __init__(self, norms: dict[str, _BatchNorm]) -> None:
        self._norms = norms
        self._seen: dict[str, list[tuple[Tensor, Tensor]]] = defaultdict(list)  # of a batch, call by call
        self._sums: dict[str, tuple[Tensor, Tensor, int]] = {}

    def see(self, name: str, _: nn.Module, inputs: Tensor) -> None:
        """Before a norm of the reference runs."""
        self._seen[name].append(_moments(inputs))

    def set_(self, name: str, norm: _BatchNorm, inputs: Tensor) -> None:
        """Before a norm of the model runs."""
        if not self._seen[name]:
            raise InputError(f"batch norm {name} runs more often than in the network that this was made from")
        mean, variance = _moments(inputs)
        mean_before, variance_before = (value.to(mean.device) for value in self._seen[name].pop(0))
        other = self._norms[name]
        assert other.running_mean is not None and other.running_var is not None  # see `_norms`
        assert norm.running_mean is not None and norm.running_var is not None
        # A channel that was constant has no ratio.
        ratio = torch.where(variance_before > 0, variance / variance_before, 1.0)
        moved = other.running_mean.to(mean.device) + (mean - mean_before)
        found = moved, other.running_var.to(mean.device) * ratio
        norm.running_mean.copy_(found[0])
        norm.running_var.copy_(found[1])
        first, second, count = self._sums.get(name, (0.0, 0.0, 0))
        self._sums[name] = first + found[0], second + found[1], count + 1

    def check_all_met(self) -> None:
        """Refuse calls in the reference without one in the model."""
        left = [name for name, calls in self._seen.items() if calls]
        if left:
            raise InputError(
                f"batch norm {left[0]} runs less often than in the network that this was made from"
            )

    def average_(self, norms: dict[str, _BatchNorm]) -> None:
        """Leave the averages over all calls.

        Raises:
            InputError: there was none.
        """
        if not self._sums:
            raise InputError("batches is empty; pass at least one batch of inputs")
        for name, (mean, variance, count) in self._sums.items():
            norm = norms[name]
            assert norm.running_mean is not None and norm.running_var is not None
            norm.running_mean.copy_(mean / count)
            norm.running_var.copy_(variance / count)


def _norms(model: nn.Module) -> dict[str, _BatchNorm]:
    """Those with running statistics; others take those of each batch, whatever their mode."""
    found = {}
    for name, module in model.named_modules():
        if isinstance(module, _BatchNorm) and module.track_running_stats:
            found[name] = module
    return found


def _alike(norm: _BatchNorm, other: _BatchNorm) -> bool:
    return norm.num_features == other.num_features


def _moments(inputs: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and variance of each channel of (B, C, ...), in the inputs' own precision."""
    over = [axis for axis in range(inputs.ndim) if axis != 1]
    variance, mean = torch.var_mean(inputs, over, correction=0)
    return mean, variance


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
