"""Convolutions whose channels are of very different sizes, made alike, with a factor for each channel behind.

Exporters fold batch norms into convolutions: each output channel i of a kernel is multiplied by a factor of
its own, W_i = a_i V_i. One step size rounds all weights of a layer (`nn.quantisers`), and where the a_i are
far apart it rounds those of small channels away, above all in depthwise layers, where no other channel makes
up for it. With a_i = max |W_i| all V_i have the same range; digital logic multiplies by a_i again, as it did
before the norm was folded (scales of each channel: Krishnamoorthi 2018, arXiv 1806.08342, section 3.1;
scaling of channels without data: Nagel et al., "Data-Free Quantization", ICCV 2019). The network computes the
same up to rounding of floats.
"""

from __future__ import annotations

from collections import Counter

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from rankfold.models.onnx.graph import OnnxGraph
from rankfold.nn.channel_scale import equalised_

SPREAD = 4  # times the smallest channel's largest weight, from which on the largest one's is far apart


def equalise_channels_(graph: OnnxGraph) -> tuple[str, ...]:
    """Make the output channels of convolutions alike in size, in place, where they are far apart.

    Convolutions that a batch norm follows have its factors already; those that run several times or share
    their weights stay, too.

    Args:
        graph: the network.

    Returns:
        The names of the convolutions.
    """
    modules = dict(graph.named_modules())
    runs = Counter(step.run for step in graph.steps)
    held = Counter(id(one) for module in modules.values() for one in module.parameters(recurse=False))
    into_norms: set[str] = set()
    for step in graph.steps:
        if isinstance(step.run, str) and isinstance(modules[step.run], _BatchNorm):
            into_norms.update(step.inputs)
    found = []
    for step in graph.steps:
        if not isinstance(step.run, str) or runs[step.run] > 1 or not into_norms.isdisjoint(step.outputs):
            continue
        conv = modules[step.run]
        if type(conv) is not nn.Conv2d or any(held[id(one)] > 1 for one in conv.parameters()):
            continue
        if _is_spread(conv):
            graph.put_behind_(step.run, equalised_(conv))
            found.append(step.run)
    return tuple(found)


def _is_spread(conv: nn.Conv2d) -> bool:
    """Whether the largest weights of channels are far apart; not where any is no finite number."""
    largest = conv.weight.detach().abs().amax((1, 2, 3))
    return bool(torch.isfinite(largest).all()) and bool(largest.max() >= SPREAD * largest.min())
