"""Pruned networks on their arrays."""

import pytest
import torch

from rankfold.mapping import ArraySpec
from rankfold.nn.channels import channel_plan
from rankfold.nn.models import build
from rankfold.nn.quantise import calibrate_
from rankfold.nn.surgery import compress_, quantise_by_plan_
from rankfold.plan import pruned_plan
from rankfold.simulator import simulate
from rankfold.workload import trace


@pytest.mark.parametrize("method", ["patdnn", "pairs", "channel"])
def test_ideal_arrays_compute_the_pruned_network(method):
    model = build("resnet8", 10).eval()
    network = trace(model, (3, 16, 16), "resnet8")
    array = ArraySpec(48, 20)
    if method == "channel":
        plan = channel_plan(model, network, array, 0.5, 4)
    else:
        plan = pruned_plan(network, array, method, 2, 4, block=None if method == "patdnn" else 8)
    plan = plan.with_signs({layer.name: True for layer in plan.layers})
    compress_(model, plan)
    quantise_by_plan_(model, plan)
    x = torch.randn(2, 3, 16, 16)
    calibrate_(model, [x])
    torch.testing.assert_close(simulate(model, plan)(x), model(x), rtol=1e-4, atol=1e-4)
