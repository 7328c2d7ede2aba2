"""Shapes of the networks known by name, written down so that mapping them needs no deep-learning framework.

The names of the layers are those of the torch modules; a test traces the modules and compares.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from rankfold.workload.network import Network
from rankfold.workload.shape import ConvShape, Pair


class _Builder:
    """Collects layers while keeping track of the feature map's size."""

    def __init__(self, channels: int, plane: Pair) -> None:
        self.channels, self.plane = channels, plane
        self.layers: list[ConvShape] = []

    def conv(
        self, name: str, out: int, kernel: int, stride: int = 1, groups: int = 1, aside: tuple[int, Pair] | None = None
    ) -> None:
        """Append a convolution with 'half' padding; `aside` = (channels, plane) reads another input and leaves the state."""
        channels, plane = aside or (self.channels, self.plane)
        half = kernel // 2
        shape = ConvShape(name, channels, out, (kernel, kernel), plane, (stride, stride), (half,) * 4, groups=groups)
        self.layers.append(shape)
        if aside is None:
            self.channels, self.plane = out, shape.output

    def pool(self, kernel: int, stride: int, padding: int = 0) -> None:
        height, width = ((size + 2 * padding - kernel) // stride + 1 for size in self.plane)
        self.plane = (height, width)

    def linear(self, name: str, inputs: int, out: int) -> None:
        self.layers.append(ConvShape(name, inputs, out, (1, 1), (1, 1), kind="linear"))
        self.channels = out


Shapes = Callable[[tuple[int, int, int], int], list[ConvShape]]


def _cifar_resnet(blocks: int) -> Shapes:
    def build(image: tuple[int, int, int], classes: int) -> list[ConvShape]:
        net = _Builder(image[0], image[1:])
        net.conv("conv1", 16, 3)
        for stage, width in enumerate((16, 32, 64), start=1):
            for block in range(blocks):
                net.conv(f"layer{stage}.{block}.conv1", width, 3, 2 if stage > 1 and block == 0 else 1)
                net.conv(f"layer{stage}.{block}.conv2", width, 3)
        net.linear("fc", net.channels, classes)
        return net.layers

    return build


def _wide_resnet(image: tuple[int, int, int], classes: int) -> list[ConvShape]:
    net = _Builder(image[0], image[1:])
    net.conv("conv1", 16, 3)
    for stage, width in enumerate((64, 128, 256), start=1):
        for block in range(2):
            stride = 2 if stage > 1 and block == 0 else 1
            if block == 0:
                net.conv(f"layer{stage}.{block}.shortcut", width, 1, stride, aside=(net.channels, net.plane))
            net.conv(f"layer{stage}.{block}.conv1", width, 3, stride)
            net.conv(f"layer{stage}.{block}.conv2", width, 3)
    net.linear("fc", net.channels, classes)
    return net.layers


def _vgg9(image: tuple[int, int, int], classes: int) -> list[ConvShape]:
    net = _Builder(image[0], image[1:])
    index = 0
    for width in (64, 128, 256):
        for _ in range(2):
            net.conv(f"features.{index}", width, 3)
            index += 3
        net.pool(2, 2)
        index += 1
    net.linear("classifier.0", net.channels * net.plane[0] * net.plane[1], 512)
    net.linear("classifier.2", 512, 512)
    net.linear("classifier.4", 512, classes)
    return net.layers


def _vgg(widths: Iterable[int | str]) -> Shapes:
    def build(image: tuple[int, int, int], classes: int) -> list[ConvShape]:
        net = _Builder(image[0], image[1:])
        index = 0
        for width in widths:
            if isinstance(width, str):
                net.pool(2, 2)
                index += 1
            else:
                net.conv(f"features.{index}", width, 3)
                index += 2
        # torchvision pools to 7x7 before the classifier, whatever the input.
        net.linear("classifier.0", net.channels * 49, 4096)
        net.linear("classifier.3", 4096, 4096)
        net.linear("classifier.6", 4096, classes)
        return net.layers

    return build


def _resnet18(image: tuple[int, int, int], classes: int) -> list[ConvShape]:
    net = _Builder(image[0], image[1:])
    net.conv("conv1", 64, 7, 2)
    net.pool(3, 2, 1)
    for stage, width in enumerate((64, 128, 256, 512), start=1):
        for block in range(2):
            stride = 2 if stage > 1 and block == 0 else 1
            before = (net.channels, net.plane)
            net.conv(f"layer{stage}.{block}.conv1", width, 3, stride)
            net.conv(f"layer{stage}.{block}.conv2", width, 3)
            if stride > 1:
                net.conv(f"layer{stage}.{block}.downsample.0", width, 1, stride, aside=before)
    net.linear("fc", 512, classes)
    return net.layers


def _resnet50(image: tuple[int, int, int], classes: int) -> list[ConvShape]:
    net = _Builder(image[0], image[1:])
    net.conv("conv1", 64, 7, 2)
    net.pool(3, 2, 1)
    for stage, (width, blocks) in enumerate(zip((64, 128, 256, 512), (3, 4, 6, 3), strict=True), start=1):
        for block in range(blocks):
            stride = 2 if stage > 1 and block == 0 else 1
            before = (net.channels, net.plane)
            net.conv(f"layer{stage}.{block}.conv1", width, 1)
            net.conv(f"layer{stage}.{block}.conv2", width, 3, stride)
            net.conv(f"layer{stage}.{block}.conv3", 4 * width, 1)
            if block == 0:
                net.conv(f"layer{stage}.{block}.downsample.0", 4 * width, 1, stride, aside=before)
    net.linear("fc", 2048, classes)
    return net.layers


def _mobilenet_v2(image: tuple[int, int, int], classes: int) -> list[ConvShape]:
    net = _Builder(image[0], image[1:])
    net.conv("features.0.0", 32, 3, 2)
    index = 1
    settings = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))
    for expansion, width, repeats, first_stride in settings:
        for repeat in range(repeats):
            hidden, part = net.channels * expansion, 0
            if expansion > 1:
                net.conv(f"features.{index}.conv.0.0", hidden, 1)
                part = 1
            net.conv(f"features.{index}.conv.{part}.0", hidden, 3, first_stride if repeat == 0 else 1, groups=hidden)
            net.conv(f"features.{index}.conv.{part + 1}", width, 1)
            index += 1
    net.conv(f"features.{index}.0", 1280, 1)
    net.linear("classifier.1", 1280, classes)
    return net.layers


