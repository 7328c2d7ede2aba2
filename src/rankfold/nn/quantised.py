"""Quantised convolutions and linear layers, and the in-place steps that turn a float network into one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rankfold.errors import InputError
from rankfold.nn.binary import BinaryQuantiser
from rankfold.nn.masked import MaskedConv2d
from rankfold.nn.plain import StandIn, plain_layer
from rankfold.nn.quantisers import Quantiser, check_bits
from rankfold.nn.seen import is_altered
from rankfold.nn.swap import swap_


@dataclass(frozen=True)
class LayerBits:
    """How one layer is quantised.

    Attributes:
        weight: bits of the (signed) weights, 1 to 8.
        input: bits of the layer's input, 1 to 8.
        input_signed: whether the input has negative levels.
        narrow: whether weights leave out their lowest level, see `Quantiser`.
    """

    weight: int
    input: int
    input_signed: bool
    narrow: bool = False

    def __post_init__(self) -> None:
        check_bits("weight", self.weight)
        check_bits("input", self.input)


class QuantConv2d(nn.Conv2d, StandIn):
    """A convolution of quantised weights with quantised inputs; the bias stays float.

    Takes the arguments of `nn.Conv2d`, and `bits`. The weight quantiser is fitted to the weights in
    `from_float` and `calibrate_`; the input quantiser needs data, see `calibrate_`. One made of a
    `MaskedConv2d` has its mask.
    """

    AS_DECLARED = True

    mask: Tensor | None

    def __init__(self, *args: Any, bits: LayerBits, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.weight_quantiser, self.input_quantiser = _quantisers(bits, self.weight.device)
        # Without a mask nothing is saved; a layer made of a masked one gets a buffer here.
        self.register_buffer("mask", None)

    @property
    def kept_weights(self) -> Tensor:
        """The weights that no mask drops: all (m, C_in/G, kh, kw) of them, or (K,)."""
        if self.mask is None:
            return self.weight
        return self.weight[self.mask]

    def integer_weights(self) -> Tensor:
        """(m, C_in/G, kh, kw) int32 levels of the weights, zero where the mask drops one."""
        levels = self.weight_quantiser.integers(self.weight)
        if self.mask is None:
            return levels
        # Not by the weights: the levels of one bit, -1 and +1, have no zero.
        return levels * self.mask

    @classmethod
    def from_float(cls, module: nn.Conv2d, bits: LayerBits) -> QuantConv2d:
        """A quantised layer with the very Parameter objects, attributes and mode of `module`."""
        # On the meta device nothing is drawn or allocated for weights that are replaced at once.
        new = cls(
            module.in_channels,
            module.out_channels,
            module.kernel_size,
            module.stride,
            module.padding,
            module.dilation,
            module.groups,
            module.bias is not None,
            module.padding_mode,
            device="meta",
            dtype=module.weight.dtype,
            bits=bits,
        )
        if isinstance(module, MaskedConv2d):
            new.mask = module.mask
        _take_over(new, module, bits)
        return new

    def forward(self, input: Tensor) -> Tensor:
        """(B, C_in, H, W) -> (B, C_out, OH, OW)."""
        return self.of_rounded(self.input_quantiser(input))

    def of_rounded(self, values: Tensor) -> Tensor:
        """As `forward`, of an input (B, C_in, H, W) that its quantiser has rounded already."""
        use_all_levels_(self)
        weight = self.weight_quantiser(self.weight)
        if self.mask is not None:
            # After rounding: one bit with a sign has no level for zero.
            weight = weight * self.mask
        y: Tensor = self._conv_forward(values, weight, self.bias)
        return y

    def to_dense(self) -> nn.Conv2d | nn.Linear:
        """The convolution with the values that the levels stand for, zero where a mask drops them."""
        rounded = self.weight_quantiser(self.weight)
        return plain_layer(self, self._masked(rounded))

    def to_float(self) -> nn.Conv2d | nn.Linear:
        """The convolution with the weights before rounding, zero where a mask drops them."""
        return plain_layer(self, self._masked(self.weight))

    def _masked(self, weight: Tensor) -> Tensor:
        if self.mask is None:
            return weight
        return weight * self.mask


class QuantLinear(nn.Linear, StandIn):
    """A linear layer with quantised weights and inputs; the bias stays float. As `QuantConv2d` otherwise."""

    AS_DECLARED = True

    def __init__(self, *args: Any, bits: LayerBits, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.weight_quantiser, self.input_quantiser = _quantisers(bits, self.weight.device)

    @property
    def kept_weights(self) -> Tensor:
        """All the weights, (m, n): no mask drops any."""
        return self.weight

    def integer_weights(self) -> Tensor:
        """(m, n, 1, 1) int32 levels of the weights, as of a convolution of one pixel."""
        levels = self.weight_quantiser.integers(self.weight)
        return levels[..., None, None]

    @classmethod
    def from_float(cls, module: nn.Linear, bits: LayerBits) -> QuantLinear:
        """A quantised layer with the very Parameter objects and mode of `module`."""
        new = cls(
            module.in_features,
            module.out_features,
            module.bias is not None,
            device="meta",
            dtype=module.weight.dtype,
            bits=bits,
        )
        _take_over(new, module, bits)
        return new

    def forward(self, input: Tensor) -> Tensor:
        """(B, ..., in_features) -> (B, ..., out_features)."""
        use_all_levels_(self)
        weight = self.weight_quantiser(self.weight)
        values = self.input_quantiser(input)
        return F.linear(values, weight, self.bias)

    def to_dense(self) -> nn.Conv2d | nn.Linear:
        """The layer with the values that the levels stand for."""
        return plain_layer(self, self.weight_quantiser(self.weight))

    def to_float(self) -> nn.Conv2d | nn.Linear:
        """The layer with the weights before rounding."""
        return plain_layer(self, self.weight)


QuantLayer = QuantConv2d | QuantLinear


def use_all_levels_(layer: QuantLayer, *, may_wait: bool = True) -> None:
    """In training, shorten a step of the weights that leaves the outermost levels empty.

    Args:
        layer: it may also be evaluated, or pass its weights on; then nothing is done.
        may_wait: False: by operations alone that no device has to wait for.
    """
    if not layer.training or layer.weight_quantiser.bypass:
        return
    if may_wait:
        layer.weight_quantiser.reach_(layer.weight)
    else:
        layer.weight_quantiser.shorten_(layer.weight)


def _quantisers(bits: LayerBits, device: torch.device) -> tuple[Quantiser, Quantiser]:
    """That of the weights and that of the inputs."""
    weight = _quantiser(bits.weight, signed=True, batched=False, device=device, narrow=bits.narrow)
    inputs = _quantiser(bits.input, signed=bits.input_signed, batched=True, device=device)
    return weight, inputs


def _quantiser(
    bits: int, signed: bool, batched: bool, device: torch.device, narrow: bool = False
) -> Quantiser:
    if bits == 1 and signed:
        return BinaryQuantiser(batched, device)
    return Quantiser(bits, signed, batched, device, narrow=narrow)


def _take_over(new: QuantLayer, module: nn.Conv2d | nn.Linear, bits: LayerBits) -> None:
    """Give a layer, made on the meta device, all that `module` has, and quantisers where its weights are."""
    new.weight = module.weight
    new.bias = module.bias
    new.weight_quantiser, new.input_quantiser = _quantisers(bits, module.weight.device)
    # Networks built for weights to be loaded may have none to fit to yet.
    if not module.weight.is_meta:
        new.weight_quantiser.fit_(new.kept_weights)
    new.train(module.training)


def replace_by_quantised_(model: nn.Module, bits: Mapping[str, LayerBits]) -> None:
    """Replace the named convolutions and linear layers of `model` by quantised ones, wherever they are.

    The layers keep their Parameter objects, so optimisers and shared weights stay connected. A layer
    registered under several names is replaced once, in all places. Call `calibrate_` next.

    Args:
        model: any network; changed in place, or left as it was on an error.
        bits: from a name, as in `model.named_modules()`, to its bits.

    Raises:
        InputError: a name that matches no layer, or one that is not a plain `nn.Conv2d` or `nn.Linear`,
            carries hooks, is `model` itself, or gets two different settings under two names.
    """
    # Duplicates too: a shared layer may be called by any of its names.
    named = dict(model.named_modules(remove_duplicate=False))
    chosen: dict[nn.Module, tuple[str, LayerBits]] = {}
    for name, setting in bits.items():
        module = named_layer(named, name)
        if module is model:
            raise InputError(
                f"layer {name!r} is the whole model, which cannot be replaced in place; "
                "wrap it in nn.Sequential"
            )
        _check_replaceable(name, module)
        # By module, not by name: a shared layer would otherwise be replaced twice.
        other, before = chosen.setdefault(module, (name, setting))
        if before != setting:
            raise InputError(
                f"layers {other!r} and {name!r} are one shared module with two settings; "
                "give both the same bits"
            )
    # All new ones before the first swap, so that an error leaves the model as it was.
    new: dict[nn.Module, nn.Module] = {}
    for module, (name, setting) in chosen.items():
        new[module] = _quantised(name, module, setting)
    swap_(model, new)


def _check_replaceable(name: str, module: nn.Module) -> None:
    # The very types: what a subclass computes otherwise would be lost.
    if type(module) not in (nn.Conv2d, nn.Linear, MaskedConv2d):
        raise InputError(
            f"layer {name!r} is a {type(module).__name__}; "
            "only plain nn.Conv2d and nn.Linear layers can be quantised"
        )
    if is_altered(module):
        raise InputError(
            f"layer {name!r} has hooks, or a forward of its own, which its replacement would not call; "
            "remove them first"
        )


def named_layer(modules: Mapping[str, nn.Module], name: str) -> nn.Module:
    """The module of this name among those of `model.named_modules()`.

    Raises:
        InputError: there is none.
    """
    if name not in modules:
        raise InputError(f"layer {name!r} is not in the model; the names are those of model.named_modules()")
    return modules[name]


def _quantised(name: str, module: nn.Module, bits: LayerBits) -> QuantLayer:
    try:
        if isinstance(module, nn.Conv2d):
            return QuantConv2d.from_float(module, bits)
        assert isinstance(module, nn.Linear)  # the caller lets nothing else through
        return QuantLinear.from_float(module, bits)
    except InputError as error:
        raise InputError(f"layer {name!r}: {error}") from None
