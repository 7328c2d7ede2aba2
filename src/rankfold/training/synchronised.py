"""Batch norm over the whole batch where each of several processes has a share of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from rankfold.errors import InputError
from rankfold.nn.batch_norm import batch_norm
from rankfold.nn.learned_step import arithmetic_type
from rankfold.training.processes import Processes

ARGUMENTS = ("input", "running_mean", "running_var", "weight", "bias", "training", "momentum", "eps")
# The operators below `F.batch_norm` that take statistics of what they are given, if they are told to.
OPERATORS = frozenset(
    (
        "batch_norm",
        "_batch_norm_impl_index",
        "native_batch_norm",
        "_native_batch_norm_legit",
        "_native_batch_norm_legit_functional",
        "_batch_norm_with_update",
        "_batch_norm_with_update_functional",
        "cudnn_batch_norm",
        "miopen_batch_norm",
    )
)


@contextmanager
def synchronised_norms(processes: Processes) -> Iterator[None]:
    """Every batch norm in training inside takes mean and variance of the shares of all processes.

    Raises:
        InputError: one of several processes calls an operator of batch norm itself, as networks do that
            were exported in training mode.
    """
    # Every call of torch passes a mode, so that there is one only where it has something to do.
    if processes.alone:
        yield
        return
    with _Synchronised(processes):
        yield


class _Synchronised(TorchFunctionMode):
    """Runs `F.batch_norm` in training by `_SharedNorm`; torch's own SyncBatchNorm refuses processors."""

    def __init__(self, processes: Processes) -> None:
        super().__init__()
        self._processes = processes

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: Sequence[Any] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        if func is F.batch_norm:
            given = dict(zip(ARGUMENTS, args, strict=False))
            given.update(kwargs or {})
            if given.get("training"):
                return _shared_norm(self._processes, **given)
        elif _takes_statistics(func, args, kwargs or {}):
            raise InputError(
                f"the network calls {func.__name__} in training, as one does that was exported in training "
                "mode, which several processes would each do by statistics of their own share; export it in "
                "evaluation mode (model.eval()), or train it in one process"
            )
        return func(*args, **(kwargs or {}))


def _takes_statistics(func: Callable[..., Any], args: Sequence[Any], named: Mapping[str, Any]) -> bool:
    """Whether a call is one of an operator of batch norm in training."""
    if getattr(func, "__name__", "").partition(".")[0] not in OPERATORS:
        return False
    # Behind input, weight, bias and, mostly, running statistics; those without it are of training alone.
    flags = [value for value in args[3:6] if isinstance(value, bool)]
    usual = flags[0] if flags else True
    return bool(named.get("training", usual))


def _shared_norm(
    processes: Processes,
    *,
    input: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = True,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """As `F.batch_norm` in training, by the statistics of all shares; the running ones change in place."""
    mean, variance, count = _statistics(input.detach(), processes)
    if running_mean is not None and running_var is not None:
        with torch.no_grad():
            # Of a sample, as torch keeps it: n / (n - 1) times that of the batch.
            of_sample = variance * (count / (count - 1)).to(variance.dtype)
            running_mean.lerp_(mean.to(running_mean.dtype), momentum)
            running_var.lerp_(of_sample.to(running_var.dtype), momentum)
    y: Tensor = _SharedNorm.apply(  # type: ignore[no-untyped-call]
        input, weight, bias, (mean, variance, count), (eps, processes)
    )
    return y


def _statistics(x: Tensor, processes: Processes) -> tuple[Tensor, Tensor, Tensor]:
    """Mean (C,) and variance (C,) of the values of each channel in all shares of x, and their number ().

    With n_p values in process p, of mean m_p and variance v_p, and n = sum n_p,

        mean = sum n_p m_p / n,    variance = sum n_p (v_p + m_p^2) / n - mean^2,

    which is exact, and harmless in float64 even where means are a thousand times the deviation.

    Raises:
        InputError: there is a single value of each channel.
    """
    others = [dimension for dimension in range(x.ndim) if dimension != 1]
    values = x.to(arithmetic_type(x))
    variance, mean = torch.var_mean(values, others, correction=0)
    mean, variance = mean.double(), variance.double()
    own = x.numel() // x.shape[1]
    if own * processes.share.of <= 1:
        raise InputError(f"batch norm needs more than one value a channel in training, got {tuple(x.shape)}")
    sums = torch.cat([own * mean, own * (variance + mean**2), mean.new_full((1,), own)])
    processes.sum_(sums)
    count = sums[-1]
    mean, square = (sums[:-1] / count).chunk(2)
    variance = (square - mean**2).clamp(min=0)
    return mean.to(values.dtype), variance.to(values.dtype), count


class _SharedNorm(torch.autograd.Function):
    """y = w (x - mean) / s + b by given mean and s = sqrt(variance + eps) of all shares, and its gradients.

    With x^ = (x - mean) / s, dy the gradient of y, and sums over the n values of a channel in all shares,

        dw = sum dy x^,    db = sum dy,    dx = w / s (dy - db / n - x^ dw / n)

    (Ioffe & Szegedy 2015). The gradients of w and b that are given back are those of this share, as of any
    parameter: all are added up elsewhere.
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor | None,
        bias: Tensor | None,
        statistics: tuple[Tensor, Tensor, Tensor],
        settings: tuple[float, Processes],
    ) -> Tensor:
        """y, of the type of x; statistics are mean (C,), variance (C,) and the number of values ()."""
        mean, variance, count = statistics
        eps, processes = settings
        ctx.save_for_backward(x, weight, mean, variance, count)
        ctx.eps, ctx.processes = eps, processes
        return batch_norm(x, mean, variance, weight, bias, training=False, eps=eps)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        """The gradients of x, weight and bias."""
        x, weight, mean, variance, count = ctx.saved_tensors
        wants_x, wants_weight, wants_bias, *_ = ctx.needs_input_grad
        factor = torch.ones_like(mean) if weight is None else weight
        # As by constant statistics: w dy / s, sum dy x^ and sum dy over this share, in one pass.
        dx, dw, db = torch.ops.aten.native_batch_norm_backward(
            dy, x, factor, mean, variance, None, None, False, ctx.eps, [True, True, True]
        )
        if wants_x:
            sums = ctx.processes.sum_(torch.cat([dw, db]).double()) / count
            of_weight, of_bias = sums.to(mean.dtype).chunk(2)
            # What is missing, w / s (db / n + x^ dw / n), as a x + c with a and c for each channel.
            inverse = (variance + ctx.eps).rsqrt()
            a = factor * inverse**2 * of_weight
            c = factor * inverse * of_bias - a * mean
            shape = (1, -1, *(1,) * (x.ndim - 2))
            missing = torch.addcmul(c.view(shape), x.to(mean.dtype), a.view(shape))
            dx = (dx - missing).to(x.dtype)
        return (
            dx if wants_x else None,
            dw if wants_weight and weight is not None else None,
            db if wants_bias else None,
            None,
            None,
        )
