"""Networks of other libraries by name: `timm:resnet50`, `torchvision:resnet50`, `hf:microsoft/resnet-50`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from torch import nn

from rankfold.errors import InputError, MissingDependencyError, first_line

PRETRAINED = ":pretrained"
IMAGE = (3, 224, 224)  # what all three libraries' vision networks are published for, unless they say otherwise


@dataclass(frozen=True)
class LibraryModel:
    """A network of a library.

    Attributes:
        prefix: of `Library` below.
        name: what the library calls it.
        pretrained: whether it comes with published weights, rather than fresh ones.
    """

    prefix: str
    name: str
    pretrained: bool

    @classmethod
    def parse(cls, text: str) -> LibraryModel | None:
        """Read `timm:NAME` or `timm:NAME:pretrained`; None for a text without a library's prefix."""
        prefix, colon, name = text.partition(":")
        if not colon or prefix not in LIBRARIES:
            return None
        pretrained = name.endswith(PRETRAINED)
        name = name.removesuffix(PRETRAINED)
        if not name:
            raise InputError(f"model {text} names no network; write {prefix}:NAME, such as {LIBRARIES[prefix].example}")
        return cls(prefix, name, pretrained)

    def build(self, classes: int | None, in_channels: int) -> nn.Module:
        """The network, with `classes` outputs (None: as published).

        Raises:
            MissingDependencyError: the library is not installed.
            InputError: it has no such network, or cannot build it so.
        """
        library = LIBRARIES[self.prefix]
        try:
            package = import_module(library.package)
        except ImportError as error:
            raise MissingDependencyError(
                f"{self.prefix}:{self.name} needs the package {library.package}, which cannot be imported ({error}): "
                f"pip install {library.package}"
            ) from None
        try:
            return library.build(package, self, classes, in_channels)
        except InputError:
            raise
        except Exception as error:  # the library may raise anything
            raise InputError(
                f"{library.package} cannot make {self.name} for {in_channels} channels: {first_line(error)}"
            ) from error


@dataclass(frozen=True)
class Library:
    """How a library makes its networks."""

    package: str
    example: str
    build: Callable[[Any, LibraryModel, int | None, int], nn.Module]


def _timm(timm: Any, model: LibraryModel, classes: int | None, in_channels: int) -> nn.Module:
    known = {} if classes is None else {"num_classes": classes}
    built: nn.Module = timm.create_model(model.name, pretrained=model.pretrained, in_chans=in_channels, **known)
    return built


def _torchvision(torchvision: Any, model: LibraryModel, classes: int | None, in_channels: int) -> nn.Module:
    models = import_module("torchvision.models")
    if model.pretrained:
        raise InputError(
            "torchvision loads its published weights by unpickling them, which is never done here; save their state dict and "
            f"give it as a checkpoint (--checkpoint FILE), or use timm:{model.name}{PRETRAINED}"
        )
    known = {} if classes is None else {"num_classes": classes}
    built: nn.Module = models.get_model(model.name, weights=None, **known)
    if in_channels != 3:
        raise InputError(f"torchvision's networks take 3 channels, the images have {in_channels}; use timm:{model.name}")
    return built


def _hugging_face(transformers: Any, model: LibraryModel, classes: int | None, in_channels: int) -> nn.Module:
    automatic = transformers.AutoModelForImageClassification
    if model.pretrained:
        known = {} if classes is None else {"num_labels": classes, "ignore_mismatched_sizes": True}
        # Only safetensors: the older files of the hub are pickles.
        built = automatic.from_pretrained(model.name, use_safetensors=True, **known)
    else:
        known = {"num_channels": in_channels} | ({} if classes is None else {"num_labels": classes})
        built = automatic.from_config(transformers.AutoConfig.from_pretrained(model.name, **known))
    built.register_forward_hook(_logits)
    module: nn.Module = built
    return module


def _logits(_: nn.Module, inputs: Any, output: Any) -> Any:
    """The logits alone, where a network returns them among other things."""
    return getattr(output, "logits", output)


def preferred_image(model: nn.Module) -> tuple[int, int, int]:
    """(C, H, W) that a library's network says it was made for, else 3x224x224."""
    settings = getattr(model, "pretrained_cfg", None) or getattr(model, "default_cfg", None)
    if isinstance(settings, dict) and len(settings.get("input_size", ())) == 3:
        channels, height, width = settings["input_size"]
        return channels, height, width
    config = getattr(model, "config", None)
    size, channels = getattr(config, "image_size", None), getattr(config, "num_channels", IMAGE[0])
    if isinstance(size, int):
        return channels, size, size
    if isinstance(size, (tuple, list)) and len(size) == 2:
        return channels, size[0], size[1]
    return (channels, *IMAGE[1:]) if isinstance(channels, int) else IMAGE


LIBRARIES = {
    "timm": Library("timm", "timm:resnet50", _timm),
    "torchvision": Library("torchvision", "torchvision:resnet50", _torchvision),
    "hf": Library("transformers", "hf:microsoft/resnet-50", _hugging_face),
}
