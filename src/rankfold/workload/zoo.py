"""Shapes of the networks known by name, written down so that mapping them needs no deep-learning framework.

The names of the layers are those of the torch modules; a test traces the modules and compares.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from rankfold.arguments import TEXT, WHOLE, takes
from rankfold.errors import InputError
from rankfold.workload.flow import INPUT, FlowRecorder
from rankfold.workload.network import Network
from rankfold.workload.shape import ConvShape, Image, Pair, checked_image

Shapes = Callable[[Image, int], "_Builder"]  # of (C, H, W) and the number of classes


@dataclass(frozen=True)
class _Source:
    """A feature map: its channels, its plane, and the layer or join that makes it."""

    channels: int
    plane: Pair
    made_by: str


class _Builder:
    """Collects layers while keeping track of the feature map that the next one reads."""

    def __init__(self, image: Image) -> None:
        self.channels, *plane = image
        self.plane: Pair = (plane[0], plane[1])
        self.made_by = INPUT
        self.layers: list[ConvShape] = []
        self.flow = FlowRecorder()

    def conv(
        self,
        name: str,
        out: int,
        kernel: int,
        stride: int = 1,
        *,
        groups: int = 1,
    ) -> None:
        """Append a convolution with 'half' padding, which the next layer reads."""
        shape = self._append(
            name,
            self.source,
            out,
            kernel,
            stride=stride,
            groups=groups,
        )
        self.channels = out
        self.plane = shape.output
        self.made_by = name

    def shortcut(self, name: str, source: _Source, out: int, stride: int) -> _Source:
        """Append a 1x1 convolution beside the path of the others; returns what it makes."""
        shape = self._append(name, source, out, kernel=1, stride=stride)
        return _Source(out, shape.output, name)

    def add(self, other: _Source) -> None:
        """Add another feature map, which has the channels and the plane of this one or is cut to them."""
        values = self.channels * self.plane[0] * self.plane[1]
        parts = ((other.made_by, values), (self.made_by, values))
        self.made_by = self.flow.join(parts, values, self.plane)

    def _append(
        self,
        name: str,
        source: _Source,
        out: int,
        kernel: int,
        *,
        stride: int,
        groups: int = 1,
    ) -> ConvShape:
        half = kernel // 2
        shape = ConvShape(
            name,
            source.channels,
            out,
            (kernel, kernel),
            source.plane,
            (stride, stride),
            padding=(half, half, half, half),
            groups=groups,
        )
        self.layers.append(shape)
        self.flow.layer(name, source.made_by)
        return shape

    @property
    def source(self) -> _Source:
        """What the next layer reads."""
        return _Source(self.channels, self.plane, self.made_by)

    def pool(
        self,
        kernel: int,
        stride: int,
        padding: int = 0,
    ) -> None:
        # As a convolution counts its outputs; nothing is mapped of it.
        height, width = self.plane
        self.plane = (
            (height + 2 * padding - kernel) // stride + 1,
            (width + 2 * padding - kernel) // stride + 1,
        )

    def linear(
        self,
        name: str,
        inputs: int,
        out: int,
    ) -> None:
        layer = ConvShape(
            name,
            inputs,
            out,
            (1, 1),
            (1, 1),
            kind="linear",
        )
        self.layers.append(layer)
        self.flow.layer(name, self.made_by)
        self.channels = out
        self.made_by = name


def _stride(stage: int, block: int) -> int:
    """A stage halves the plane in its first block; the first stage does not."""
    if stage > 1 and block == 0:
        return 2
    return 1


def _cifar_resnet(blocks: int) -> Shapes:
    """He et al. 2016, section 4.2: three stages of basic blocks with parameter-free shortcuts."""

    def build(image: Image, classes: int) -> _Builder:
        net = _Builder(image)
        net.conv("conv1", 16, 3)
        for stage, width in enumerate((16, 32, 64), start=1):
            for block in range(blocks):
                prefix = f"layer{stage}.{block}"
                source = net.source
                net.conv(f"{prefix}.conv1", width, 3, _stride(stage, block))
                net.conv(f"{prefix}.conv2", width, 3)
                net.add(source)
        net.linear("fc", net.channels, classes)
        return net

    return build


def _wide_resnet(image: Image, classes: int) -> _Builder:
    """WRN-16-4 of Zagoruyko & Komodakis 2016."""
    net = _Builder(image)
    net.conv("conv1", 16, 3)
    for stage, width in enumerate((64, 128, 256), start=1):
        for block in range(2):
            prefix = f"layer{stage}.{block}"
            stride = _stride(stage, block)
            beside = net.source
            # The module runs its shortcut before the convolutions beside it.
            if block == 0:
                beside = net.shortcut(f"{prefix}.shortcut", net.source, width, stride)
            net.conv(f"{prefix}.conv1", width, 3, stride)
            net.conv(f"{prefix}.conv2", width, 3)
            net.add(beside)
    net.linear("fc", net.channels, classes)
    return net


def _vgg9(image: Image, classes: int) -> _Builder:
    net = _Builder(image)
    index = 0
    for width in (64, 128, 256):
        for _ in range(2):
            net.conv(f"features.{index}", width, 3)
            index += 3  # batch norm and activation come behind a convolution
        net.pool(2, 2)
        index += 1
    height, width = net.plane
    net.linear("classifier.0", net.channels * height * width, 512)
    net.linear("classifier.2", 512, 512)
    net.linear("classifier.4", 512, classes)
    return net


def _vgg(widths: Iterable[int | str]) -> Shapes:
    """Simonyan & Zisserman 2015: 3x3 convolutions of these widths, and "M" for a pooling."""

    def build(image: Image, classes: int) -> _Builder:
        net = _Builder(image)
        index = 0
        for width in widths:
            if isinstance(width, str):
                net.pool(2, 2)
                index += 1
            else:
                net.conv(f"features.{index}", width, 3)
                index += 2  # an activation comes behind a convolution
        # torchvision pools to 7x7 before the classifier, whatever the input.
        net.linear("classifier.0", net.channels * 49, 4096)
        net.linear("classifier.3", 4096, 4096)
        net.linear("classifier.6", 4096, classes)
        return net

    return build


def _resnet18(image: Image, classes: int) -> _Builder:
    net = _Builder(image)
    net.conv("conv1", 64, 7, 2)
    net.pool(3, 2, 1)
    for stage, width in enumerate((64, 128, 256, 512), start=1):
        for block in range(2):
            prefix = f"layer{stage}.{block}"
            stride = _stride(stage, block)
            beside = net.source
            net.conv(f"{prefix}.conv1", width, 3, stride)
            net.conv(f"{prefix}.conv2", width, 3)
            # Unlike in ResNet-50, the first stage keeps its channels and needs no projection.
            if stride > 1:
                beside = net.shortcut(f"{prefix}.downsample.0", beside, width, stride)
            net.add(beside)
    # The plane is averaged before, so that any image will do.
    net.linear("fc", 512, classes)
    return net


def _resnet50(image: Image, classes: int) -> _Builder:
    net = _Builder(image)
    net.conv("conv1", 64, 7, 2)
    net.pool(3, 2, 1)
    stages = ((64, 3), (128, 4), (256, 6), (512, 3))  # (width, blocks)
    for stage, (width, blocks) in enumerate(stages, start=1):
        for block in range(blocks):
            prefix = f"layer{stage}.{block}"
            stride = _stride(stage, block)
            beside = net.source
            net.conv(f"{prefix}.conv1", width, 1)
            net.conv(f"{prefix}.conv2", width, 3, stride)
            net.conv(f"{prefix}.conv3", 4 * width, 1)
            if block == 0:
                beside = net.shortcut(f"{prefix}.downsample.0", beside, 4 * width, stride)
            net.add(beside)
    net.linear("fc", 2048, classes)
    return net


# (expansion, width, blocks, stride of the first block), table 2 of Sandler et al. 2018
_MOBILENET_V2_STAGES = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)


def _mobilenet_v2(image: Image, classes: int) -> _Builder:
    net = _Builder(image)
    net.conv("features.0.0", 32, 3, 2)
    index = 1
    # Each block is one feature of the module, whatever its stage.
    for expansion, width, blocks, first_stride in _MOBILENET_V2_STAGES:
        strides = [first_stride] + [1] * (blocks - 1)
        for stride in strides:
            _inverted_residual(
                net,
                f"features.{index}.conv",
                expansion,
                width,
                stride,
            )
            index += 1
    net.conv(f"features.{index}.0", 1280, 1)
    net.linear("classifier.1", 1280, classes)
    return net


def _inverted_residual(
    net: _Builder,
    prefix: str,
    expansion: int,
    width: int,
    stride: int,
) -> None:
    """Expand by a 1x1 convolution, filter each channel alone, and reduce to `width` channels."""
    source = net.source
    hidden = net.channels * expansion
    part = 0
    if expansion > 1:
        net.conv(f"{prefix}.{part}.0", hidden, 1)
        part += 1
    net.conv(f"{prefix}.{part}.0", hidden, 3, stride, groups=hidden)
    net.conv(f"{prefix}.{part + 1}", width, 1)
    if stride == 1 and source.channels == width:
        net.add(source)


# Configurations B and D of table 1 of Simonyan & Zisserman 2015
_VGG13 = (64, 64, "M", 128, 128, "M", 256, 256, "M", 512, 512, "M", 512, 512, "M")
_VGG16 = (64, 64, "M", 128, 128, "M", 256, 256, 256, "M", 512, 512, 512, "M", 512, 512, 512, "M")


@dataclass(frozen=True)
class _Known:
    """A network with the images, (C, H, W), and the classes that it was published for."""

    shapes: Shapes
    image: Image
    classes: int


def _for_cifar(shapes: Shapes, classes: int = 10) -> _Known:
    return _Known(shapes, (3, 32, 32), classes)


def _for_imagenet(shapes: Shapes) -> _Known:
    return _Known(shapes, (3, 224, 224), 1000)


_ZOO = {
    "resnet8": _for_cifar(_cifar_resnet(1)),
    "resnet20": _for_cifar(_cifar_resnet(3)),
    "resnet32": _for_cifar(_cifar_resnet(5)),
    "resnet44": _for_cifar(_cifar_resnet(7)),
    "resnet56": _for_cifar(_cifar_resnet(9)),
    "wrn16-4": _for_cifar(_wide_resnet, classes=100),
    "vgg9": _for_cifar(_vgg9),
    "vgg13": _for_imagenet(_vgg(_VGG13)),
    "vgg16": _for_imagenet(_vgg(_VGG16)),
    "resnet18": _for_imagenet(_resnet18),
    "resnet50": _for_imagenet(_resnet50),
    "mobilenetv2": _for_imagenet(_mobilenet_v2),
}

ZOO = tuple(_ZOO)


@takes(name=TEXT, classes=WHOLE.or_none)
def zoo_network(
    name: str,
    image: Image | None = None,
    classes: int | None = None,
) -> Network:
    """The network `name` (one of `ZOO`) on images of (C, H, W), by default those it was published for.

    Raises:
        InputError: there is no such network, or `image` is no size of an image.
    """
    if name not in _ZOO:
        raise InputError(f"unknown network {name}; known are {', '.join(ZOO)}")
    known = _ZOO[name]
    if image is None:
        image = known.image
    image = checked_image(image)
    built = known.shapes(image, classes or known.classes)
    return Network(name, image, tuple(built.layers), flow=built.flow.flow(built.layers))
