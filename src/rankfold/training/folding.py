"""Batch norms that become part of the convolutions before them, in a network that trains no more."""

from __future__ import annotations

import copy
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from rankfold.calibration.correction import following_norms
from rankfold.calibration.outputs import output_tensors
from rankfold.calibration.samples import Inputs, call, size_of
from rankfold.nn.rectified import noting_norms
from rankfold.nn.seen import is_seen
from rankfold.nn.swap import swap_

# Of the outputs' norm: far more than rounding of any kind changes, TF32 too, and far less than a mistake.
TOLERANCE = 0.01


@torch.no_grad()
def folded(network: nn.Module, batch: Inputs) -> nn.Module:
    """A copy of a network with each batch norm folded into the convolution that it alone reads.

    It computes the same, to rounding, in fewer passes over memory. Norms after other layers, or after a sum,
    stay. Where `nn.rectified_norm` calls the norm, the convolution takes its place, and is asked for the sum
    and the ReLU behind it. Code between the two may still depend on where it was: so both networks run on
    the batch, and a copy that does not give the same is not used.

    Args:
        network: in eval mode; it stays as it is.
        batch: an input, by which is seen what follows what.

    Returns:
        The copy, or `network` itself where no copy gives the same.
    """
    size = size_of(batch)
    wanted = output_tensors(call(network, copy.deepcopy(batch)), size)  # networks may write to what they read
    for moves in (True, False):
        made = copy.deepcopy(network)
        _fold_all_(made, copy.deepcopy(batch), moves=moves)
        if _gives(made, copy.deepcopy(batch), wanted):
            return made
    return network


def _fold_all_(network: nn.Module, batch: Inputs, *, moves: bool) -> None:
    """Fold all norms that can be; `moves`: into the norms' places where `rectified_norm` calls those."""
    modules = dict(network.named_modules())
    names = [name for name, module in modules.items() if type(module) is nn.Conv2d]
    with noting_norms() as rectified:
        followers = following_norms(network, [batch], names)
    replaced: dict[nn.Module, nn.Module] = {}
    for name, follower in followers.items():
        conv, norm = modules[name], modules[follower]
        assert isinstance(conv, nn.Conv2d)  # chosen so
        if type(norm) is not nn.BatchNorm2d or is_seen(conv) or is_seen(norm):
            continue
        _fold_(conv, norm)
        if moves and norm in rectified:
            replaced |= {conv: nn.Identity(), norm: conv}
        else:
            replaced[norm] = nn.Identity()
    swap_(network, replaced)


def _gives(network: nn.Module, batch: Inputs, wanted: Mapping[str, Tensor]) -> bool:
    """Whether a network has these outputs, to rounding."""
    try:
        found = output_tensors(call(network, batch), size_of(batch))
    except Exception:  # whatever code raises that asks a layer for what is elsewhere now
        return False
    if found.keys() != wanted.keys():
        return False
    return all(_is_near(found[where], value) for where, value in wanted.items())


def _is_near(found: Tensor, wanted: Tensor) -> bool:
    if found.shape != wanted.shape:
        return False
    distance = (found.double() - wanted.double()).norm()
    return bool(distance <= TOLERANCE * wanted.double().norm())


def _fold_(conv: nn.Conv2d, norm: nn.BatchNorm2d) -> None:
    """Give a convolution the weight and the bias that make up for the norm."""
    assert norm.running_mean is not None and norm.running_var is not None  # it would not follow otherwise
    factor = (norm.running_var.double() + norm.eps).rsqrt()  # (m,)
    if norm.weight is not None:
        factor = factor * norm.weight
    bias = -norm.running_mean * factor
    if conv.bias is not None:
        bias = bias + conv.bias * factor
    if norm.bias is not None:
        bias = bias + norm.bias
    weight = conv.weight * factor.view(-1, 1, 1, 1)
    # Parameters of its own: other modules may share those that it had.
    conv.weight = nn.Parameter(weight.to(conv.weight), requires_grad=False)
    conv.bias = nn.Parameter(bias.to(conv.weight), requires_grad=False)
