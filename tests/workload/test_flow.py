"""What layers read, as a run says it."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rankfold.workload import trace
from rankfold.workload.flow import INPUT, FlowRecorder, Join


class Gated(nn.Module):
    """Squeeze and excitation, a concatenation, a layer called as a function, and a sum in place."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 4, 3, padding=1)
        self.down, self.up = nn.Conv2d(4, 2, 1), nn.Conv2d(2, 4, 1)
        self.beside = nn.Conv2d(3, 2, 1)
        self.last = nn.Conv2d(6, 5, 3)
        self.weight = nn.Parameter(torch.randn(5, 5, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.first(x))
        gate = torch.sigmoid(self.up(F.relu(self.down(F.adaptive_avg_pool2d(y, 1)))))
        both = torch.cat([y * gate, self.beside(x)], 1)
        z = self.last(F.max_pool2d(both, 2))
        w = F.conv2d(z, self.weight)
        w += z
        return w.flatten(1)


EXPECTED = {
    "first": INPUT,
    "down": "first",
    "up": "down",
    "beside": INPUT,
    "last": "beside:join",
}
JOINS = (
    Join("up:join", ("first", "up"), (4 * 64, 4), 4 * 64, (8, 8)),
    Join("beside:join", ("up:join", "beside"), (4 * 64, 2 * 64), 6 * 64, (8, 8)),
)


def test_origins_follow_gates_concatenations_functions_and_operators_in_place() -> None:
    network = trace(Gated(), (3, 8, 8))
    assert network.flow is not None
    reads = dict(zip((layer.name for layer in network.layers), network.flow.reads, strict=True))
    called = next(name for name in reads if name not in EXPECTED)
    assert reads.pop(called) == "last"
    assert reads == EXPECTED
    # The last sum is read by no layer.
    assert network.flow.joins == JOINS


def test_a_module_that_runs_twice_is_read_by_its_runs() -> None:
    layer = nn.Conv2d(3, 3, 3, padding=1)
    network = trace(nn.Sequential(layer, nn.ReLU(inplace=True), layer), (3, 6, 6))
    assert network.flow is not None
    assert [shape.name for shape in network.layers] == ["0", "0#2"]
    assert network.flow.reads == (INPUT, "0")


def test_parts_of_one_source_are_no_join() -> None:
    recorder = FlowRecorder()
    recorder.layer("a", INPUT)
    assert recorder.join([("a", 3), ("a", 4)], 7, (1, 1)) == "a"
    assert recorder.join([("a", 3), (INPUT, 4), ("a", 2)], 7, (1, 1)) == "a:join"
    # The same sources may be joined more than once.
    assert recorder.join([("a", 3), (INPUT, 4)], 7, (1, 1)) == "a:join#2"
