"""A network of an image, a depth map and a number, small enough to be trained in a test."""

import torch
from torch import nn


class TwoInputs(nn.Module):
    """Adds what it sees in both, the depth scaled by a number that is no tensor."""

    def __init__(self):
        super().__init__()
        self.colour = nn.Conv2d(3, 8, 3, padding=1)
        self.depth = nn.Conv2d(1, 8, 3, padding=1)
        self.body = nn.Conv2d(8, 16, 3, padding=1)
        self.norm = nn.BatchNorm2d(16)
        self.head = nn.Linear(16, 4)

    def forward(self, image, depth, scale=1.0):
        x = torch.relu(self.colour(image) + self.depth(depth) * scale)
        x = torch.relu(self.norm(self.body(x)))
        return self.head(x.mean((2, 3)))


def net():
    torch.manual_seed(0)
    return TwoInputs()


def inputs(count, by_name=False, seed=0):
    """Of so many samples, by position or by name."""
    draw = torch.Generator().manual_seed(seed)
    image = torch.randn(count, 3, 8, 8, generator=draw)
    depth = torch.randn(count, 1, 8, 8, generator=draw)
    if by_name:
        return {"image": image, "depth": depth, "scale": 0.5}
    return image, depth, 0.5


def batches(by_name=False):
    """Two labelled batches."""
    made = []
    for seed in range(2):
        target = torch.randint(4, (24,), generator=torch.Generator().manual_seed(seed))
        made.append((inputs(24, by_name, seed), target))
    return made
