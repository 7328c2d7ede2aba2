"""Tracing a torch module: every convolution and fully connected layer with its real input size."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from rankfold.arguments import TEXT, Wanted
from rankfold.errors import InputError, first_line
from rankfold.workload.inputs import InputSpec, example_inputs, specs_of
from rankfold.workload.network import Network, Untouched
from rankfold.workload.padding import padding_sides
from rankfold.workload.shape import ConvShape, Image, Pair, checked_image
from rankfold.workload.tracing.torch_layers import as_declared, why_fixed
from rankfold.workload.tracing.watching import Watch, evaluating, watching

if TYPE_CHECKING:
    import torch
    from torch import nn

    from rankfold.workload.tracing.calls import Calls


def trace(
    model: nn.Module,
    image: Image | None,
    name: str = "network",
    inputs: Sequence[Any] | Mapping[str, Any] | None = None,
) -> Network:
    """Run `model` once and record its convolutions and fully connected layers.

    Layers are recorded in execution order, each time they run. Modules have their own names; a convolution
    or product called as a function has the name of its parameter, and is mapped but never replaced; so is a
    1-d convolution, as one of height 1, and a transposed one, as the sub-pixel convolution that it equals.
    Layers of other kinds (3-d, recurrent, lookup tables, weights that are computed) and products of two
    computed values, such as attention, are listed under `Network.untouched`. The model's mode, parameters and
    torch's random state are left as they were.

    Args:
        model: any module.
        image: (C, H, W) of one image; the model is called with one batch (1, C, H, W) of zeros.
        name: name for the result.
        inputs: what to call the model with instead, by position or by keyword: batches of one, on the model's
            device. `image` may then be None; it is taken from the first tensor of four dimensions.

    Raises:
        InputError: the model fails on such an input, or runs no layer that can be mapped.
    """
    from torch.nn import Module, UninitializedParameter

    from rankfold.workload.tracing.calls import Calls

    Wanted("a torch.nn.Module", Module).check("model", model)
    TEXT.check("name", name)
    if image is not None:
        image = checked_image(image)
    if any(isinstance(parameter, UninitializedParameter) for parameter in model.parameters()):
        raise InputError(f"{name} has lazy layers without weights yet; run it once on real data first")
    if inputs is None:
        inputs = (_blank_batch(model, image, name),)
    Wanted("the inputs by position or by name", tuple, list, Mapping).check("inputs", inputs)
    positional: tuple[Any, ...] = ()
    keywords: dict[str, Any] = {}
    if isinstance(inputs, Mapping):
        keywords = dict(inputs)
    else:
        positional = tuple(inputs)
    # A batch of images may come in either way.
    given = (*positional, *keywords.values())
    image = image or _image(name, given)
    calls = Calls(model, batch=_batch(given))
    calls.origins.begin(given)
    with _watching(model, calls):
        try:
            model(*positional, **keywords)
        except InputError:
            raise
        except (Exception, SystemExit) as error:  # whatever the user's forward raises
            raise InputError(_failed(name, image, error)) from error
    if not calls.layers:
        raise InputError(
            f"{name} runs no two-dimensional convolution and no fully connected layer, "
            "so there is nothing to map"
        )
    return Network(
        name,
        image,
        layers=_stored_once(model, _fixed_wherever_used(calls.layers)),
        untouched=_counted_once(model, calls),
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        inputs=specs_of(inputs, image),
        flow=calls.origins.flow(calls.layers),
    )


def retrace(model: nn.Module, name: str, image: Image, inputs: Sequence[InputSpec] = ()) -> Network:
    """The trace of a network for the inputs that an earlier trace, or a plan, has on record.

    Args:
        model: any module.
        name: name for the result.
        image: (C, H, W).
        inputs: what it is called with; empty: one image.

    Raises:
        InputError: the model fails on such inputs.
    """
    if not inputs:
        return trace(model, image, name)
    example = example_inputs(model, image, inputs)
    return trace(model, image, name, example)


def _blank_batch(
    model: nn.Module,
    image: Image | None,
    name: str,
) -> torch.Tensor:
    """(1, C, H, W) zeros, of the type and on the device of the model's parameters."""
    import torch

    if image is None:
        raise InputError(f"{name} needs the size of an image, or inputs to be called with")
    like = next(model.parameters(), torch.empty(0))  # a network without any runs in float
    return torch.zeros(1, *image, device=like.device, dtype=like.dtype)


