"""A network of many outputs for each image, none of which is a score of a class."""

import torch
from torch import nn


class Maps(nn.Module):
    """A map of three channels, and two numbers, of images (B, 1, 8, 8)."""

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(1, 8, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(8, 16, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(16, 16, 3, padding=1),
            nn.ReLU(),
        )
        self.map = nn.Conv2d(16, 3, 1)
        self.numbers = nn.Linear(16, 2)

    def forward(self, x):
        features = self.body(x)
        return {"map": self.map(features), "numbers": 100 * self.numbers(features.mean((2, 3)))}


class OneMap(Maps):
    """The map alone."""

    def forward(self, x):
        return self.map(self.body(x))


def maps(kind=Maps):
    torch.manual_seed(0)
    return kind().eval()


def one_map():
    return maps(OneMap)
