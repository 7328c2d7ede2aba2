"""Networks from the user: by name from the zoo, or from a factory of theirs; and their weights."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from rankfold.arguments import TEXT, WHOLE, takes
from rankfold.errors import InputError, did_you_mean, first_line
from rankfold.models.device import device_of, dtype_of
from rankfold.models.finite import check_numbers
from rankfold.models.libraries import LibraryModel, gives_logits_
from rankfold.models.stored_weights import expanded
from rankfold.models.torch_export import SUFFIX, load_exported
from rankfold.models.user_code import imported
from rankfold.models.zoo import BUILDERS, build
from rankfold.nn.sub_pixel import replace_transposed_, with_sub_pixel_weights
from rankfold.workload.shape import Image

WRAPPER = "module."  # data-parallel wrappers put it in front of every name
COUNTER = "num_batches_tracked"  # of batch norm, which older files lack


@takes(name=TEXT, classes=WHOLE.or_none, in_channels=WHOLE, seed=WHOLE)
def load_model(
    name: str,
    classes: int | None = None,
    in_channels: int = 3,
    seed: int = 0,
    *,
    image: Image | None = None,
) -> nn.Module:
    """Build the network called `name`.

    Transposed convolutions become the sub-pixel convolutions that they equal, see `replace_transposed_`.

    Args:
        name: a zoo network; a `torch.export` file (.pt2) or an ONNX file (.onnx), whose classes are its own;
            `timm:NAME`, `torchvision:NAME` or `hf:NAME`, the first and last with `:pretrained` too; or
            `package.module:factory`, a callable that returns an `nn.Module`. A factory that has parameters
            called `num_classes` (or `classes`) and `in_channels` is given them.
        classes: number of classes; files have their own.
        in_channels: channels of the images.
        seed: fixes freshly drawn weights; torch's global random state is left as it was.
        image: (C, H, W), where an ONNX file leaves its sizes open, or is to take images of others.

    Raises:
        MissingDependencyError: the library that the name asks for is not installed.
        InputError: no such name, or the file or factory cannot be imported, fails, or returns no module;
            or the classes of a network that is no file are not said.
    """
    for label, count in (("classes", classes), ("in_channels", in_channels)):
        if count is not None and count < 1:
            raise InputError(f"{label} (={count}) must be 1 or more")
    model = _built(name, classes, in_channels, seed, image)
    replace_transposed_(model)
    return model


def _built(name: str, classes: int | None, in_channels: int, seed: int, image: Image | None) -> nn.Module:
    """The network of `load_model`, as its source has it."""
    if is_onnx(name):
        from rankfold.models.onnx import load_onnx

        return load_onnx(name, image)
    if brings_weights(name):
        return load_exported(name)[0]
    if classes is None:
        raise InputError(f"classes is missing: say how many {name} tells apart, such as classes=10")
    # A library's prefix goes before a package of the user's that has the same name.
    library = LibraryModel.parse(name)
    if library is not None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return library.build(classes, in_channels)
    if name in BUILDERS:
        return build(name, classes, in_channels, seed)
    check_name(name)
    factory = imported(name, "model", "a function or class that returns an nn.Module")
    offered = {"num_classes": classes, "classes": classes, "in_channels": in_channels}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return _made(name, factory, offered)


def _made(
    name: str,
    factory: Callable[..., Any],
    offered: Mapping[str, int],
) -> nn.Module:
    """What a factory returns for those of the offered arguments that it takes."""
    try:
        parameters = set(inspect.signature(factory).parameters)
    except (TypeError, ValueError):  # some callables in C do not tell
        parameters = set()
    arguments = {key: value for key, value in offered.items() if key in parameters}
    try:
        model = factory(**arguments)
    except (Exception, SystemExit) as error:  # the user's code may raise anything
        written = ", ".join(f"{key}={value}" for key, value in arguments.items())
        _, _, attribute = name.partition(":")
        raise InputError(
            f"the factory of model {name} failed: {first_line(error)}; it must run as {attribute}({written})"
        ) from error
    if not isinstance(model, nn.Module):
        raise InputError(
            f"the factory of model {name} returned a {type(model).__name__}; it must return an nn.Module"
        )
    gives_logits_(model)
    return model


def check_name(name: str) -> None:
    """Refuse what `load_model` cannot take for the name of a network, without looking for any.

    Raises:
        InputError: it is neither in the zoo nor a file, and has no `:` between a place and a name.
    """
    if name in BUILDERS or brings_weights(name) or ":" in name:
        return
    raise InputError(
        f"unknown model {name}; known are {', '.join(BUILDERS)}, or give a .pt2 file, timm:NAME, "
        f"torchvision:NAME, hf:NAME or package.module:factory{did_you_mean(name, BUILDERS)}"
    )


def brings_weights(name: str) -> bool:
    """Whether the network that `load_model` builds has its trained weights, as that of a file has.

    Published weights of a library do not count: for other classes than they were trained for, the
    classifier is fresh.
    """
    return name.lower().endswith(SUFFIX) or is_onnx(name)


def is_onnx(name: str) -> bool:
    """Whether this is the name of an ONNX file."""
    return name.lower().endswith(".onnx")


def names_code(name: str) -> bool:
    """Whether `load_model` imports a module of that name, which may be anybody's and may do anything."""
    if brings_weights(name) or name in BUILDERS or ":" not in name:
        return False
    return LibraryModel.parse(name) is None