def _fixed_wherever_used(layers: Iterable[ConvShape]) -> tuple[ConvShape, ...]:
    """The layers, fixed if any layer of the same weight is.

    A module that runs, and whose weight is also used in a function call, cannot be replaced either.
    """
    reasons = {layer.weight: layer.fixed for layer in layers if layer.fixed}
    same: list[ConvShape] = []
    for layer in layers:
        reason = reasons.get(layer.weight, "")
        same.append(replace(layer, fixed=reason))
    return tuple(same)


@contextmanager
def _watching(model: nn.Module, calls: Calls) -> Iterator[None]:
    """Eval mode and hooks on all layers while inside; everything is as before afterwards."""
    import torch

    fast_path = torch.backends.mha.get_fastpath_enabled()
    # Before the hooks below, which would count as hooks of the user's.
    calls.fixed = _reasons_to_stay(model)
    watches = []
    for module in model.modules():
        if _is_watched(module):
            # A layer whose call fails has ended too.
            watches.append(Watch(module, partial(_enter, calls), partial(_leave, calls), even_failed=True))
    with watching(watches), evaluating(model):
        try:
            # The fused attention of nn.MultiheadAttention would hide its products.
            torch.backends.mha.set_fastpath_enabled(False)
            with torch.random.fork_rng(devices=[]), calls.mode():
                yield
        finally:
            torch.backends.mha.set_fastpath_enabled(fast_path)


def _is_watched(module: nn.Module) -> bool:
    """Whether a module tells when it begins and ends; those of TorchScript take no hooks of ours."""
    import torch

    return not isinstance(module, torch.jit.ScriptModule)


def _enter(
    calls: Calls,
    module: nn.Module,
    positional: tuple[Any, ...],
    keywords: dict[str, Any],
) -> None:
    from torch import nn

    # The shape of such a layer is read off the module, with the padding it declares, and not off its
    # operators.
    declared = as_declared(module)
    calls.enter(module, opaque=declared or calls.is_opaque(module))
    x = _first_argument(positional, keywords)
    if isinstance(module, nn.Conv2d) and declared:
        calls.declare(_conv_shape(calls, module, x), x)
    elif isinstance(module, nn.Linear) and declared:
        calls.declare(_linear_shape(calls, module, x), x)
    elif calls.is_opaque(module):
        calls.note_module(module, x)


def _leave(calls: Calls, *called: Any) -> None:
    calls.leave(called[-1])


def _first_argument(positional: tuple[Any, ...], keywords: Mapping[str, Any]) -> Any:
    for value in (*positional, *keywords.values()):
        return value
    return None


def _reasons_to_stay(model: nn.Module) -> dict[nn.Module, str]:
    """Why each module can only stay as it is; empty for those that may be replaced."""
    shared = _sharing_parameters(model)
    reasons: dict[nn.Module, str] = {}
    for module in model.modules():
        reasons[module] = why_fixed(module) or shared.get(module, "")
    return reasons


def _sharing_parameters(model: nn.Module) -> dict[nn.Module, str]:
    """Layers that hold one weight together with another module: replacing either would part them."""
    # Parameters are told apart by identity: equal ones may be two.
    holders: dict[int, list[tuple[str, nn.Module]]] = {}  # (path, module)
    for path, module in model.named_modules():
        weight = _weight_of(module)
        if weight is not None:
            holders.setdefault(id(weight), []).append((path, module))
    reasons: dict[nn.Module, str] = {}
    for together in holders.values():
        paths = [path for path, _ in together]
        for path, module in together:
            others = [other for other in paths if other != path]
            if others:
                reasons[module] = f"shares its weight with {others[0]}"
    return reasons


def _stored_once(model: nn.Module, layers: Iterable[ConvShape]) -> tuple[ConvShape, ...]:
    """The layers; one whose weight is the parameter of an earlier module says whose."""
    modules = dict(model.named_modules())
    owners: dict[int, str] = {}
    found = []
    for layer in layers:
        weight = _weight_of(modules.get(layer.weight))
        owner = layer.weight
        if weight is not None:
            owner = owners.setdefault(id(weight), layer.weight)
        if owner != layer.weight:
            layer = replace(layer, shares=owner)
        found.append(layer)
    return tuple(found)


