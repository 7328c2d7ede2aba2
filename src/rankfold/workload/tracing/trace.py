"""Tracing a torch module: every convolution and fully connected layer with its real input size."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from rankfold.errors import InputError, first_line
from rankfold.workload.network import Network
from rankfold.workload.shape import ConvShape, Pair
from rankfold.workload.tracing.torch_layers import as_declared, why_fixed

if TYPE_CHECKING:
    import torch
    from torch import nn

    from rankfold.workload.tracing.calls import Calls

Image = tuple[int, int, int]


def trace(
    model: nn.Module,
    image: Image | None,
    name: str = "network",
    inputs: Sequence[Any] | Mapping[str, Any] | None = None,
) -> Network:
    """Run `model` once and record its convolutions and fully connected layers.

    Layers are recorded in execution order, each time they run. Modules have their own names; a convolution or product called as
    a function has the name of its parameter, and is mapped but never replaced. Layers of other kinds (1-d, 3-d, transposed,
    recurrent, lookup tables, weights that are computed) are listed under `Network.untouched`. The model's mode, parameters and
    torch's random state are left as they were.

    Args:
        model: any module.
        image: (C, H, W) of one image; the model is called with one batch (1, C, H, W) of zeros.
        name: name for the result.
        inputs: what to call the model with instead, by position or by keyword: batches of one, on the model's device. `image`
            may then be None; it is taken from the first tensor of four dimensions.

    Raises:
        InputError: the model fails on such an input, or runs no layer that can be mapped.
    """
    import torch

    from rankfold.workload.tracing.calls import Calls

    parameter = next(model.parameters(), torch.empty(0))
    if any(isinstance(tensor, torch.nn.UninitializedParameter) for tensor in model.parameters()):
        raise InputError(f"{name} has lazy layers without weights yet; run it once on real data first")
    if inputs is None:
        if image is None:
            raise InputError(f"{name} needs the size of an image, or inputs to be called with")
        inputs = (torch.zeros(1, *image, device=parameter.device, dtype=parameter.dtype),)
    given, named = ((), dict(inputs)) if isinstance(inputs, Mapping) else (tuple(inputs), {})
    image = image or _image(name, (*given, *named.values()))
    calls = Calls(model, batch=_batch(given, named))
    with _watching(model, calls):
        try:
            model(*given, **named)
        except InputError:
            raise
        except Exception as error:  # whatever the user's forward raises
            raise InputError(_failed(name, image, error)) from error
    if not calls.layers:
        raise InputError(f"{name} runs no two-dimensional convolution and no fully connected layer, so there is nothing to map")
    # A module that runs, and whose weight is also used in a function call, cannot be replaced either.
    fixed = {layer.weight: layer.fixed for layer in calls.layers if layer.fixed}
    layers = tuple(replace(layer, fixed=fixed.get(layer.weight, "")) for layer in calls.layers)
    total = sum(parameter.numel() for parameter in model.parameters())
    return Network(name, image, layers, tuple(calls.untouched.values()), total)


@contextmanager
def _watching(model: nn.Module, calls: Calls) -> Iterator[None]:
    """Eval mode and hooks on all layers while inside; everything is as before afterwards."""
    import torch
    from torch import nn

    modules = list(model.modules())
    training = {module: module.training for module in modules}
    shared = _shared_parameters(model)
    fixed = {module: why_fixed(module) or shared.get(module, "") for module in modules}
    fast_path = torch.backends.mha.get_fastpath_enabled()
    handles: list[Any] = []

    def enter(module: nn.Module, inputs: tuple[Any, ...], named: dict[str, Any]) -> None:
        own = as_declared(module)  # its shape is read off the module, with the padding it declares
        label = calls.enter(module, opaque=own or calls.is_opaque(module))
        if isinstance(module, nn.Conv2d) and own:
            x = inputs[0] if inputs else named["input"]
            calls.layers.append(_conv_shape(*label(), module, x, fixed[module]))
        elif isinstance(module, nn.Linear) and own:
            x = inputs[0] if inputs else named["input"]
            calls.layers.append(linear_shape(*label(), module.out_features, module.in_features, x, calls.batch, fixed[module]))
        elif calls.is_opaque(module):
            calls.note_module(module, inputs[0] if inputs else next(iter(named.values()), None))

    def leave(module: nn.Module, *_: Any) -> None:
        calls.leave()

    for module in modules:
        if isinstance(module, (nn.Conv2d, nn.Linear)) or calls.is_opaque(module):
            handles.append(module.register_forward_pre_hook(enter, with_kwargs=True))
            handles.append(module.register_forward_hook(leave, always_call=True))
    calls.fixed = fixed
    try:
        model.eval()
        # The fused attention of nn.MultiheadAttention would hide its products.
        torch.backends.mha.set_fastpath_enabled(False)
        with torch.no_grad(), torch.random.fork_rng(devices=[]), calls.mode():
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast_path)
        for handle in handles:
            handle.remove()
        for module, mode in training.items():
            module.training = mode


def _shared_parameters(model: nn.Module) -> dict[nn.Module, str]:
    """Layers that hold one weight together with another module: replacing either would part them."""
    holders: dict[int, list[tuple[str, nn.Module]]] = {}
    for path, module in model.named_modules():
        weight = module._parameters.get("weight")
        if weight is not None:
            holders.setdefault(id(weight), []).append((path, module))
    found = {}
    for together in holders.values():
        for path, module in together:
            others = [other for other, _ in together if other != path]
            if others:
                found[module] = f"shares its weight with {others[0]}"
    return found


def _conv_shape(label: str, path: str, module: nn.Conv2d, x: torch.Tensor, fixed: str) -> ConvShape:
    height, width = x.shape[-2:]
    # torch keeps padding as (left, right, top, bottom), the form that F.pad takes; 'same' is resolved in it.
    left, right, top, bottom = module._reversed_padding_repeated_twice
    return ConvShape(
        label, module.in_channels, module.out_channels, _pair(module.kernel_size), (int(height), int(width)),
        _pair(module.stride), (top, bottom, left, right), _pair(module.dilation), module.groups, weight=path, fixed=fixed,
    )  # fmt: skip


def linear_shape(label: str, path: str, outputs: int, inputs: int, x: torch.Tensor, batch: int, fixed: str) -> ConvShape:
    """A fully connected layer as a 1x1 convolution on the plane of tokens or pixels that it runs on, 1x1 for a vector."""
    places = max(1, x.numel() // inputs // batch)
    plane = (int(x.shape[1]), int(x.shape[2])) if x.ndim == 4 and x.shape[-1] == inputs else (places, 1)
    if math.prod(plane) != places:
        plane = (places, 1)
    return ConvShape(label, inputs, outputs, (1, 1), plane, weight=path, kind="linear", fixed=fixed)


def _pair(values: tuple[int, ...]) -> Pair:
    return values[0], values[1]


def _image(name: str, inputs: tuple[Any, ...]) -> Image:
    import torch

    for x in inputs:
        if isinstance(x, torch.Tensor) and x.ndim == 4:
            return int(x.shape[1]), int(x.shape[2]), int(x.shape[3])
    for x in inputs:
        if isinstance(x, torch.Tensor) and x.ndim:
            last = (1, 1, 1, *x.shape[1:])[-3:]
            return int(last[0]), int(last[1]), int(last[2])
    raise InputError(f"{name} is given no tensor to run on; pass example inputs")


def _batch(given: tuple[Any, ...], named: Mapping[str, Any]) -> int:
    import torch

    return next((int(x.shape[0]) for x in (*given, *named.values()) if isinstance(x, torch.Tensor) and x.ndim > 1), 1)


def _failed(name: str, image: Image, error: Exception) -> str:
    shown = "x".join(str(size) for size in image)
    return f"{name} fails on an image of {shown} (C x H x W): {first_line(error)}; pass its real input size"
