"""`Quantiser`: rounds a tensor to a few integer levels times a step size that is learned with the network.

Learned step size quantisation (LSQ): Esser et al. 2020, arXiv 1902.08153.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from rankfold.arguments import WHOLE
from rankfold.errors import InputError
from rankfold.nn.holding import are_held_elsewhere
from rankfold.nn.learned_step import (
    SMALLEST_STEP,
    LearnedStep,
    arithmetic_type,
    bounded_step,
    step_within,
    to_levels_,
)

MINIMUM_BITS, MAXIMUM_BITS = 1, 8

_USED = "_rankfold_used"  # attribute of a step: its value when it was last used, and torch's count of changes
# An update changes a step in place a few times at most: decay, the step itself, `StepSizes`. After more of
# them the value last used, perhaps before training was compiled, says nothing of a single update.
_CHANGES = 8


def check_bits(name: str, bits: int) -> None:
    """Refuse a number of bits that has no quantiser.

    Raises:
        InputError: `bits` is not an integer from 1 to 8; the message calls it `name`.
    """
    if not WHOLE.fits(bits) or not MINIMUM_BITS <= bits <= MAXIMUM_BITS:
        allowed = f"from {MINIMUM_BITS} to {MAXIMUM_BITS} bits"
        raise InputError(f"{name} (={bits}) must be an integer {allowed}")


class Quantiser(nn.Module):
    """y = s * clip(round(x / s), low, high) with one learned step s for the whole tensor.

    That is eq. 1-2 of Esser et al. 2020. Signed levels are -2^(b-1) .. 2^(b-1)-1, unsigned ones 0 ..
    2^b-1; narrow ones leave -2^(b-1) out, for cells that hold magnitudes of b-1 bits. Halves round to even.
    The gradient of x passes straight through where low < x/s < high and is zero elsewhere; that of s is
    eq. 3, scaled by 1 / sqrt(N * high) (section 2.2), N being the elements of a weight, or of one sample of
    a batch.

    The result has the dtype and the memory layout of x; the arithmetic is in float32 whatever x is, and so is
    the step, which keeps fewer than two dimensions so that no weight decay pulls on it. `forward(x)` equals
    `integers(x) * scale` exactly in float32.

    A new quantiser has no step: call `fit_`, or load a state; until then `forward` refuses to run.

    No update of an optimiser more than halves or doubles the step, in any training loop: what one did beyond
    that is taken back before the step is next used or saved (see `learned_step.bounded_step` for why). Not so
    inside `torch.compile`, where it would become part of the graph, and inside `nn.holding.held_elsewhere`.
    `fit_` and `load_state_dict` set any step.

    Args:
        bits: b, from 1 to 8; signed levels need 2, see `BinaryQuantiser`.
        signed: whether negative values have levels.
        batched: whether the first dimension of x counts samples (an activation) or not (a weight).
        device: where the step lives.
        narrow: whether signed levels start at -2^(b-1)+1, as far below zero as they end above it.

    Raises:
        InputError: `bits` is out of range.
    """

    def __init__(
        self,
        bits: int,
        signed: bool,
        batched: bool = False,
        device: torch.device | None = None,
        *,
        narrow: bool = False,
    ) -> None:
        super().__init__()
        check_bits("bits", bits)
        if bits == 1 and signed and type(self) is Quantiser:
            raise InputError(
                "bits (=1) must be 2 or more with a sign; `BinaryQuantiser` has the levels -1 and +1"
            )
        self.bits = int(bits)
        self.signed = signed
        self.narrow = signed and narrow
        self.batched = batched
        levels = 1 << bits
        self.low = 0
        if signed:
            self.low = -levels // 2
        self.high = self.low + levels - 1
        if self.narrow:
            self.low += 1
        self.bypass = False
        self.fitted = False
        # NaN marks a step that was never set, also in a saved state.
        unset = torch.full((), math.nan, dtype=torch.float32, device=device)
        self.step = nn.Parameter(unset)

    @property
    def scale(self) -> Tensor:
        """The step in use, shape (), float32, positive.

        It is `step`, or `SMALLEST_STEP` where `step` has wandered below that.
        """
        self._hold_step_()
        return self.step.detach().float().clamp(min=SMALLEST_STEP)

    def forward(self, x: Tensor) -> Tensor:
        """Quantise x of any shape; the same shape, dtype and layout.

        Raises:
            InputError: the step was never set.
        """
        if self.bypass:
            return x
        return self._rounded(x, self.ready_(x))

    def ready_(self, x: Tensor) -> float:
        """Bound the step, which is used next on x, and say what its gradient is to be multiplied by.

        Raises:
            InputError: the step was never set.
        """
        self._check_fitted()
        self._hold_step_()
        samples = 1
        if self.batched:
            samples = max(1, x.shape[0])
        elements = max(1, x.numel() // samples)  # N; an empty batch has a gradient too, namely 0
        # The step's gradient is a sum over N elements, far larger than that of one weight without this.
        return 1 / math.sqrt(elements * self.high)

    def _hold_step_(self) -> None:
        """Take back what an update since the step was last used did beyond a factor of two."""
        step = self.step
        if are_held_elsewhere() or step.is_inference():
            return
        # With the Parameter, not the module: the arrays of a simulated network share it.
        used = getattr(step, _USED, None)
        if used is not None:
            before, version = used
            changes = step._version - version  # torch counts what is done in place
            if changes == 0:
                return
            if changes <= _CHANGES:
                with torch.no_grad():
                    step.copy_(bounded_step(step, before.to(step.device)))
        setattr(step, _USED, (step.detach().clone(), step._version))

    @torch.no_grad()
    def reach_(self, weight: Tensor) -> None:
        """Shorten a step under which the outermost levels stand empty for this weight (see `step_within`).

        Layers do so in training, before they use it. Inputs are of another batch each time and stay out. A
        step that is short enough is not written to: no change of it is counted that was none.
        """
        # What is compiled or recorded is held by `training.step_bounds`.
        if are_held_elsewhere() or not self._may_shorten(weight):
            return
        self._hold_step_()
        step = self.step
        # Elsewhere to look at the result would make the device wait.
        if step.device.type == "cpu" and torch.equal(step_within(step, weight, self.high), step):
            return
        self.shorten_(weight)

    @torch.no_grad()
    def shorten_(self, weight: Tensor) -> None:
        """`reach_` by operations alone that no device has to wait for; the step is written to in any case."""
        if self._may_shorten(weight):
            self.step.copy_(step_within(self.step, weight, self.high))
            self.set_freely_()

    def _may_shorten(self, weight: Tensor) -> bool:
        # A frozen step is the user's.
        return self.fitted and self.step.requires_grad and weight.numel() > 0

    def set_freely_(self) -> None:
        """What was done to the step up to now is no update that would have to be bounded."""
        if hasattr(self.step, _USED):
            delattr(self.step, _USED)

    def _rounded(self, x: Tensor, gain: float) -> Tensor:
        """x quantised, with the step's gradient times `gain`."""
        y: Tensor = LearnedStep.apply(  # type: ignore[no-untyped-call]
            x,
            self.step,
            self.low,
            self.high,
            gain,
        )
        return y

    def _best_step(self, values: Tensor) -> float:
        """The step of the least squared error on values (n,)."""
        return _least_squares_step(values, self.low, self.high)

    @torch.no_grad()
    def integers(self, x: Tensor) -> Tensor:
        """The level of every element of x, an int32 tensor of the same shape within [low, high].

        Raises:
            InputError: the step was never set.
        """
        return self.levels(x).to(torch.int32)

    @torch.no_grad()
    def levels(self, x: Tensor) -> Tensor:
        """As `integers`, of a floating type that holds them exactly: float64 for such an x, else float32."""
        self._check_fitted()
        reciprocal = self.scale.reciprocal()
        values = x.to(arithmetic_type(x), copy=True)  # a copy, as it becomes the levels in place
        return to_levels_(values, reciprocal, self.low, self.high)

    @torch.no_grad()
    def fit_(self, sample: Tensor) -> None:
        """Set the step that minimises the mean squared error on `sample`, of any shape.

        The paper starts from 2 mean|x| / sqrt(high). For Gaussian weights at 4 bits that step is 1.8 times
        too large and gives 2.5 times the squared error (at 8 bits 18 times); for rectified Gaussian
        activations it happens to fit at 4 bits and gives 1.6 times the error at 2 bits and 8 times at 8 bits.
        A search takes milliseconds and is right for every width and distribution.

        Raises:
            InputError: the sample is empty or holds a value that is not finite.
        """
        values = sample.detach().flatten().float()
        if values.numel() == 0:
            raise InputError("a step size cannot be fitted to an empty sample; pass at least one value")
        if not bool(values.isfinite().all()):
            raise InputError(
                "a step size cannot be fitted to values that are not finite; "
                "check the weights and the data for NaN"
            )
        self.step.fill_(self._best_step(values))
        self.fitted = True
        self.set_freely_()

    def extra_repr(self) -> str:
        """Show the bits and the levels."""
        return f"bits={self.bits}, levels={self.low}..{self.high}"

    def _check_fitted(self) -> None:
        if not self.fitted:
            raise InputError(
                "a quantiser has no step size yet; call calibrate_(model, batches) or load a state first"
            )

    def _save_to_state_dict(self, *args: Any, **kwargs: Any) -> None:
        # What is saved is what would run.
        self._hold_step_()
        super()._save_to_state_dict(*args, **kwargs)

    def _load_from_state_dict(self, *args: Any, **kwargs: Any) -> None:
        super()._load_from_state_dict(*args, **kwargs)
        self.set_freely_()
        # A step without a value cannot be looked at.
        if self.step.is_meta:
            self.fitted = False
        else:
            self.fitted = bool(self.step.isfinite())