def _counted_once(model: nn.Module, calls: Calls) -> tuple[Untouched, ...]:
    """The other layers; one whose weight a mapped layer has too (a tied embedding) has no parameters of its
    own.
    """
    modules = dict(model.named_modules())
    owners: dict[int, str] = {}
    for layer in calls.layers:
        weight = _weight_of(modules.get(layer.weight))
        if weight is not None:
            owners[id(weight)] = layer.weight
    found = []
    for other in calls.untouched.values():
        owner = owners.get(id(_weight_of(modules.get(other.name))))
        if owner is not None:
            other = replace(
                other, parameters=0, what=f"{other.what}: its weight is that of {owner}, and counts there"
            )
        found.append(other)
    return tuple(found)


def _weight_of(module: nn.Module | None) -> torch.Tensor | None:
    if module is None:
        return None
    # TorchScript has no dictionary of parameters. A weight may have another name as well.
    return dict(module.named_parameters(recurse=False, remove_duplicate=False)).get("weight")


def _conv_shape(
    calls: Calls,
    module: nn.Conv2d,
    x: torch.Tensor,
) -> ConvShape:
    """The shape of a convolution that runs on x, (B, C_in, H, W)."""
    height, width = x.shape[-2:]  # one image has no batch axis
    left, right, top, bottom = padding_sides(module)
    return ConvShape(
        calls.label(module),
        module.in_channels,
        module.out_channels,
        _pair(module.kernel_size),
        (int(height), int(width)),
        _pair(module.stride),
        padding=(top, bottom, left, right),
        dilation=_pair(module.dilation),
        groups=module.groups,
        weight=calls.path(module),
        fixed=calls.fixed[module],
    )


def _linear_shape(
    calls: Calls,
    module: nn.Linear,
    x: torch.Tensor,
) -> ConvShape:
    """A fully connected layer as a 1x1 convolution on the plane of tokens or pixels; 1x1 for a vector."""
    inputs = module.in_features
    places = max(1, x.numel() // inputs // calls.batch)
    plane = (places, 1)
    if x.ndim == 4 and x.shape[-1] == inputs:
        # (B, H, W, C), unless the batch is not the first axis
        _, height, width, _ = x.shape
        if height * width == places:
            plane = (int(height), int(width))
    return ConvShape(
        calls.label(module),
        inputs,
        module.out_features,
        (1, 1),
        plane,
        weight=calls.path(module),
        kind="linear",
        fixed=calls.fixed[module],
    )


def _pair(values: tuple[int, ...]) -> Pair:
    vertical, horizontal = values
    return vertical, horizontal


def _image(name: str, given: Iterable[Any]) -> Image:
    """(C, H, W) of the first batch of images, else of the first tensor, with ones in front if need be."""
    tensors = _tensors(given)
    for x in tensors:
        if x.ndim == 4:
            return _as_image(x.shape[1:])
    for x in tensors:
        if x.ndim:
            # Of a sequence (B, length, features) the image is 1 x length x features.
            sizes = (1, 1, 1, *x.shape[1:])
            return _as_image(sizes[-3:])
    raise InputError(f"{name} is given no tensor to run on; pass example inputs")


def _as_image(sizes: Sequence[int]) -> Image:
    channels, height, width = (int(size) for size in sizes)  # symbolic ones, too
    return channels, height, width


def _batch(given: Iterable[Any]) -> int:
    """The images that the inputs hold, by the first tensor that is more than a vector."""
    for x in _tensors(given):
        if x.ndim > 1:
            return int(x.shape[0])
    return 1


def _tensors(given: Iterable[Any]) -> list[torch.Tensor]:
    import torch

    return [value for value in given if isinstance(value, torch.Tensor)]


def _failed(
    name: str,
    image: Image,
    error: BaseException,
) -> str:
    shown = "x".join(str(size) for size in image)
    return f"{name} fails on an image of {shown} (C x H x W): {first_line(error)}; pass its real input size"
