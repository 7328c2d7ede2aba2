"""What a network is called with, where that is not a single image: several inputs, by position or by name."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rankfold.errors import InputError
from rankfold.workload.shape import Image

if TYPE_CHECKING:
    import torch
    from torch import nn

Value = bool | int | float | str | None  # what a plan can hold of an input that is no tensor
LARGEST = 1 << 28  # elements of an input: a gigabyte of zeros in float32


@dataclass(frozen=True)
class InputSpec:
    """One input of a network, for one sample.

    Attributes:
        name: its keyword; empty: it is given by position.
        shape: of the tensor, for a batch of one; None: it is no tensor.
        dtype: of the tensor, as torch calls it (`int64`); `float`: that of the network.
        value: the input itself, where it is no tensor.
        other: the type of an input that is neither, which no plan can hold.
    """

    name: str = ""
    shape: tuple[int, ...] | None = None
    dtype: str = "float"
    value: Value = None
    other: str = ""

    @classmethod
    def of(cls, name: str, value: Any) -> InputSpec:
        """What a plan can say of an input."""
        import torch

        if isinstance(value, torch.Tensor):
            shape = tuple(int(size) for size in value.shape)
            dtype = "float"
            # A network of doubles gets doubles, whatever it was traced with.
            if not value.is_floating_point():
                dtype = str(value.dtype).removeprefix("torch.")
            return cls(name, shape, dtype)
        if value is None or isinstance(value, (bool, int, float, str)):
            return cls(name, value=value)
        return cls(name, other=type(value).__name__)

    def blank(self, device: torch.device, dtype: torch.dtype) -> Any:
        """Zeros of this shape; or the value.

        Args:
            device: where the network is.
            dtype: of the network.

        Raises:
            InputError: the input is of a type that plans do not hold.
        """
        import torch

        if self.other:
            raise InputError(
                f"the network was traced with {self._spoken} as a {self.other}, of which a plan can hold "
                "nothing; give tensors, numbers or words"
            )
        if self.shape is None:
            return self.value
        chosen = dtype
        if self.dtype != "float":
            chosen = getattr(torch, self.dtype)
        return torch.zeros(self.shape, device=device, dtype=chosen)

    def __str__(self) -> str:
        what = f"a {self.other}"
        if self.shape is not None:
            what = str(self.shape)
        elif not self.other:
            what = repr(self.value)
        return f"{self.name} {what}".strip()

    @property
    def _spoken(self) -> str:
        return f"its input {self.name}".rstrip() or "an input"

    def to_json(self) -> dict[str, Any]:
        """Its entry in a plan file."""
        content: dict[str, Any] = {}
        if self.name:
            content["name"] = self.name
        if self.shape is not None:
            content["shape"] = list(self.shape)
            content["dtype"] = self.dtype
        elif self.other:
            content["other"] = self.other
        else:
            content["value"] = self.value
        return content

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> InputSpec:
        """The input that an entry of a plan file says.

        Raises:
            InputError: it is too large.
        """
        own = dict(content)
        if "shape" in own:
            own["shape"] = tuple(own["shape"])
            if math.prod(own["shape"]) > LARGEST:
                raise InputError(
                    f"inputs: a shape (={list(own['shape'])}) must have at most {LARGEST:,} elements"
                )
        return cls(**own)


def specs_of(inputs: Sequence[Any] | Mapping[str, Any], image: Image) -> tuple[InputSpec, ...]:
    """What a network was called with, for a plan; nothing where that is one image by position."""
    if isinstance(inputs, Mapping):
        return tuple(InputSpec.of(name, value) for name, value in inputs.items())
    specs = tuple(InputSpec.of("", value) for value in inputs)
    if specs == (InputSpec(shape=(1, *image)),):
        return ()
    return specs


def example_inputs(model: nn.Module, image: Image, inputs: Sequence[InputSpec] = ()) -> Any:
    """Zeros to call a network with once: a tensor, a tuple of inputs by position, or a dictionary by name.

    Args:
        model: the network, whose device and type they get.
        image: (C, H, W) of the image, where this is all.
        inputs: of a `Network` or a `Plan`; empty: one image.

    Raises:
        InputError: one of them is of a type that plans do not hold.
    """
    import torch

    like = next(model.parameters(), torch.empty(0))  # a network without any runs in float
    if not inputs:
        return torch.zeros(1, *image, device=like.device, dtype=like.dtype)
    made = [spec.blank(like.device, like.dtype) for spec in inputs]
    # Networks are traced with all of them by name, or none.
    if inputs[0].name:
        return {spec.name: value for spec, value in zip(inputs, made, strict=True)}
    return tuple(made)
