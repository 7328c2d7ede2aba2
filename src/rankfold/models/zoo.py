"""The model zoo as torch modules: CIFAR ResNets, a wide ResNet and a small VGG."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rankfold.nn.rectified import rectified_norm
from rankfold.nn.slices import sliced

Builder = Callable[[int, int], nn.Module]  # of the numbers of classes and of channels
Block = Callable[[int, int, int], nn.Module]  # of the numbers of channels, in and out, and of the stride


def _conv3x3(
    in_channels: int,
    out_channels: int,
    stride: int = 1,
) -> nn.Conv2d:
    return nn.Conv2d(
        in_channels,
        out_channels,
        3,
        stride,
        padding=1,
        bias=False,
    )


def _stages(
    block: Block,
    in_channels: int,
    widths: Sequence[int],
    blocks: int,
) -> list[nn.Sequential]:
    """Stages of so many blocks each, which all but the first begin by halving the plane."""
    stages: list[nn.Sequential] = []
    channels = in_channels
    stride = 1
    for width in widths:
        first = block(channels, width, stride)
        others = [block(width, width, 1) for _ in range(blocks - 1)]
        stages.append(nn.Sequential(first, *others))
        channels = width
        stride = 2
    return stages


class ShortcutA(nn.Module):
    """Parameter-free shortcut, option A of He et al. 2016.

    Subsample by `stride`, then append `extra` zero channels.
    """

    def __init__(self, stride: int, extra: int) -> None:
        super().__init__()
        self.stride = stride
        self.extra = extra

    def forward(self, x: Tensor) -> Tensor:
        """Subsample and pad: (B, C, H, W) -> (B, C + extra, ceil(H/stride), ceil(W/stride))."""
        every = slice(None)
        step = slice(None, None, self.stride)
        sampled = sliced(x, (every, every, step, step))
        # (left, right, top, bottom, first channels, last channels)
        return F.pad(sampled, (0, 0, 0, 0, 0, self.extra))


class BasicBlock(nn.Module):
    """Two 3x3 convolutions with a parameter-free shortcut (He et al. 2016, figure 2)."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        stride: int,
    ) -> None:
        super().__init__()
        self.conv1 = _conv3x3(in_channels, out_channels, stride)
        self.bn1 = nn.BatchNorm2d(out_channels)
        self.conv2 = _conv3x3(out_channels, out_channels)
        self.bn2 = nn.BatchNorm2d(out_channels)
        self.shortcut: nn.Module
        if stride == 1 and in_channels == out_channels:
            self.shortcut = nn.Identity()
        else:
            self.shortcut = ShortcutA(stride, out_channels - in_channels)

    def forward(self, x: Tensor) -> Tensor:
        """Apply the block."""
        y = rectified_norm(self.bn1, self.conv1(x), reader=self.conv2)
        return rectified_norm(self.bn2, y, self.shortcut(x))


class CifarResNet(nn.Module):
    """ResNet for small images (He et al. 2016, section 4.2): depth 6n+2, three stages of n basic blocks.

    Input (B, in_channels, H, W), output (B, classes).
    """

    def __init__(
        self,
        blocks: int,
        classes: int,
        in_channels: int = 3,
    ) -> None:
        super().__init__()
        # No pooling and no large kernel: images are small.
        self.conv1 = _conv3x3(in_channels, 16)
        self.bn1 = nn.BatchNorm2d(16)
        self.layer1, self.layer2, self.layer3 = _stages(BasicBlock, 16, (16, 32, 64), blocks)
        self.fc = nn.Linear(64, classes)
        _initialise(self)

    def forward(self, x: Tensor) -> Tensor:
        """Logits of a batch."""
        y = rectified_norm(self.bn1, self.conv1(x))
        y = self.layer1(y)
        y = self.layer2(y)
        y = self.layer3(y)
        return self.fc(y.mean(dim=(2, 3)))