def check_trusted(name: str, where: str | Path, trust_code: bool) -> None:
    """Refuse to import what a file names, unless the user trusts it.

    Args:
        name: of a network, as the file says.
        where: the file or folder.
        trust_code: whether the user trusts it.

    Raises:
        InputError: the name is of code, and the user did not say so.
    """
    if names_code(name) and not trust_code:
        raise InputError(
            f"{where} names code that would be imported and run, {name}; if you trust it, say "
            "trust_code=True, or name what builds the network yourself"
        )


def check_classes(
    model: nn.Module,
    name: str,
    image: tuple[int, int, int],
    classes: int,
) -> None:
    """Check that `model` gives one logit per class for images of (C, H, W).

    Raises:
        InputError: its output has another shape.
    """
    was_training = model.training
    model.eval()
    blank = torch.zeros(1, *image, device=device_of(model), dtype=dtype_of(model))
    with torch.no_grad():
        output = model(blank)
    model.train(was_training)
    check_logits(name, output, classes)


def check_logits(name: str, output: object, classes: int) -> None:
    """Check that what a network called `name` gave for one sample is one logit per class.

    Raises:
        InputError: it has another shape.
    """
    shape: object
    if isinstance(output, Tensor):
        shape = tuple(output.shape)
    else:
        shape = type(output).__name__  # such as a tuple or a dictionary of outputs
    if shape != (1, classes):
        raise InputError(
            f"model {name} gives an output of {shape} for one image, the data has {classes} classes: "
            f"expected (1, {classes})"
        )


def read_weights(path: str | Path) -> dict[str, Tensor]:
    """Read a state dict from safetensors, or from a torch file without unpickling code.

    What is stored in half precision or as levels is float32 here (see `stored_weights`).

    Raises:
        InputError: the file is missing, damaged, holds something else, or values that are NaN.
    """
    source = Path(path)
    if source.is_dir():
        raise InputError(
            f"checkpoint {source} is a folder; give the file with the weights, such as "
            f"{source / 'model.safetensors'}"
        )
    if not source.is_file():
        raise InputError(
            f"checkpoint {source} does not exist; give a .safetensors file or a torch state dict"
        )
    content = _content(source)
    # Training scripts keep the state dict among other things.
    if isinstance(content, dict) and isinstance(content.get("state_dict"), dict):
        content = content["state_dict"]
    if not _is_state_dict(content):
        raise InputError(
            f"checkpoint {source} holds no state dict; "
            "give one saved with torch.save(model.state_dict(), ...)"
        )
    _check_plain(content, source)
    if all(key.startswith(WRAPPER) for key in content):
        content = {key.removeprefix(WRAPPER): value for key, value in content.items()}
    check_numbers(content, f"checkpoint {source}")
    return expanded(content)


def _content(source: Path) -> Any:
    try:
        if source.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(source)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # notices of torch's own, such as of kinds that it gives up
            return torch.load(source, map_location="cpu", weights_only=True)
    except OSError as error:
        why = error.strerror or "it is damaged"
        raise InputError(f"checkpoint {source} cannot be read: {why}; give another file") from error
    except Exception as error:  # damaged files raise anything from EOFError to SafetensorError
        raise InputError(
            f"checkpoint {source} is truncated, damaged or not a plain state dict; "
            "give a .safetensors file or one saved with torch.save(model.state_dict(), ...)"
        ) from error


def _is_state_dict(content: object) -> bool:
    if not isinstance(content, dict) or not content:
        return False
    # Torch writes dictionaries of anything, such as lists of tensors by number.
    if not all(isinstance(key, str) for key in content):
        return False
    return all(isinstance(value, Tensor) for value in content.values())


def _check_plain(weights: Mapping[str, Tensor], source: Path) -> None:
    """Refuse tensors that no weight of ours can be set to."""
    for name, value in weights.items():
        kind = _special(value)
        if kind:
            raise InputError(
                f"checkpoint {source}: {name} is {kind}; save the weights as dense tensors of real numbers"
            )


def _special(value: Tensor) -> str:
    """What a tensor is other than real numbers one by one; empty: nothing else."""
    if value.is_quantized:
        return "a quantised tensor"
    if value.layout is not torch.strided:
        return "a sparse tensor"
    if value.is_meta:
        return "without content (on the meta device)"
    # Loading would drop the imaginary part, with no more than a warning.
    if value.is_complex():
        return "of complex numbers"
    return ""


def apply_weights(
    model: nn.Module,
    weights: dict[str, Tensor],
    where: str,
) -> None:
    """Load `weights` into `model`, every name and shape agreeing.

    Those of transposed convolutions are taken for sub-pixel ones, as `load_model` makes them.

    Raises:
        InputError: names or shapes differ; the message names the first of them.
    """
    own = model.state_dict()
    weights = with_sub_pixel_weights(model, weights)
    # Before anything is loaded: on an error the model is as it was.
    _check_none(f"checkpoint {where} is for another network: it lacks", own.keys() - weights.keys())
    _check_none(f"checkpoint {where} is for another network: it also holds", weights.keys() - own.keys())
    for name, value in weights.items():
        if name in own and own[name].shape != value.shape:
            raise InputError(
                f"checkpoint {where} is for another network or number of classes: "
                f"{name} is {tuple(value.shape)} there, {tuple(own[name].shape)} here"
            )
    model.load_state_dict(weights, strict=False)  # names agree, but for the counters


def _check_none(complaint: str, names: Iterable[str]) -> None:
    """Refuse names of weights; batch norm's counters are none."""
    weights = [name for name in names if not name.endswith(COUNTER)]
    if weights:
        raise InputError(f"{complaint} {min(weights)} ({len(weights)} such); give this network's")
