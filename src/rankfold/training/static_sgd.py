"""`StaticSGD`: the update of `torch.optim.SGD` with a learning rate that stands on the device."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


class StaticSGD:
    """Updates parameters as their optimiser would, by operations that may be recorded and played again.

    With momentum m and weight decay w, of a gradient g, a buffer v and a rate s (Nesterov, as torch has it):

        d = g + w p,   v <- m v + d,   p <- p - s (d + m v)

    torch's own takes its rate from the host. The buffers are those of the optimiser, so that its state is
    saved and loaded as ever; a buffer that it does not have yet begins as zero, which is the same update.

    Args:
        optimiser: with Nesterov momentum, no dampening, and its state loaded.
    """

    def __init__(self, optimiser: torch.optim.SGD) -> None:
        self.parameters: list[Tensor] = []
        self._groups = optimiser.param_groups
        for group in self._groups:
            assert group["nesterov"] and not group["dampening"] and not group["maximize"]
            self.parameters += group["params"]
        self._buffers: dict[Tensor, Tensor] = {}
        for parameter in self.parameters:
            state = optimiser.state[parameter]
            if state.get("momentum_buffer") is None:
                state["momentum_buffer"] = torch.zeros_like(parameter)
            self._buffers[parameter] = state["momentum_buffer"]

    @torch.no_grad()
    def step_(self, gradients: Sequence[Tensor | None], rate: Tensor) -> None:
        """One update; parameters without a gradient stay as they are.

        Args:
            gradients: of `parameters`, in their order.
            rate: s, shape (), on the device.
        """
        found = dict(zip(self.parameters, gradients, strict=True))
        for group in self._groups:
            used, own, buffers = [], [], []
            for parameter in group["params"]:
                gradient = found[parameter]
                if gradient is not None:
                    used.append(parameter)
                    own.append(gradient)
                    buffers.append(self._buffers[parameter])
            if used:
                _update_(used, own, buffers, rate, momentum=group["momentum"], decay=group["weight_decay"])


def _update_(
    parameters: list[Tensor],
    gradients: list[Tensor],
    buffers: list[Tensor],
    rate: Tensor,
    *,
    momentum: float,
    decay: float,
) -> None:
    # All tensors of a group at once: each alone would be a kernel of its own.
    changes = torch._foreach_add(gradients, parameters, alpha=decay)
    torch._foreach_mul_(buffers, momentum)
    torch._foreach_add_(buffers, changes)
    torch._foreach_add_(changes, buffers, alpha=momentum)
    torch._foreach_mul_(changes, rate)
    torch._foreach_sub_(parameters, changes)