class PreActBlock(nn.Module):
    """Wide pre-activation block (Zagoruyko & Komodakis 2016).

    BN-ReLU-conv twice, and a 1x1 shortcut where the shape changes.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        stride: int,
    ) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(in_channels)
        self.conv1 = _conv3x3(in_channels, out_channels, stride)
        self.bn2 = nn.BatchNorm2d(out_channels)
        self.conv2 = _conv3x3(out_channels, out_channels)
        self.shortcut: nn.Conv2d | None = None
        if stride > 1 or in_channels != out_channels:
            self.shortcut = nn.Conv2d(
                in_channels,
                out_channels,
                1,
                stride,
                bias=False,
            )

    def forward(self, x: Tensor) -> Tensor:
        """Apply the block."""
        if self.shortcut is None:
            kept = x
            y = rectified_norm(self.bn1, x, reader=self.conv1)
        else:
            # Where the shape changes the shortcut takes the activated input, as in the authors' code.
            y = rectified_norm(self.bn1, x)
            kept = self.shortcut(y)
            y = self.conv1(y)
        return kept + rectified_norm(self.bn2, y, reader=self.conv2)


class WideResNet(nn.Module):
    """WRN-(6n+4)-k (Zagoruyko & Komodakis 2016). Input (B, in_channels, H, W), output (B, classes)."""

    def __init__(
        self,
        blocks: int,
        widen: int,
        classes: int,
        in_channels: int = 3,
    ) -> None:
        super().__init__()
        widths = (16 * widen, 32 * widen, 64 * widen)
        self.conv1 = _conv3x3(in_channels, 16)
        self.layer1, self.layer2, self.layer3 = _stages(PreActBlock, 16, widths, blocks)
        self.bn = nn.BatchNorm2d(widths[-1])
        self.fc = nn.Linear(widths[-1], classes)
        _initialise(self)

    def forward(self, x: Tensor) -> Tensor:
        """Logits of a batch."""
        y = self.conv1(x)
        y = self.layer1(y)
        y = self.layer2(y)
        y = self.layer3(y)
        # Blocks begin with their activation, so that the last one's is missing.
        y = rectified_norm(self.bn, y)
        return self.fc(y.mean(dim=(2, 3)))


class Vgg9(nn.Module):
    """Six 3x3 convolutions with batch norm, three fully connected layers. Input (B, in_channels, 32, 32)."""

    def __init__(self, classes: int, in_channels: int = 3) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels = in_channels
        for width in (64, 128, 256):
            for _ in range(2):
                layers.append(_conv3x3(channels, width))
                layers.append(nn.BatchNorm2d(width))
                layers.append(nn.ReLU(inplace=True))
                channels = width
            layers.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*layers)
        # Three poolings leave a plane of 4x4.
        self.classifier = nn.Sequential(
            nn.Linear(channels * 16, 512),
            nn.ReLU(),
            nn.Linear(512, 512),
            nn.ReLU(),
            nn.Linear(512, classes),
        )
        _initialise(self)

    def forward(self, x: Tensor) -> Tensor:
        """Logits of a batch."""
        features = self.features(x)
        return self.classifier(features.flatten(1))


def _initialise(model: nn.Module) -> None:
    """He et al. 2015, by outputs."""
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")


def _resnet(blocks: int) -> Builder:
    return lambda classes, in_channels: CifarResNet(blocks, classes, in_channels)


def _wrn16_4(classes: int, in_channels: int) -> nn.Module:
    return WideResNet(2, 4, classes, in_channels)


BUILDERS: dict[str, Builder] = {
    "resnet8": _resnet(1),
    "resnet20": _resnet(3),
    "resnet32": _resnet(5),
    "resnet44": _resnet(7),
    "resnet56": _resnet(9),
    "wrn16-4": _wrn16_4,
    "vgg9": Vgg9,
}


def build(
    name: str,
    classes: int,
    in_channels: int = 3,
    seed: int = 0,
) -> nn.Module:
    """Build the zoo network `name` with freshly drawn weights.

    torch's global random state is left as it was.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return BUILDERS[name](classes, in_channels)
