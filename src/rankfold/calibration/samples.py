"""Calibration data as users have them: any iterable of batches, looked at as often as needed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from os import PathLike
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from rankfold.arguments import WHOLE, shown
from rankfold.errors import InputError, RankfoldError, first_line
from rankfold.plan.plan import Plan
from rankfold.workload.shape import Image

CALIBRATION_IMAGES = 2048  # that step sizes and batch norms see
MOMENT_IMAGES = 512  # to gather moments on; more change the factors little, see results/README.md


class BatchError(InputError):
    """A network cannot run on a batch; the message says on which, and why."""


Inputs = Any  # a tensor, a tuple of tensors by position, or a dictionary of them by name


def inputs_of(batch: Any) -> Inputs:
    """What a network gets of a batch.

    A batch is a tensor, alone or in a tuple or list of one; a pair (inputs, target), as data loaders give
    them; or a dictionary of inputs by name. The inputs of a pair are a tensor, a tuple or list of several by
    position, or a dictionary.

    Raises:
        InputError: it is none of these.
    """
    if isinstance(batch, (Tensor, Mapping)):
        return batch
    if isinstance(batch, (tuple, list)) and len(batch) in (1, 2):
        inputs = batch[0]
        if isinstance(inputs, list):
            return tuple(inputs)
        if isinstance(inputs, (Tensor, Mapping, tuple)):
            return inputs
    raise InputError(
        f"a batch of calibration data is a {type(batch).__name__}; give tensors, pairs (inputs, target), "
        "or dictionaries of inputs by name; several inputs by position are ((first, second), None)"
    )


def call(model: nn.Module, inputs: Inputs, what: str = "a batch") -> Any:
    """Run a network on the inputs of one batch.

    Args:
        model: the network.
        inputs: on its device.
        what: which batch this is, for a message.

    Raises:
        BatchError: the network fails on it.
    """
    try:
        if isinstance(inputs, Mapping):
            return model(**inputs)
        if isinstance(inputs, tuple):
            return model(*inputs)
        return model(inputs)
    except (RankfoldError, torch.OutOfMemoryError):
        raise
    except Exception as error:  # whatever the user's forward raises
        raise BatchError(f"the network fails on {what} of {in_words(inputs)}: {first_line(error)}") from error


def in_words(inputs: Inputs) -> str:
    """The shapes and types of the inputs of a batch, for a message."""
    if isinstance(inputs, Mapping):
        return ", ".join(f"{name} {_value_in_words(value)}" for name, value in inputs.items())
    return ", ".join(_value_in_words(value) for value in tensors_of(inputs))


def _value_in_words(value: Any) -> str:
    if isinstance(value, Tensor):
        return f"{tuple(value.shape)} {str(value.dtype).removeprefix('torch.')}"
    return shown(value)


@contextmanager
def planned_for(plan: Plan) -> Iterator[None]:
    """Where a network cannot run on data inside, say what its plan was made for.

    Raises:
        InputError: it cannot.
    """
    try:
        yield
    except BatchError as error:
        raise InputError(f"{error}; the plan is for {plan.called_with}") from error


def tensors_of(inputs: Inputs) -> tuple[Any, ...]:
    """The inputs of one batch, one after another."""
    if isinstance(inputs, Mapping):
        return tuple(inputs.values())
    if isinstance(inputs, tuple):
        return inputs
    return (inputs,)


def size_of(inputs: Inputs) -> int:
    """Samples in a batch: the length of its first tensor that is no single number.

    Raises:
        InputError: it holds no such tensor.
    """
    for value in tensors_of(inputs):
        if isinstance(value, Tensor) and value.ndim > 0:
            return len(value)
    raise InputError(
        "a batch of calibration data holds no tensor; give tensors with the samples in the first dimension"
    )


def check_iterable(batches: Any, what: str) -> None:
    """Refuse what is no iterable of batches, in a message that calls it `what`.

    Raises:
        InputError: it is none.
    """
    if isinstance(batches, (str, PathLike)):
        raise InputError(
            f"{what} is {shown(batches)}; give an iterable of batches, or load_images({str(batches)!r})"
        )
    # A tensor can be gone through, too, but sample by sample.
    if isinstance(batches, Tensor) or not isinstance(batches, Iterable):
        raise InputError(
            f"{what} is a {type(batches).__name__}; give an iterable of batches, such as a list of batches "
            "or a data loader"
        )


@runtime_checkable
class GivesBatches(Protocol):
    """A data set that makes batches for calibration itself, as `ImageData` does."""

    def calibration_batches(self, images: int | None, device: torch.device) -> Iterable[Any]:
        """Batches of at most so many samples, on a device, to be gone through again and again."""


class Samples:
    """The inputs of the first batches of some data, on one device, again at each iteration.

    Data that can be gone through only once, as a generator, are kept in memory; others are read anew each
    time.

    Args:
        data: an iterable of batches, see `inputs_of`, or a data set that makes them.
        images: samples at most; the last batch is cut to them. None: all.
        device: where the inputs go.
        image: (C, H, W) that the network takes, where it takes nothing else: a single image is then told from
            a batch.

    Raises:
        InputError: data are not iterable, or `images` is not a whole number, 1 or more.
    """

    def __init__(
        self,
        data: Iterable[Any] | GivesBatches,
        images: int | None,
        device: torch.device,
        *,
        image: Image | None = None,
    ) -> None:
        WHOLE.or_none.check("images", images)
        if images is not None and images < 1:
            raise InputError(f"images (={images}) must be 1 or more")
        self._image = image
        if isinstance(data, GivesBatches):
            data = data.calibration_batches(images, device)
        check_iterable(data, "data")
        self.images, self.device = images, device
        self._data: Iterable[Any] = data
        if isinstance(data, Iterator):
            self._data = list(self._first(data))

    def __iter__(self) -> Iterator[Inputs]:
        for inputs in self._first(self._data):
            yield map_tensors(inputs, self._checked)

    def first(self, images: int) -> Samples:
        """The first of these samples alone, so many at most."""
        if self.images is not None:
            images = min(images, self.images)
        return Samples(self._data, images, self.device, image=self._image)

    def _first(self, data: Iterable[Any]) -> Iterator[Inputs]:
        """The inputs of as many batches as are wanted, the last one cut."""
        left = self.images
        for batch in data:
            inputs = inputs_of(batch)
            if isinstance(inputs, Tensor) and tuple(inputs.shape) == self._image:
                raise InputError(
                    f"a batch of calibration data has the shape {self._image}, that of one image (C, H, W); "
                    "give batches (B, C, H, W)"
                )
            if left is None:
                yield inputs
                continue
            count = size_of(inputs)
            if count > left:
                inputs = cut(inputs, count, 0, left)
            left -= count
            yield inputs
            # Before the next batch is asked for, which would be made for nothing.
            if left <= 0:
                return

    def _checked(self, values: Tensor) -> Tensor:
        """On the device; numbers that are not finite would spoil every sum in silence."""
        if values.is_floating_point() and not torch.isfinite(values).all():
            raise InputError(
                "the data hold values that are not finite (NaN or infinite); remove these samples"
            )
        return values.to(self.device)


def cut(value: Any, size: int, first: int, last: int) -> Any:
    """A batch of `size` samples, or its inputs, with those from `first` to before `last` alone."""
    # A tensor of another length, such as a scale, is of all samples together.
    if isinstance(value, Tensor):
        if value.dim() == 0 or len(value) != size:
            return value
        return value[first:last]
    if isinstance(value, Mapping):
        return {name: cut(part, size, first, last) for name, part in value.items()}
    if isinstance(value, list):
        return [cut(part, size, first, last) for part in value]
    if isinstance(value, tuple):
        return tuple(cut(part, size, first, last) for part in value)
    return value


def map_tensors(inputs: Inputs, change: Callable[[Tensor], Tensor]) -> Inputs:
    """The inputs with every tensor changed."""
    if isinstance(inputs, Mapping):
        return {name: _changed(value, change) for name, value in inputs.items()}
    if isinstance(inputs, tuple):
        return tuple(_changed(value, change) for value in inputs)
    return _changed(inputs, change)


def _changed(value: Any, change: Callable[[Tensor], Tensor]) -> Any:
    if isinstance(value, Tensor):
        return change(value)
    return value
