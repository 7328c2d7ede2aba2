"""Tracing a torch module: every convolution and fully connected layer with its real input size."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from rankfold.errors import InputError
from rankfold.workload.network import Network
from rankfold.workload.shape import ConvShape, Pair

if TYPE_CHECKING:
    import torch
    from torch import nn


def trace(model: nn.Module, image: tuple[int, int, int], name: str = "network") -> Network:
    """Run `model` once on an empty image and record its convolutions and fully connected layers.

    Modules are recorded in execution order, each time they run; convolutions called as functions rather than
    through a module, and layers of other kinds (1-d, 3-d, transposed), are listed under `Network.untouched`.
    The model's mode and parameters are left as they were.

    Args:
        model: any module that takes one (B, C, H, W) tensor.
        image: (C, H, W).
        name: name for the result.

    Raises:
        InputError: the model fails on such an image, or has no convolution.
    """
    import torch
    from torch import nn

    names: dict[nn.Module, str] = {}
    for path, module in model.named_modules():
        names.setdefault(module, path or type(module).__name__)
    layers: list[ConvShape] = []
    untouched: dict[str, str] = {}
    runs: dict[nn.Module, int] = {}
    handles: list[Any] = []

    inside: list[nn.Module] = []  # convolution modules running now; their own calls are not functional ones

    def leave(module: nn.Module, *_: Any) -> None:
        inside.pop()

    def record(module: nn.Module, inputs: tuple[Any, ...], named: dict[str, Any]) -> None:
        inside.append(module)
        runs[module] = runs.get(module, 0) + 1
        path = names[module]
        label = path if runs[module] == 1 else f"{path}#{runs[module]}"
        if isinstance(module, nn.Conv2d):
            layers.append(_conv_shape(label, path, module, inputs[0] if inputs else named["input"]))
        elif isinstance(module, nn.Linear):
            layers.append(ConvShape(label, module.in_features, module.out_features, (1, 1), (1, 1), weight=path, kind="linear"))
        else:
            untouched[path] = f"{type(module).__name__} is left alone"

    other = (nn.Conv1d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d, nn.Bilinear)
    for module in names:
        if isinstance(module, (nn.Conv2d, nn.Linear, *other)):
            handles.append(module.register_forward_pre_hook(record, with_kwargs=True))
            handles.append(module.register_forward_hook(leave, always_call=True))
    training = {module: module.training for module in names}
    parameter = next(model.parameters(), torch.empty(0))
    try:
        model.eval()
        with torch.no_grad(), _functional_convolutions(inside, untouched):
            model(torch.zeros(1, *image, device=parameter.device, dtype=parameter.dtype))
    except InputError:
        raise
    except Exception as error:  # whatever the user's forward raises
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        shown = "x".join(str(size) for size in image)
        raise InputError(f"{name} fails on an image of {shown} (C x H x W): {first}; pass its real input size") from error
    finally:
        for handle in handles:
            handle.remove()
        for module, mode in training.items():
            module.training = mode
    if not any(layer.kind == "conv" for layer in layers):
        raise InputError(f"{name} runs no nn.Conv2d, so there is nothing to compress or map")
    return Network(name, image, tuple(layers), tuple(untouched.items()))


def _functional_convolutions(inside: list[nn.Module], untouched: dict[str, str]) -> Any:
    """A mode that notes convolutions called while no convolution module runs."""
    import torch
    from torch.overrides import TorchFunctionMode

    watched: tuple[Callable[..., Any], ...] = (
        torch.conv1d, torch.conv2d, torch.conv3d, torch.conv_transpose1d, torch.conv_transpose2d, torch.conv_transpose3d,
    )  # fmt: skip

    class Mode(TorchFunctionMode):
        def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            kwargs = kwargs or {}
            if func in watched:
                weight = args[1] if len(args) > 1 else kwargs["weight"]
                if not inside:
                    key = f"functional.{len([k for k in untouched if k.startswith('functional.')]) + 1}"
                    untouched[key] = (
                        f"{func.__name__} with a weight of {tuple(weight.shape)}, called as a function, is left alone"
                    )
            return func(*args, **kwargs)

    return Mode()


def _conv_shape(label: str, path: str, module: nn.Conv2d, x: torch.Tensor) -> ConvShape:
    height, width = x.shape[-2:]
    # torch keeps padding as (left, right, top, bottom), the form that F.pad takes; 'same' is resolved in it.
    left, right, top, bottom = module._reversed_padding_repeated_twice
    return ConvShape(
        label, module.in_channels, module.out_channels, _pair(module.kernel_size), (int(height), int(width)),
        _pair(module.stride), (top, bottom, left, right), _pair(module.dilation), module.groups, weight=path,
    )  # fmt: skip


def _pair(values: tuple[int, ...]) -> Pair:
    return values[0], values[1]
