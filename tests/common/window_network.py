"""A network whose layers become window layers or pairs of them, images for it, and its plans."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from rankfold.calibration.batch_norm import reestimate_batch_norm_
from rankfold.mapping import ArraySpec
from rankfold.plan import Plan, uniform_plan
from rankfold.plan.methods import Method
from rankfold.workload import trace

IMAGE = (3, 12, 12)
ARRAY = ArraySpec(24, 24)


def network(*, bias: bool = False, seed: int = 0) -> nn.Sequential:
    """Three convolutions, one of them strided and with groups, with norms behind two of them."""
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(3, 6, 3, padding=1, bias=False),
        nn.BatchNorm2d(6),
        nn.ReLU(),
        nn.Conv2d(6, 8, 3, padding=1, bias=bias),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Conv2d(8, 8, 3, stride=2, padding=1, groups=2, bias=bias),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(8 * 36, 4),
    )


def batches(count: int = 3) -> list[Tensor]:
    """Smooth images: inputs of a window that tell of each other, as those of real images do."""
    generator = torch.Generator().manual_seed(1)
    images = []
    for _ in range(count):
        coarse = torch.randn(16, 3, 4, 4, generator=generator)
        images.append(nn.functional.interpolate(coarse, size=IMAGE[1:], mode="bilinear"))
    return images


def settled(model: nn.Module) -> nn.Module:
    """The network with the statistics of the data in its norms."""
    reestimate_batch_norm_(model, batches())
    return model.eval()


def planned(model: nn.Module, method: Method, array: ArraySpec = ARRAY, bits: int | None = None) -> Plan:
    """Its uniform plan."""
    return uniform_plan(trace(model, IMAGE, "net"), array, method, bits=bits)
