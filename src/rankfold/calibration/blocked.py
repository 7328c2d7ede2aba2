"""Layers that the outputs depend on, and that no gradient over the outputs comes back to.

Rounding, signs and comparisons have a slope of zero, detached values have none. Whatever is predicted by
gradients is nothing for the layers before them, so that they have to be known: a layer is one if in some run
of it none of the first images has a gradient over what it gives, and the outputs are others where that run
gives other values.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn

from rankfold.calibration.layer_moments import layers_of
from rankfold.calibration.observation import evaluating, observing
from rankfold.calibration.output_losses import differentiable
from rankfold.calibration.outputs import output_tensors
from rankfold.calibration.replaying import Replay
from rankfold.calibration.samples import Inputs, call, cut, map_tensors, size_of

IMAGES = 4  # looked at: what has a slope anywhere nearly always has one for some of their numbers
WHY = "no gradient comes back to it through what follows, such as rounding"


def blocked(model: nn.Module, batches: Iterable[Inputs], names: Sequence[str]) -> frozenset[str]:
    """Run a network there and back on the first images, and find the layers that gradients do not reach.

    Args:
        model: any network; it runs in eval mode, then is as before.
        batches: inputs of the model, on its device; no more than the first of them is used.
        names: of convolutions and linear layers.

    Returns:
        Those whose values the outputs depend on without a gradient; none where there are no batches, or no
        output has a gradient at all, which calibration refuses.
    """
    if not names:
        return frozenset()
    for batch in batches:
        size = size_of(batch)
        first = cut(batch, size, 0, min(size, IMAGES))
        without = _without_gradient(model, first, names)
        if not without:
            return frozenset()
        return frozenset(without) - Replay(model, first, names).unfelt(without, runs=without)
    return frozenset()


def _without_gradient(model: nn.Module, inputs: Inputs, names: Sequence[str]) -> dict[str, list[int]]:
    """The layers of which some run has no gradient over its output, or one of zeros alone: these runs."""
    seen: list[tuple[str, Tensor]] = []

    def keep(name: str, _: nn.Module, read: object, output: Tensor) -> Tensor:
        # Of whole numbers and frozen layers nothing is recorded up to here.
        if not output.requires_grad:
            output = output.detach().requires_grad_()
        seen.append((name, output))
        return output.clone()  # which an activation in place may change

    layers = layers_of(model, names)
    with evaluating(model), torch.enable_grad(), observing(layers, after=keep):
        given = output_tensors(call(model, map_tensors(inputs, differentiable)), size_of(inputs))
        ends = [output for output in given.values() if output.requires_grad]
        if not ends:
            return {}
        draw = torch.Generator().manual_seed(0)
        # In drawn directions: sums of all outputs may be the same whatever a network says.
        rises = [(one * torch.randn(one.shape, generator=draw).to(one)).sum() for one in ends]
        outputs = [output for _, output in seen]
        found = torch.autograd.grad(torch.stack(rises).sum(), outputs, allow_unused=True)
    without: dict[str, list[int]] = {}
    runs: Counter[str] = Counter()
    for (name, _), gradient in zip(seen, found, strict=True):
        if gradient is None or not gradient.any():
            without.setdefault(name, []).append(runs[name])
        runs[name] += 1
    return without