def _least_squares_step(values: Tensor, low: int, high: int) -> float:
    """The step with the least squared error on `values` (n,), by a coarse, then a fine geometric search."""
    # The step that just reaches every value: larger ones lose on all of them.
    largest = float(values.max()) / high
    if low:
        lowest = float(values.min())
        largest = max(largest, lowest / low)
    if largest < SMALLEST_STEP:
        return 1.0  # nothing but zeros (or values without levels): any step represents them equally
    scratch = torch.empty_like(values)

    def error(step: float) -> float:
        # One array for all steps that are tried: to allocate each time costs more than to compute.
        torch.mul(values, 1 / step, out=scratch)
        scratch.round_().clamp_(low, high)
        scratch.mul_(step).sub_(values)
        return float(torch.dot(scratch, scratch))

    # A bell shape is best cut near its end at 8 bits and far inside at 2; 1/32 of the range leaves room for
    # heavy tails.
    shares = [32 ** (-i / 48) for i in range(49)]
    coarse = [largest * share for share in shares]
    best = min(coarse, key=error)
    # Eight times as fine, up to the coarse neighbours on both sides.
    shares = [32 ** (i / 48 / 8) for i in range(-8, 9)]
    fine = [best * share for share in shares]
    best = min(fine, key=error)
    return max(best, SMALLEST_STEP)
