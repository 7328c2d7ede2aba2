"""Small quantised networks, and images for them, for tests of simulated arrays."""

import copy
from functools import cache

import torch

from common.cells import CELLS
from rankfold.models.zoo import build
from rankfold.plan import LowRank, uniform_plan
from rankfold.surgery.compress import compress_
from rankfold.surgery.quantise import quantise_
from rankfold.workload import trace

PAIRED = LowRank(groups=2, rank=4, force=True)


def images(count, size=32, seed=0):
    return torch.randn(count, 3, size, size, generator=torch.Generator().manual_seed(seed))


def quantised(model, plan, x):
    """`model` after decomposition, quantisation and calibration by `plan`."""
    compress_(model, plan)
    plan = quantise_(model, plan, [x])
    return model.eval(), plan


def small(array=CELLS, mapping="sdk", method=PAIRED):
    """A network of one's own to change, and its plan."""
    model, plan = made(array, mapping, method)
    return copy.deepcopy(model), plan


@cache
def made(array, mapping, method):
    model = build("resnet8", 10)
    plan = uniform_plan(trace(model, (3, 16, 16)), array, method, bits=4, mapping=mapping)
    return quantised(model, plan, images(16, 16))
