"""What a network's outputs are taken for, and the tensors among what it gives.

How much a changed weight matters is asked of the outputs, so that something has to say which errors of
these count how much: a probabilistic model of the outputs, whose divergence is the loss
(`calibration.output_losses`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, is_dataclass
from typing import Any

import torch
from torch import Tensor

from rankfold.arguments import Wanted, shown
from rankfold.errors import InputError

SCORES, PROBABILITIES, VALUES = "scores", "probabilities", "values"
KINDS = (SCORES, PROBABILITIES, VALUES)
ONLY = "the output"  # where a network gives one tensor and nothing around it


class OutputsError(InputError):
    """What a network gives on data has no loss that is known here; the message says why."""


@dataclass(frozen=True)
class OutputModel:
    """What a network's outputs are taken for.

    Attributes:
        kind: `scores`, before a softmax; `probabilities`, after one; or `values` of any other sort.
        dim: of each output tensor: that of the classes, over which the softmax is (None: 1); of values that
            of channels, each with a scale of its own (None: see `channel_dimension`). Below 0 from the last.
    """

    kind: str
    dim: int | None = None

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise InputError(f"outputs (={self.kind}) must be one of {', '.join(KINDS)}, such as scores:2")
        if self.dim == 0:
            raise InputError(f"outputs (={self}) must name another dimension than 0, that of the samples")

    def __str__(self) -> str:
        if self.dim is None:
            return self.kind
        return f"{self.kind}:{self.dim}"

    @classmethod
    def parse(cls, given: str | OutputModel) -> OutputModel:
        """From `scores`, `values:1`, ...

        Raises:
            InputError: it is none.
        """
        if isinstance(given, OutputModel):
            return given
        kind, colon, dim = given.partition(":")
        if not colon:
            return cls(kind)
        if not dim.removeprefix("-").isdecimal():
            raise InputError(f"outputs (={given}) must name a dimension by its number, such as {kind}:1")
        return cls(kind, int(dim))


# For `arguments.takes`.
OUTPUTS = Wanted("scores, probabilities or values, such as 'scores:2'", str, OutputModel, optional=True)


def output_tensors(given: Any, size: int) -> dict[str, Tensor]:
    """The tensors of real numbers among what a network gives for a batch, by where they are, in order.

    Whole numbers and truth values, such as indices, come from decisions that no small error changes, and are
    left out.

    Args:
        given: a tensor, or tuples, lists, dictionaries and data classes of tensors and None.
        size: samples of the batch.

    Raises:
        OutputsError: there is none, something is no tensor, or a tensor does not begin with the samples.
    """
    found = {}
    for where, value in _values(given, ""):
        if not isinstance(value, Tensor):
            raise OutputsError(
                f"{where or 'what the network gives'} is {shown(value)}; outputs have to be tensors, alone "
                "or in tuples, lists or dictionaries"
            )
        if not value.is_floating_point():
            continue
        if value.ndim < 1 or len(value) != size:
            raise OutputsError(
                f"{where or ONLY} has the shape {tuple(value.shape)} for a batch of {size}; outputs "
                "have to be of shape (samples, ...)"
            )
        found[where or ONLY] = value
    if not found:
        raise OutputsError("the network gives no tensor of real numbers; its outputs have to be some")
    return found


def _values(given: Any, where: str) -> Iterator[tuple[str, Any]]:
    """All that stands in tuples, lists, dictionaries and data classes, with words for where."""
    parts: Mapping[Any, Any]
    if given is None and where:
        return
    if isinstance(given, Mapping):
        parts = given
    elif isinstance(given, (tuple, list)):
        parts = dict(enumerate(given))
    elif is_dataclass(given) and not isinstance(given, type):
        parts = vars(given)
    else:
        yield where, given
        return
    for key, value in parts.items():
        inside = f"{where}[{key!r}]" if where else f"output {key!r}"
        yield from _values(value, inside)


def check_finite(outputs: Mapping[str, Tensor]) -> None:
    """Refuse outputs that are not finite.

    Raises:
        InputError: they are not.
    """
    for value in outputs.values():
        if not torch.isfinite(value).all():
            raise InputError(
                "the network's outputs on the calibration data are not finite; its weights may be damaged"
            )


def dimension(model: OutputModel, where: str, value: Tensor) -> int:
    """The dimension that a model names, of an output, from 1.

    Raises:
        OutputsError: the output has none.
    """
    named = model.dim
    assert named is not None  # asked of models that name one
    found = named if named > 0 else value.ndim + named
    if not 1 <= found < value.ndim:
        raise OutputsError(
            f"outputs (={model}) are over dimension {named}, and {where} has the shape "
            f"{tuple(value.shape)}; name one of its dimensions but the first"
        )
    return found


def channel_dimension(value: Tensor) -> int:
    """The dimension of channels where nobody names it: 1; of (B, P, Q) the shorter of both others.

    Tensors of three dimensions are positions with a few fields each, in either order, as (B, tokens, fields)
    or (B, fields, anchors).
    """
    if value.ndim == 3 and value.shape[2] < value.shape[1]:
        return 2
    return 1
