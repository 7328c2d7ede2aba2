"""A small network, and what the losses of all that its layers may become are computed from."""

from dataclasses import replace

import torch
from torch import nn

from rankfold.calibration.network_sensitivities import network_sensitivities
from rankfold.cost.energy import find_table
from rankfold.mapping import ArraySpec
from rankfold.planning.choices import layer_choices
from rankfold.planning.exact import CYCLES
from rankfold.planning.exact.costing import Costing
from rankfold.planning.exact.slots import dense_network, layer_slots
from rankfold.planning.kinds import windows_computed
from rankfold.planning.kinds.study import LayerStudy
from rankfold.planning.statistics import LayerStatistics
from rankfold.progress import Silent
from rankfold.workload import trace

ARRAY = ArraySpec(16, 16)


def network(width):
    """3x3 layers of one and of two convolution groups, and one with more outputs than inputs."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, width, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(width, 2 * width, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(2 * width, 4 * width, 3, padding=1, groups=2, stride=2),
        nn.ReLU(),
        nn.Conv2d(4 * width, 2 * width, (1, 3)),
        nn.ReLU(),
        nn.Conv2d(2 * width, 8 * width, (1, 2)),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(8 * width, 10),
    ).eval()


def problem(width, array=ARRAY, side=8, kinds=None, layers=None):
    """What the losses of candidates are computed from; of these layers alone, where they are given."""
    model = network(width)
    traced = trace(model, (1, side, side))
    slots = [replace(slot, kinds=kinds) for slot in layer_slots(traced, array, 4)]
    names = [slot.name for slot in slots if not slot.why_dense and (layers is None or slot.name in layers)]
    costing = Costing.of(traced, dense_network(traced, array, slots), find_table(None, array, None, None))
    windows = {slot.name: windows_computed(slot) for slot in slots if slot.name in names}
    images = torch.randn(32, 1, side, side, generator=torch.Generator().manual_seed(0))
    return slots, model, network_sensitivities(model, [images], names, windows), costing


def choices(known, progress=None, threads=2):
    """What the layers of a `problem` may become."""
    slots, model, sensitive, costing = known
    statistics = LayerStatistics(sensitivities=sensitive.layers, windows=sensitive.windows)
    return layer_choices(
        slots, model, statistics, costing, [CYCLES], progress=progress or Silent(), threads=threads
    )


def studied(slots, model, found):
    """Each layer that may change: its slot, convolution and study, and the sensitivities of its windows."""
    for slot in slots:
        if slot.why_dense:
            continue
        conv, sensitivity = model.get_submodule(slot.name), found.layers[slot.name]
        weight = conv.weight.detach().double().numpy()
        windows = {(1, 1): sensitivity, **found.windows[slot.name]}
        layer = LayerStudy(slot, weight, sensitivity.moments.second, None, windows)
        yield slot, conv, layer, windows
