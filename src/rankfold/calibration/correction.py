"""The constant error of a replaced layer's output, taken back in its bias or in its batch norm.

Let W be the dense weight and M the one in its place, both (m, n), and let the layer read patches x, or x0
in the dense network (x0 = x unless layers before it have changed, too). Its output is W x0 + b there and M
x + b here. Then

    shift of the mean       s = W E[x0] - M E[x]
    variance of output i    v_i(M) = m_i^T C m_i, with C = E[x x^T] - E[x] E[x]^T, and m_i the i-th row of M

both exact on the data that the moments were gathered on. A bias takes the shift back: b + s. A batch norm
that follows directly, y = (u - mu) / sqrt(var + eps), takes it back as mu - s, and the change of the
variance as var v(M) / v(W): what re-estimation on data would find, without running the network (bias
correction: Nagel et al., "Data-Free Quantization", ICCV 2019). So where there is a bias or a norm, M is
made for the centred moments C: what is constant in the error costs nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, fields, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.overrides import TorchFunctionMode

from rankfold.calibration.moments import PatchMoments
from rankfold.calibration.observation import evaluating, observing
from rankfold.calibration.samples import Inputs, call


def following_norms(
    model: nn.Module,
    batches: Iterable[Inputs],
    names: Sequence[str],
) -> dict[str, str]:
    """The batch norm behind each layer, for those of `names` whose output goes there and nowhere else.

    What follows what is seen by running the first batch: the norm's input must be the very tensor that the
    layer gave, used by nothing else, in every run of both. Names and classes around them do not matter.

    Args:
        model: any network; it runs in eval mode, then is as before.
        batches: inputs of the model, on its device; only the first is used.
        names: of convolutions and linear layers.

    Returns:
        Name of the layer -> name of the norm. A norm without running statistics does not count.
    """
    modules = dict(model.named_modules())
    layers: dict[str, nn.Module] = {}
    for name in names:
        if name in modules:
            layers[name] = modules[name]
    norms: dict[str, nn.Module] = {}
    for name, module in modules.items():
        if isinstance(module, _BatchNorm) and module.running_mean is not None:
            norms[name] = module
    wiring = _Wiring()
    with evaluating(model), observing(layers, after=wiring.gave), observing(norms, before=wiring.got):
        for batch in batches:
            wiring.run(model, batch)
            break
    return wiring.following()


class _Wiring:
    """Follows the outputs of layers through a network while it runs."""

    def __init__(self) -> None:
        self._runs: Counter[str] = Counter()  # calls of each layer and of each norm
        # Calls of (layer, norm) on the very tensor that the layer gave.
        self._feeds: Counter[tuple[str, str]] = Counter()
        self._uses = _Uses()

    def run(self, model: nn.Module, batch: Inputs) -> None:
        with self._uses:
            output = call(model, batch)
        self._uses.note(output)  # the caller reads what the network gives back

    def gave(
        self,
        name: str,
        layer: nn.Module,
        _: object,
        output: object,
    ) -> None:
        self._runs[name] += 1
        if isinstance(output, Tensor) and _has_channels_second(layer, output):
            self._uses.watch(name, output)

    def got(
        self,
        norm: str,
        _: nn.Module,
        inputs: object,
    ) -> None:
        self._runs[norm] += 1
        name = self._uses.name(inputs)
        if name is not None:
            self._feeds[name, norm] += 1

    def following(self) -> dict[str, str]:
        """Name of the layer -> name of the norm that alone reads it, and reads nothing else."""
        following: dict[str, str] = {}
        for (name, norm), times in self._feeds.items():
            # Every call of either is one of the layer on whose output the norm runs, ...
            always = times == self._runs[name] == self._runs[norm]
            # ... and the norm's is the only operation that reads this output.
            if always and times == self._uses.times[name]:
                following[name] = norm
        return following


def _has_channels_second(layer: nn.Module, output: Tensor) -> bool:
    """Whether a layer has its channels where a norm looks for them."""
    if not isinstance(layer, nn.Linear):
        return True
    # A norm looks in the second axis; of a linear layer, only vectors have them there.
    return output.ndim == 2


def free_of_constants(
    model: nn.Module,
    moments: Mapping[str, PatchMoments],
    norms: Mapping[str, str],
    biased: Collection[str] = (),
) -> dict[str, PatchMoments]:
    """The centred moments of those layers whose bias, or norm, takes a constant error of the output back.

    Args:
        model: the network.
        moments: of its layers' inputs, by name.
        norms: from `following_norms`.
        biased: layers that will have a bias, whether or not they have one now.
    """
    free: dict[str, PatchMoments] = {}
    for name, known in moments.items():
        if name in biased or takes_constants_back(model, name, norms):
            free[name] = known.centred()
    return free


def takes_constants_back(model: nn.Module, name: str, norms: Mapping[str, str]) -> bool:
    """Whether the bias of a layer, or the norm behind it, takes a constant error of its output back.

    Args:
        model: the network.
        name: of the layer.
        norms: from `following_norms`.
    """
    return name in norms or getattr(model.get_submodule(name), "bias", None) is not None


class _Uses(TorchFunctionMode):
    """Counts, while it is on, the operations that read watched tensors and give tensors, or change them."""

    def __init__(self) -> None:
        super().__init__()
        self.times: Counter[str] = Counter()
        self._watched: dict[int, tuple[str, Tensor]] = {}  # the tensor is held, so that its id stays its own

    def watch(self, name: str, tensor: Tensor) -> None:
        self._watched[id(tensor)] = name, tensor

    def name(self, tensor: object) -> str | None:
        watched = self._watched.get(id(tensor))
        if watched is None:
            return None
        return watched[0]

    def note(self, values: object) -> None:
        """Count the watched tensors among nested `values`."""
        if isinstance(values, Tensor):
            name = self.name(values)
            if name is not None:
                self.times[name] += 1
        elif isinstance(values, Mapping):
            # Keywords of an operation, or outputs by name.
            self.note(list(values.values()))
        elif isinstance(values, (list, tuple)):
            for value in values:
                self.note(value)

    def __torch_function__(
        self,
        func: Any,
        types: Any,
        args: Any = (),
        kwargs: Any = None,
    ) -> Any:
        keywords = kwargs or {}
        result = func(*args, **keywords)
        if _is_use(result):
            self.note([*args, keywords])
        return result


def _is_use(result: object) -> bool:
    """Whether an operation with this result used what it was given."""
    # A question for a shape is no use; y[...] = z, which gives None, is one.
    if result is None:
        return True
    if isinstance(result, torch.Size):
        return False
    return isinstance(result, (Tensor, list, tuple))


def correct_(
    bias: Tensor | None,
    norm: nn.Module | None,
    before: Tensor,
    after: Tensor,
    moments: PatchMoments,
    *,
    channels: np.ndarray | None = None,
) -> None:
    """Take back, in place, what replacing a layer's weight changes in the mean and variance of its output.

    The mean is taken back in the bias if there is one, else in the norm's running mean; with neither
    nothing changes. A norm's running variances change as the outputs' do; for paired moments they become
    the variances seen on the calibration data, as those of the dense layer are not known there. An output
    without variance, before or after, keeps what the norm has.

    Args:
        bias: of the layer, (m,), or None.
        norm: the batch norm that follows directly, see `following_norms`, or None.
        before: the dense weight, (m, C_in/G, ...).
        after: the weight that stands in its place, of the same shape.
        moments: of the layer's inputs, not centred.
        channels: (m,) the channel of the norm that each output belongs to, for layers with several outputs
            in a channel; None: each has its own.
    """
    correct_together_([Replaced(bias, before, after, moments, channels=channels)], norm)


@dataclass(frozen=True)
class Replaced:
    """A weight that was replaced, of which a norm behind sees the outputs; see `correct_`.

    Attributes:
        bias: of the layer, (m,), or None.
        before: the dense weight, (m, C_in/G, ...).
        after: the weight that stands in its place, of the same shape.
        moments: of its inputs, not centred.
        channels: (m,) the channel of the norm that each output belongs to; None: each has its own.
        share: how often it runs, beside other weights whose outputs the norm sees, too.
    """

    bias: Tensor | None
    before: Tensor
    after: Tensor
    moments: PatchMoments
    _: KW_ONLY
    channels: np.ndarray | None = None
    share: float = 1.0


def correct_together_(weights: Sequence[Replaced], norm: nn.Module | None) -> None:
    """As `correct_`, for a layer whose outputs several weights give, each those of some pixels.

    Args:
        weights: with biases of their own, where there are several.
        norm: the batch norm that follows all of them directly, or None.
    """
    each = [_Outputs.of(one.before, one.after, one.moments) for one in weights]
    with torch.no_grad():
        for one, seen in zip(weights, each, strict=True):
            if one.bias is not None:
                one.bias.add_(torch.from_numpy(seen.shift).to(one.bias))
        # The mean that a norm behind a bias sees is right already, and its variance does not depend on the
        # bias.
        if not isinstance(norm, _BatchNorm):
            return
        mean, variance = norm.running_mean, norm.running_var
        if mean is None or variance is None:
            return
        if weights[0].bias is None:
            mean -= torch.from_numpy(each[0].shift).to(mean)
        kept = variance.detach().cpu().double().numpy()
        channels = []
        for one in weights:
            own = one.channels
            if own is None:
                own = np.arange(len(kept))
            channels.append(own)
        joined = _Outputs.joined(each, [one.share for one in weights])
        paired = weights[0].moments.cross is not None
        corrected = _corrected_variance(joined, kept, np.concatenate(channels), paired=paired)
        variance.copy_(torch.from_numpy(corrected))


@dataclass(frozen=True)
class _Outputs:
    """What is known of each of the m outputs.

    Attributes:
        shift: (m,) of the mean, W E[x0] - M E[x].
        mean: (m,) of the dense layer's output without its bias, W E[x0].
        before: (m,) variances with the dense weight W, on x.
        after: (m,) variances with the weight M.
        share: (m,) of all patches, those that have the output.
    """

    shift: np.ndarray
    mean: np.ndarray
    before: np.ndarray
    after: np.ndarray
    share: np.ndarray

    @classmethod
    def of(cls, before: Tensor, after: Tensor, moments: PatchMoments) -> _Outputs:
        """For a dense weight and the one in its place."""
        dense, made = _array(before), _array(after)
        if not moments.by_pixel:
            return cls._of(dense, made, moments, 1.0)
        whole = cls(*(np.zeros(len(dense)) for _ in fields(cls)))
        # Every output on the patches that have it.
        for part in moments.by_pixel:
            own = part.outputs(len(dense), len(moments.second))
            found = cls._of(dense[own], made[own], part.moments, part.share)
            for name in (field.name for field in fields(cls)):
                getattr(whole, name)[own] = getattr(found, name)
        return whole

    @classmethod
    def joined(cls, each: Sequence[_Outputs], times: Sequence[float]) -> _Outputs:
        """Those of several weights, side by side, each of which runs so often."""
        weighed = [replace(one, share=count * one.share) for one, count in zip(each, times, strict=True)]
        names = [field.name for field in fields(cls)]
        return cls(*(np.concatenate([getattr(one, name) for one in weighed]) for name in names))

    @classmethod
    def _of(cls, dense: np.ndarray, made: np.ndarray, moments: PatchMoments, share: float) -> _Outputs:
        groups = len(moments.second)
        dense, made = _matrices(dense, groups), _matrices(made, groups)
        # Unless layers before it have changed, the layer reads what it read: x0 = x.
        dense_mean = moments.dense_mean
        if dense_mean is None:
            dense_mean = moments.mean
        mean = np.einsum("gmn,gn->gm", dense, dense_mean)
        given = np.einsum("gmn,gn->gm", made, moments.mean)
        centred = moments.centred().second
        return cls(
            shift=(mean - given).reshape(-1),
            mean=mean.reshape(-1),
            before=_variances(dense, centred),
            after=_variances(made, centred),
            share=np.full(mean.size, share),
        )


def _array(weight: Tensor) -> np.ndarray:
    values: np.ndarray = weight.detach().cpu().double().numpy()
    return values


def _matrices(weight: np.ndarray, groups: int) -> np.ndarray:
    """(m, C_in/G, ...) as (G, m/G, n)."""
    return weight.reshape(groups, len(weight) // groups, -1)


def _corrected_variance(
    seen: _Outputs, kept: np.ndarray, channels: np.ndarray, *, paired: bool
) -> np.ndarray:
    """Running variances of the norm behind the layer, where it had `kept`.

    Outputs of one channel are as many samples of it, each as frequent as patches have it. Its variance is
    the average of theirs and the variance of their means, which are those of the dense layer once biases are
    right.
    """

    def by_channel(values: np.ndarray) -> np.ndarray:
        """The averages over the outputs of each channel."""
        return np.bincount(channels, seen.share * values) / np.bincount(channels, seen.share)

    between = by_channel(np.square(seen.mean - by_channel(seen.mean)[channels]))
    variance = by_channel(seen.after) + between
    if not paired:
        # The norm's variances were measured on the training data. Their ratios carry over; what is seen
        # here does not.
        once = by_channel(seen.before) + between
        changing = once > 0
        divisor = np.where(changing, once, 1.0)
        scaled = kept * variance / divisor
        variance = np.where(changing, scaled, kept)
    # An output that is constant now keeps its variance: divided by next to nothing, a shift of the mean
    # would explode.
    return np.where(variance > 0, variance, kept)


def _variances(weight: np.ndarray, centred: np.ndarray) -> np.ndarray:
    """(m,) variances of the outputs, diag(M C M^T), of a weight (G, m/G, n) with covariances (G, n, n)."""
    products = weight @ centred
    variances = np.sum(products * weight, axis=2)
    return np.maximum(variances, 0.0).reshape(-1)  # rounding may leave less than nothing