_VGG13 = (64, 64, "M", 128, 128, "M", 256, 256, "M", 512, 512, "M", 512, 512, "M")
_VGG16 = (64, 64, "M", 128, 128, "M", 256, 256, 256, "M", 512, 512, 512, "M", 512, 512, 512, "M")
_CIFAR, _IMAGENET = ((3, 32, 32), 10), ((3, 224, 224), 1000)

# name -> (shapes, ((C, H, W) by default, classes by default))
_ZOO: dict[str, tuple[Shapes, tuple[tuple[int, int, int], int]]] = {
    "resnet8": (_cifar_resnet(1), _CIFAR),
    "resnet20": (_cifar_resnet(3), _CIFAR),
    "resnet32": (_cifar_resnet(5), _CIFAR),
    "resnet44": (_cifar_resnet(7), _CIFAR),
    "resnet56": (_cifar_resnet(9), _CIFAR),
    "wrn16-4": (_wide_resnet, ((3, 32, 32), 100)),
    "vgg9": (_vgg9, _CIFAR),
    "vgg13": (_vgg(_VGG13), _IMAGENET),
    "vgg16": (_vgg(_VGG16), _IMAGENET),
    "resnet18": (_resnet18, _IMAGENET),
    "resnet50": (_resnet50, _IMAGENET),
    "mobilenetv2": (_mobilenet_v2, _IMAGENET),
}

ZOO = tuple(_ZOO)


def zoo_network(name: str, image: tuple[int, int, int] | None = None, classes: int | None = None) -> Network:
    """The network `name` (one of `ZOO`) on images of (C, H, W), by default those it was published for."""
    shapes, (default_image, default_classes) = _ZOO[name]
    image = image or default_image
    return Network(name, image, tuple(shapes(image, classes or default_classes)))
