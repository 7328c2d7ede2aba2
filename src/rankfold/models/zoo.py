"""The model zoo as torch modules: CIFAR ResNets, a wide ResNet and a small VGG."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def _conv3x3(in_channels: int, out_channels: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(in_channels, out_channels, 3, stride, padding=1, bias=False)


class ShortcutA(nn.Module):
    """Parameter-free shortcut: subsample by `stride`, then append `extra` zero channels (option A of He et al. 2016)."""

    def __init__(self, stride: int, extra: int) -> None:
        super().__init__()
        self.stride, self.extra = stride, extra

    def forward(self, x: Tensor) -> Tensor:
        """Subsample and pad."""
        # (B, C, H, W) -> (B, C + extra, ceil(H/stride), ceil(W/stride))
        return F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, 0, self.extra))


class BasicBlock(nn.Module):
    """Two 3x3 convolutions with a parameter-free shortcut (He et al. 2016, figure 2)."""

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = _conv3x3(in_channels, out_channels, stride)
        self.bn1 = nn.BatchNorm2d(out_channels)
        self.conv2 = _conv3x3(out_channels, out_channels)
        self.bn2 = nn.BatchNorm2d(out_channels)
        same = stride == 1 and in_channels == out_channels
        self.shortcut = nn.Identity() if same else ShortcutA(stride, out_channels - in_channels)

    def forward(self, x: Tensor) -> Tensor:
        """Apply the block."""
        y = F.relu_(self.bn1(self.conv1(x)))
        return F.relu_(self.bn2(self.conv2(y)) + self.shortcut(x))


class CifarResNet(nn.Module):
    """ResNet for small images (He et al. 2016, section 4.2): depth 6n+2, three stages of n basic blocks.

    Input (B, in_channels, H, W), output (B, classes).
    """

    def __init__(self, blocks: int, classes: int, in_channels: int = 3) -> None:
        super().__init__()
        self.conv1 = _conv3x3(in_channels, 16)
        self.bn1 = nn.BatchNorm2d(16)
        channels = 16
        stages = []
        for stage, width in enumerate((16, 32, 64)):
            stack = []
            for block in range(blocks):
                stack.append(BasicBlock(channels, width, 2 if stage > 0 and block == 0 else 1))
                channels = width
            stages.append(nn.Sequential(*stack))
        self.layer1, self.layer2, self.layer3 = stages
        self.fc = nn.Linear(channels, classes)
        _initialise(self)

    def forward(self, x: Tensor) -> Tensor:
        """Logits of a batch."""
        y = F.relu_(self.bn1(self.conv1(x)))
        y = self.layer3(self.layer2(self.layer1(y)))
        return self.fc(y.mean(dim=(2, 3)))


class PreActBlock(nn.Module):
    """Wide pre-activation block (Zagoruyko & Komodakis 2016): BN-ReLU-conv twice, 1x1 shortcut where the shape changes."""

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(in_channels)
        self.conv1 = _conv3x3(in_channels, out_channels, stride)
        self.bn2 = nn.BatchNorm2d(out_channels)
        self.conv2 = _conv3x3(out_channels, out_channels)
        same = stride == 1 and in_channels == out_channels
        self.shortcut = None if same else nn.Conv2d(in_channels, out_channels, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Apply the block."""
        y = F.relu_(self.bn1(x))
        # Where the shape changes the shortcut takes the activated input, as in the authors' code.
        kept = x if self.shortcut is None else self.shortcut(y)
        return kept + self.conv2(F.relu_(self.bn2(self.conv1(y))))


class WideResNet(nn.Module):
    """WRN-(6n+4)-k (Zagoruyko & Komodakis 2016). Input (B, in_channels, H, W), output (B, classes)."""

    def __init__(self, blocks: int, widen: int, classes: int, in_channels: int = 3) -> None:
        super().__init__()
        self.conv1 = _conv3x3(in_channels, 16)
        channels = 16
        stages = []
        for stage, width in enumerate((16 * widen, 32 * widen, 64 * widen)):
            stack = []
            for block in range(blocks):
                stack.append(PreActBlock(channels, width, 2 if stage > 0 and block == 0 else 1))
                channels = width
            stages.append(nn.Sequential(*stack))
        self.layer1, self.layer2, self.layer3 = stages
        self.bn = nn.BatchNorm2d(channels)
        self.fc = nn.Linear(channels, classes)
        _initialise(self)

    def forward(self, x: Tensor) -> Tensor:
        """Logits of a batch."""
        y = self.layer3(self.layer2(self.layer1(self.conv1(x))))
        return self.fc(F.relu_(self.bn(y)).mean(dim=(2, 3)))


class Vgg9(nn.Module):
    """Six 3x3 convolutions with batch norm and three fully connected layers. Input (B, in_channels, 32, 32)."""

    def __init__(self, classes: int, in_channels: int = 3) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels = in_channels
        for width in (64, 128, 256):
            for _ in range(2):
                layers += [_conv3x3(channels, width), nn.BatchNorm2d(width), nn.ReLU(inplace=True)]
                channels = width
            layers.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Sequential(
            nn.Linear(channels * 16, 512), nn.ReLU(), nn.Linear(512, 512), nn.ReLU(), nn.Linear(512, classes)
        )
        _initialise(self)

    def forward(self, x: Tensor) -> Tensor:
        """Logits of a batch."""
        return self.classifier(self.features(x).flatten(1))


def _initialise(model: nn.Module) -> None:
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")


def _resnet(blocks: int) -> Callable[[int, int], nn.Module]:
    return lambda classes, in_channels: CifarResNet(blocks, classes, in_channels)


BUILDERS: dict[str, Callable[[int, int], nn.Module]] = {
    "resnet8": _resnet(1),
    "resnet20": _resnet(3),
    "resnet32": _resnet(5),
    "resnet44": _resnet(7),
    "resnet56": _resnet(9),
    "wrn16-4": lambda classes, in_channels: WideResNet(2, 4, classes, in_channels),
    "vgg9": lambda classes, in_channels: Vgg9(classes, in_channels),
}


def build(name: str, classes: int, in_channels: int = 3, seed: int = 0) -> nn.Module:
    """Build the zoo network `name` with freshly drawn weights, leaving torch's global random state as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return BUILDERS[name](classes, in_channels)
