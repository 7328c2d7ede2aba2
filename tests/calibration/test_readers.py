"""Which convolution alone reads what another one computes."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rankfold.calibration.readers import sole_readers
from rankfold.models.zoo import build


class Pair(nn.Module):
    """Two convolutions with something between them."""

    def __init__(self, between: str) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)
        self.norm, self.act = nn.BatchNorm2d(4), nn.ReLU(inplace=True)
        self.between = between

    def forward(self, x: Tensor) -> Tensor:
        y = self.a(x)
        match self.between:
            case "nothing":
                return self.b(y)
            case "norm, activation, pool":
                return self.b(F.max_pool2d(self.act(self.norm(y)), 2))
            case "method":
                return self.b(y.relu().contiguous())
            case "hard swish":
                z = (y * 0.5 + 1).add_(2)
                return self.b((z * (z + 3).clamp(0, 6) / 6 + self.norm.bias[:, None, None]) * 2)
            case "sum with others":
                return self.b(2 - (y + F.avg_pool2d(x[:, :1], 3, 1, 1)))
            case "shortcut":
                return self.b(y) + y
            case "activation read twice":
                y = self.norm(y).relu()
                return self.b(y) * y.mean()
            case "flipped channels":
                return self.b(y.flip(1))
            case "gate":
                return self.b(y * self.norm(y).mean((2, 3), keepdim=True).softmax(1))
            case "one channel for all":
                return self.b(y[:, :1] * y)
            case "run twice":
                return self.b(self.b(y))
            case "kept":
                return torch.stack([self.b(y), y])
            case _:
                return self.b(torch.softmax(y, 1))


@pytest.mark.parametrize(
    ("between", "linked"),
    [
        ("nothing", True),
        ("norm, activation, pool", True),
        ("method", True),
        ("hard swish", True),
        ("sum with others", True),
        ("shortcut", False),
        ("activation read twice", False),
        ("flipped channels", False),
        ("gate", False),
        ("one channel for all", False),
        ("run twice", False),
        ("kept", False),
        ("softmax over channels", False),
    ],
)
def test_only_what_keeps_channels_apart_links_two_layers(between: str, linked: bool) -> None:
    found = sole_readers(Pair(between), [torch.randn(2, 3, 8, 8)], ["a", "b"])
    assert found == ({"a": "b"} if linked else {})


def test_the_first_layer_of_a_residual_branch_is_read_by_the_second_alone() -> None:
    model = build("resnet8", 10).train()
    names = [name for name, module in model.named_modules() if isinstance(module, nn.Conv2d)]
    found = sole_readers(model, [torch.randn(2, 3, 32, 32)], names)
    assert found == {f"layer{stage}.0.conv1": f"layer{stage}.0.conv2" for stage in (1, 2, 3)}
    assert model.training
