"""The constant error of a replaced layer's output, taken back in closed form: in its bias, or in the batch norm behind it.

A replacement M of a weight W shifts the mean of the output by (M - W) E[x] and changes its variance. A bias takes the shift back;
a batch norm that follows directly takes both back in its running statistics, as re-estimation on data would, without running
the network (bias correction: Nagel et al., "Data-Free Quantization", ICCV 2019). So where there is one, M is made for the
centred moments: what is constant in the error costs nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.overrides import TorchFunctionMode

from rankfold.calibration.moments import PatchMoments
from rankfold.calibration.observation import evaluating


def following_norms(model: nn.Module, batches: Iterable[Tensor], names: Sequence[str]) -> dict[str, str]:
    """The batch norm behind each layer, for those of `names` whose output goes there and nowhere else.

    What follows what is seen by running the first batch: the norm's input must be the very tensor that the layer gave, used by
    nothing else, in every run of both. Names and classes around them do not matter.

    Args:
        model: any network; it runs in eval mode, then is as before.
        batches: inputs of the model, on its device; only the first is used.
        names: of convolutions and linear layers.

    Returns:
        Name of the layer -> name of the norm. A norm without running statistics does not count.
    """
    modules = dict(model.named_modules())
    norms = {
        name: module for name, module in modules.items() if isinstance(module, _BatchNorm) and module.running_mean is not None
    }
    runs: Counter[str] = Counter()
    feeds: Counter[tuple[str, str]] = Counter()
    uses = _Uses()

    def gave(name: str) -> Any:
        def hook(module: nn.Module, _: object, output: Tensor) -> None:
            runs[name] += 1
            # The outputs of a linear layer that are more than vectors do not have their channels where a norm looks for them.
            if isinstance(output, Tensor) and not (isinstance(module, nn.Linear) and output.ndim != 2):
                uses.watch(name, output)

        return hook

    def got(norm: str) -> Any:
        def hook(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            runs[norm] += 1
            if inputs and (name := uses.name(inputs[0])):
                feeds[name, norm] += 1

        return hook

    hooks = [modules[name].register_forward_hook(gave(name)) for name in names if name in modules]
    hooks += [module.register_forward_pre_hook(got(name)) for name, module in norms.items()]
    try:
        with evaluating(model):
            for batch in batches:
                with uses:
                    output = model(batch)
                uses.note(output)
                break
    finally:
        for hook in hooks:
            hook.remove()
    return {name: norm for (name, norm), times in feeds.items() if times == runs[name] == runs[norm] == uses.times[name]}


def free_of_constants(model: nn.Module, moments: Mapping[str, PatchMoments], norms: Mapping[str, str]) -> dict[str, PatchMoments]:
    """The centred moments of those layers whose bias, or norm, takes a constant error of the output back.

    Args:
        model: the network.
        moments: of its layers' inputs, by name.
        norms: from `following_norms`.
    """
    found = {}
    for name, known in moments.items():
        if name in norms or getattr(model.get_submodule(name), "bias", None) is not None:
            found[name] = known.centred()
    return found


class _Uses(TorchFunctionMode):
    """Counts, while it is on, the operations that read watched tensors and give tensors, or change them."""

    def __init__(self) -> None:
        super().__init__()
        self.times: Counter[str] = Counter()
        self._watched: dict[int, tuple[str, Tensor]] = {}  # the tensor is held, so that its id stays its own

    def watch(self, name: str, tensor: Tensor) -> None:
        self._watched[id(tensor)] = name, tensor

    def name(self, tensor: object) -> str | None:
        return self._watched[id(tensor)][0] if id(tensor) in self._watched else None

    def note(self, values: object) -> None:
        """Count the watched tensors among nested `values`."""
        if isinstance(values, Tensor):
            if name := self.name(values):
                self.times[name] += 1
        elif isinstance(values, Mapping):
            self.note(list(values.values()))
        elif isinstance(values, (list, tuple)):
            for value in values:
                self.note(value)

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        # A question for a shape is no use; y[...] = z, which gives None, is one.
        if result is None or (isinstance(result, (Tensor, list, tuple)) and not isinstance(result, torch.Size)):
            self.note([*args, kwargs or {}])
        return result


def correct_(bias: Tensor | None, norm: nn.Module | None, before: Tensor, after: Tensor, moments: PatchMoments) -> None:
    """Take back, in place, what replacing a layer's weight changes in the mean, and behind a norm the variance, of its output.

    The mean is taken back in the bias if there is one, else in the norm's running mean; with neither nothing changes. A norm's
    running variances change as the outputs' do; for paired moments they become the variances seen on the calibration data, as
    those of the dense layer are not known there. An output without variance, before or after, keeps what the norm has.

    Args:
        bias: of the layer, (m,), or None.
        norm: the batch norm that follows directly, see `following_norms`, or None.
        before: the dense weight, (m, C_in/G, ...).
        after: the weight that stands in its place, of the same shape.
        moments: of the layer's inputs, not centred.
    """
    groups = len(moments.second)
    dense, made = (w.detach().cpu().double().numpy().reshape(groups, len(w) // groups, -1) for w in (before, after))
    wanted = moments.mean if moments.dense_mean is None else moments.dense_mean
    shift = (np.einsum("gmn,gn->gm", dense, wanted) - np.einsum("gmn,gn->gm", made, moments.mean)).reshape(-1)
    centred = moments.centred().second
    with torch.no_grad():
        if bias is not None:
            bias += torch.from_numpy(shift).to(bias)
        if not isinstance(norm, _BatchNorm) or norm.running_mean is None or norm.running_var is None:
            return
        if bias is None:
            norm.running_mean -= torch.from_numpy(shift).to(norm.running_mean)
        now, kept = _variances(made, centred), norm.running_var.detach().cpu().double().numpy()
        if moments.cross is None:
            once = _variances(dense, centred)
            now = np.where(once > 0, kept * now / np.where(once > 0, once, 1.0), kept)
        # An output that is constant now keeps its variance: divided by next to nothing, a shift of the mean would explode.
        norm.running_var.copy_(torch.from_numpy(np.where(now > 0, now, kept)))


def _variances(weight: np.ndarray, centred: np.ndarray) -> np.ndarray:
    """(m,) variances of the outputs."""
    return np.maximum(np.sum((weight @ centred) * weight, axis=2), 0.0).reshape(-1)
