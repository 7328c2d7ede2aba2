"""Networks of other libraries by name: `timm:resnet50`, `torchvision:resnet50`, `hf:microsoft/resnet-50`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from torch import Tensor, nn

from rankfold.errors import InputError, MissingDependencyError, first_line

PRETRAINED = ":pretrained"
# What all three libraries' vision networks are published for, unless they say otherwise.
CHANNELS = 3
PLANE = (224, 224)


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
        """Read `timm:NAME` or `timm:NAME:pretrained`; None for a text without a library's prefix.

        Raises:
            InputError: there is no name behind the prefix.
        """
        prefix, colon, name = text.partition(":")
        if not colon or prefix not in LIBRARIES:
            return None
        pretrained = name.endswith(PRETRAINED)
        name = name.removesuffix(PRETRAINED)
        if not name:
            example = LIBRARIES[prefix].example
            raise InputError(f"model {text} names no network; write {prefix}:NAME, such as {example}")
        return cls(prefix, name, pretrained)

    def build(self, classes: int | None, in_channels: int) -> nn.Module:
        """The network, with `classes` outputs (None: as published).

        Raises:
            MissingDependencyError: the library is not installed.
            InputError: it has no such network, or cannot build it so.
        """
        library = LIBRARIES[self.prefix]
        # Imported only when asked for: none of these libraries has to be installed.
        try:
            package = import_module(library.package)
        except ImportError as error:
            raise MissingDependencyError(
                f"{self.prefix}:{self.name} needs the package {library.package}, "
                f"which cannot be imported ({error}): pip install {library.package}"
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
    """How a library makes its networks.

    Attributes:
        package: what is imported.
        example: a name to show.
        build: makes a network of the package for a number of classes (None: as published) and of channels.
    """

    package: str
    example: str
    build: Callable[[Any, LibraryModel, int | None, int], nn.Module]


def _timm(
    timm: Any,
    model: LibraryModel,
    classes: int | None,
    in_channels: int,
) -> nn.Module:
    options: dict[str, Any] = {"pretrained": model.pretrained, "in_chans": in_channels}
    if classes is not None:
        options["num_classes"] = classes
    built: nn.Module = timm.create_model(model.name, **options)
    return built


def _torchvision(
    torchvision: Any,
    model: LibraryModel,
    classes: int | None,
    in_channels: int,
) -> nn.Module:
    if model.pretrained:
        raise InputError(
            "torchvision loads its published weights by unpickling them, which is never done here; "
            "save their state dict and load it into the network (load_state_dict), "
            f"or use timm:{model.name}{PRETRAINED}"
        )
    options: dict[str, Any] = {"weights": None}
    if classes is not None:
        options["num_classes"] = classes
    models = import_module("torchvision.models")
    built: nn.Module = models.get_model(model.name, **options)
    # After it was built, so that a name that torchvision does not know is told first.
    if in_channels != CHANNELS:
        raise InputError(
            f"torchvision's networks take 3 channels, the images have {in_channels}; use timm:{model.name}"
        )
    return built


def _hugging_face(
    transformers: Any,
    model: LibraryModel,
    classes: int | None,
    in_channels: int,
) -> nn.Module:
    automatic = transformers.AutoModelForImageClassification
    options: dict[str, Any] = {}
    if classes is not None:
        options["num_labels"] = classes
    built: nn.Module
    if model.pretrained:
        if classes is not None:
            options["ignore_mismatched_sizes"] = True  # of the classifier, which is made anew
        # Only safetensors: the older files of the hub are pickles.
        built = automatic.from_pretrained(model.name, use_safetensors=True, **options)
    else:
        options["num_channels"] = in_channels
        config = transformers.AutoConfig.from_pretrained(model.name, **options)
        built = automatic.from_config(config)
    gives_logits_(built)
    return built


def gives_logits_(model: nn.Module) -> None:
    """Make a network give one tensor, in place, so that it can be called as any other here.

    Of several outputs that is the one called `logits`, else the first tensor.
    """
    # A hook would keep a network that is a single layer from being replaced; and it gives a tensor anyhow.
    if not isinstance(model, (nn.Conv2d, nn.Linear)):
        model.register_forward_hook(_logits)


def _logits(
    _: nn.Module,
    inputs: Any,
    output: Any,
) -> Any:
    """The logits alone, where a network returns them among other things."""
    if isinstance(output, Tensor):
        return output
    named = getattr(output, "logits", None)
    if named is None and isinstance(output, Mapping):
        named = output.get("logits")
    if isinstance(named, Tensor):
        return named
    several = output
    if isinstance(output, Mapping):
        several = output.values()
    if isinstance(several, Iterable):
        for value in several:
            if isinstance(value, Tensor):
                return value
    return output


def preferred_image(model: nn.Module) -> tuple[int, int, int]:
    """(C, H, W) that a library's network says it was made for, else 3x224x224."""
    # Timm keeps it with the network.
    settings = getattr(model, "pretrained_cfg", None) or getattr(model, "default_cfg", None)
    if isinstance(settings, dict) and len(settings.get("input_size", ())) == 3:
        channels, height, width = settings["input_size"]
        return channels, height, width
    # Networks of Hugging Face have a configuration, which may leave either out.
    config = getattr(model, "config", None)
    channels = getattr(config, "num_channels", CHANNELS)
    size = getattr(config, "image_size", None)
    if isinstance(size, int):
        return channels, size, size
    if isinstance(size, (tuple, list)) and len(size) == 2:
        return channels, size[0], size[1]
    if not isinstance(channels, int):
        channels = CHANNELS
    return channels, *PLANE


LIBRARIES = {
    "timm": Library("timm", "timm:resnet50", _timm),
    "torchvision": Library("torchvision", "torchvision:resnet50", _torchvision),
    "hf": Library("transformers", "hf:microsoft/resnet-50", _hugging_face),
}
