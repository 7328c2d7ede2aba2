"""Networks from the user: by name from the zoo, or from a factory in a package of theirs; and their weights."""

from __future__ import annotations

import importlib
import inspect
import sys
from pathlib import Path

import torch
from torch import Tensor, nn

from rankfold.errors import InputError
from rankfold.models.libraries import LibraryModel
from rankfold.models.torch_export import SUFFIX, load_exported
from rankfold.models.zoo import BUILDERS, build


def load_model(name: str, classes: int, in_channels: int = 3, seed: int = 0) -> nn.Module:
    """Build the network called `name`.

    Args:
        name: a zoo network; a `torch.export` file (.pt2), whose classes are those it was exported with; `timm:NAME`,
            `torchvision:NAME` or `hf:NAME`, the first and last with `:pretrained` too; or `package.module:factory`, a
            callable that returns an `nn.Module`. A factory that has parameters called `num_classes` (or `classes`) and
            `in_channels` is given them.
        classes: number of classes.
        in_channels: channels of the images.
        seed: fixes freshly drawn weights; torch's global random state is left as it was.

    Raises:
        MissingDependencyError: the library that the name asks for is not installed.
        InputError: no such name, or the file or factory cannot be imported, fails, or returns no module.
    """
    if name.lower().endswith(SUFFIX):
        return load_exported(name)[0]
    library = LibraryModel.parse(name)
    if library is not None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return library.build(classes, in_channels)
    if ":" not in name:
        if name not in BUILDERS:
            raise InputError(
                f"unknown model {name}; known are {', '.join(BUILDERS)}, or give a .pt2 file, timm:NAME, torchvision:NAME, "
                "hf:NAME or package.module:factory"
            )
        return build(name, classes, in_channels, seed)
    module_name, _, attribute = name.partition(":")
    here = str(Path.cwd())
    if here not in sys.path:  # a console script does not look in the current folder, where the user's file lies
        sys.path.insert(0, here)
    try:
        factory = getattr(importlib.import_module(module_name), attribute)
    except Exception as error:  # an import runs the user's code, which may raise anything
        raise InputError(f"model {name} cannot be imported: {error}; expected package.module:factory") from error
    if not callable(factory):
        raise InputError(f"model {name} is a {type(factory).__name__}; expected a function or class that returns an nn.Module")
    try:
        known = set(inspect.signature(factory).parameters)
    except (TypeError, ValueError):
        known = set()
    offered = {"num_classes": classes, "classes": classes, "in_channels": in_channels}
    arguments = {key: value for key, value in offered.items() if key in known}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        try:
            model = factory(**arguments)
        except Exception as error:  # the user's code may raise anything
            raise InputError(
                f"the factory of model {name} failed: {error}; it must run as {attribute}({_call(arguments)})"
            ) from error
    if not isinstance(model, nn.Module):
        raise InputError(f"the factory of model {name} returned a {type(model).__name__}; it must return an nn.Module")
    return model


def brings_weights(name: str) -> bool:
    """Whether the network that `load_model` builds has all its trained weights, as that of an exported file has.

    Published weights of a library do not count: for other classes than they were trained for, the classifier is fresh.
    """
    return name.lower().endswith(SUFFIX)


def _call(arguments: dict[str, int]) -> str:
    return ", ".join(f"{key}={value}" for key, value in arguments.items())


def check_classes(model: nn.Module, name: str, image: tuple[int, int, int], classes: int) -> None:
    """Check that `model` gives one logit per class for images of (C, H, W).

    Raises:
        InputError: its output has another shape.
    """
    was_training = model.training
    model.eval()
    parameter = next(model.parameters())
    with torch.no_grad():
        output = model(torch.zeros(1, *image, device=parameter.device, dtype=parameter.dtype))
    model.train(was_training)
    if not isinstance(output, Tensor) or tuple(output.shape) != (1, classes):
        shape = tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__
        raise InputError(
            f"model {name} gives an output of {shape} for one image, the data has {classes} classes: expected (1, {classes})"
        )


def read_weights(path: str | Path) -> dict[str, Tensor]:
    """Read a state dict from safetensors, or from a torch file without unpickling code.

    Raises:
        InputError: the file is missing, damaged, or holds something else.
    """
    source = Path(path)
    if not source.is_file():
        raise InputError(f"checkpoint {source} does not exist; give a .safetensors file or a torch state dict")
    try:
        if source.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(source)
        content = torch.load(source, map_location="cpu", weights_only=True)
    except Exception as error:  # damaged files raise anything from EOFError to SafetensorError
        raise InputError(
            f"checkpoint {source} is truncated, damaged or not a plain state dict; give a .safetensors file or one saved with "
            "torch.save(model.state_dict(), ...)"
        ) from error
    if isinstance(content, dict) and isinstance(content.get("state_dict"), dict):
        content = content["state_dict"]
    if not isinstance(content, dict) or not content or not all(isinstance(value, Tensor) for value in content.values()):
        raise InputError(f"checkpoint {source} holds no state dict; give one saved with torch.save(model.state_dict(), ...)")
    # Data-parallel wrappers prefix every name.
    prefix = "module."
    return {
        key.removeprefix(prefix) if all(k.startswith(prefix) for k in content) else key: value for key, value in content.items()
    }


def apply_weights(model: nn.Module, weights: dict[str, Tensor], where: str) -> None:
    """Load `weights` into `model`, every name and shape agreeing.

    Raises:
        InputError: names or shapes differ; the message names the first of them.
    """
    own = model.state_dict()
    for problem, names in (("lacks", own.keys() - weights.keys()), ("also holds", weights.keys() - own.keys())):
        # Batch-norm counters are not weights and older files lack them.
        names = {name for name in names if not name.endswith("num_batches_tracked")}
        if names:
            raise InputError(
                f"checkpoint {where} is for another network: it {problem} {min(names)} ({len(names)} such); give this network's"
            )
    for name, value in weights.items():
        if name in own and own[name].shape != value.shape:
            raise InputError(
                f"checkpoint {where} is for another network or number of classes: {name} is {tuple(value.shape)} there, "
                f"{tuple(own[name].shape)} here"
            )
    model.load_state_dict(weights, strict=False)
