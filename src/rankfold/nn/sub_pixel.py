"""`SubPixelConv2d`: a transposed convolution as an ordinary one whose outputs are interleaved."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rankfold.nn.seen import is_altered
from rankfold.nn.swap import swap_
from rankfold.workload.sub_pixel import PART, SubPixelForm


class SubPixelConv2d(nn.Module):
    """Computes what a transposed convolution does; its part `conv` is a plain `nn.Conv2d`.

    Weights of `conv` that no tap of the transposed kernel is behind begin as zeros (see
    `workload.sub_pixel`), and training may change them: the cells that hold them are there anyway.

    Args:
        conv: of C_in to C_out s_h s_w channels, without padding.
        form: how its outputs are interleaved.
    """

    def __init__(self, conv: nn.Conv2d, form: SubPixelForm) -> None:
        super().__init__()
        self.conv = conv
        self.form = form

    @classmethod
    def of(cls, module: nn.ConvTranspose2d) -> SubPixelConv2d:
        """One with the weights, bias, type and mode of a transposed convolution."""
        padding, further = _pair(module.padding), _pair(module.output_padding)
        behind = [one - more for one, more in zip(padding, further, strict=True)]
        sizes = (module.kernel_size, module.stride, module.dilation)
        form = SubPixelForm.of(*sizes, padding, behind)
        return cls.of_form(form, module.weight, module.bias, module.groups).train(module.training)

    @classmethod
    def of_form(cls, form: SubPixelForm, weight: Tensor, bias: Tensor | None, groups: int) -> SubPixelConv2d:
        """One with a weight (C_in, C_out/G, kh, kw) and bias (C_out,) of a transposed convolution."""
        dense = sub_pixel_weight(weight, form, groups)
        conv = nn.Conv2d(
            len(weight),
            len(dense),
            form.kernel,
            dilation=form.dilation,
            groups=groups,
            bias=bias is not None,
            device="meta",  # neither drawn nor allocated, since replaced at once
        )
        conv.weight = nn.Parameter(dense, weight.requires_grad)
        if bias is not None:
            conv.bias = nn.Parameter(bias.detach().repeat_interleave(form.phases), bias.requires_grad)
        return cls(conv, form)

    def forward(self, input: Tensor, output_size: Sequence[int] | None = None) -> Tensor:
        """(B, C_in, H, W) -> (B, C_out, OH, OW); as well without B.

        Args:
            input: as `nn.ConvTranspose2d` takes it.
            output_size: (OH, OW), perhaps with what stands before; None: as the form says.

        Raises:
            ValueError: no output padding gives that size.
        """
        form = self.form
        if output_size is not None:
            form = form.giving((input.shape[-2], input.shape[-1]), output_size)
        vertical, horizontal = form.vertical, form.horizontal
        # Below zero takes inputs away, as `F.pad` does too.
        blocks = self.conv(F.pad(input, (*horizontal.padding, *vertical.padding)))
        *batch, outputs, height, width = blocks.shape
        tall, wide = self.form.stride
        phases = blocks.reshape(*batch, outputs // self.form.phases, tall, wide, height, width)
        first = len(batch)
        # (B, C_out, s_h, s_w, blocks, blocks): each phase goes behind its block.
        order = [*range(first), *(first + place for place in (0, 3, 1, 4, 2))]
        plane = phases.permute(order).reshape(*batch, -1, height * tall, width * wide)
        kept_rows, kept_columns = vertical.kept(input.shape[-2]), horizontal.kept(input.shape[-1])
        return plane[..., kept_rows, kept_columns]


def replace_transposed_(model: nn.Module) -> tuple[str, ...]:
    """Replace, in place, every `nn.ConvTranspose2d` by a `SubPixelConv2d`, which computes the same.

    Layer `up` becomes `up.conv`, a convolution that is compressed, quantised and simulated like any other.
    Subclasses, parametrised and hooked layers, and those that share a Parameter with another module, stay.

    Args:
        model: any network that is no single layer.

    Returns:
        The names of the layers that there are now, such as `up.conv`.
    """
    held: Counter[int] = Counter()
    for module in model.modules():
        held.update(id(parameter) for parameter in module._parameters.values() if parameter is not None)
    replaced: dict[nn.Module, nn.Module] = {}
    names = []
    for name, module in model.named_modules():
        if module is model or type(module) is not nn.ConvTranspose2d or is_altered(module):
            continue
        if all(held[id(parameter)] == 1 for parameter in module.parameters()):
            replaced[module] = SubPixelConv2d.of(module)
            names.append(f"{name}{PART}")
    swap_(model, replaced)
    return tuple(names)


def with_sub_pixel_weights(model: nn.Module, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A state dict in which transposed convolutions are sub-pixel ones, where they are in `model`."""
    found = dict(weights)
    for name, module in model.named_modules():
        if not isinstance(module, SubPixelConv2d) or f"{name}.weight" not in found:
            continue
        given, groups = found[f"{name}.weight"], module.conv.groups
        inputs, outputs = module.conv.in_channels, module.conv.out_channels
        expected = (inputs, outputs // module.form.phases // groups, *module.form.transposed_kernel)
        # Of other sizes it is another network's, which whoever loads it says.
        if given.shape != expected:
            continue
        found[f"{name}.conv.weight"] = sub_pixel_weight(found.pop(f"{name}.weight"), module.form, groups)
        bias = found.pop(f"{name}.bias", None)
        if bias is not None:
            found[f"{name}.conv.bias"] = bias.repeat_interleave(module.form.phases)
    return found


def sub_pixel_weight(weight: Tensor, form: SubPixelForm, groups: int) -> Tensor:
    """(C_out s_h s_w, C_in/G, Kh, Kw) the dense weight of a transposed one, (C_in, C_out/G, kh, kw).

    Outputs are in the order channel, vertical phase, horizontal phase.
    """
    inputs, outputs = weight.shape[0] // groups, weight.shape[1]
    tall, wide = form.stride
    # (G, C_out/G, C_in/G, kh, kw)
    kernels = weight.detach().reshape(groups, inputs, *weight.shape[1:]).transpose(1, 2)
    dense = weight.new_zeros(groups, outputs, tall, wide, inputs, *form.kernel)
    for row, (down, top) in enumerate(form.vertical.taps()):
        for column, (right, left) in enumerate(form.horizontal.taps()):
            dense[:, :, down, right, :, top, left] = kernels[..., row, column]
    return dense.reshape(groups * outputs * form.phases, inputs, *form.kernel)


def _pair(values: int | str | Sequence[int]) -> tuple[int, int]:
    vertical, horizontal = torch.nn.modules.utils._pair(values)
    return int(vertical), int(horizontal)
