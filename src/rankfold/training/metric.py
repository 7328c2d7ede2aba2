"""A user's own metric: what a network's outputs are worth beside the targets, as one number.

Accuracy adds up over batches, but most metrics do not (F1, average precision, perplexity). So a function is
given the outputs and targets of all samples at once; a metric that goes through them batch by batch, as those
of torchmetrics do, says so by its methods.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from numbers import Real
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from rankfold.arguments import TEXT, Wanted, shown
from rankfold.calibration.observation import evaluating
from rankfold.calibration.samples import call
from rankfold.errors import InputError, RankfoldError, first_line

Function = Callable[[Any, Any], Any]


class Measure(Protocol):
    """What says in one number how good a network is, the higher the better.

    Attributes:
        name: in tables and records.
        reads_targets: whether it looks at targets.
    """

    @property
    def name(self) -> str:
        """In tables and records."""

    @property
    def reads_targets(self) -> bool:
        """Whether it looks at targets."""

    def __call__(self, model: nn.Module, batches: Iterable[tuple[Any, Any]]) -> float:
        """Of a network, on pairs (inputs, targets)."""


@runtime_checkable
class Updated(Protocol):
    """A metric that sees batch after batch, as those of torchmetrics do."""

    def reset(self) -> Any:
        """Forget all batches."""

    def update(self, outputs: Any, targets: Any) -> Any:
        """See one batch more."""

    def compute(self) -> Any:
        """The number, of all batches since `reset`."""


@dataclass(frozen=True)
class Metric:
    """A number that says how good a network is, the higher the better.

    Attributes:
        name: in tables and records.
        measures: a function (outputs, targets) -> number, of all samples; or an object that sees batch after
            batch (`Updated`). Both get them on the processor. For a function the batches are joined: tensors
            along their first dimension, lists end to end, tuples place by place, dictionaries key by key.
    """

    name: str
    measures: Function | Updated

    @property
    def reads_targets(self) -> bool:
        """True: it is given them."""
        return True

    def __post_init__(self) -> None:
        TEXT.check("name", self.name)
        if not isinstance(self.measures, Updated) and not callable(self.measures):
            raise InputError(
                f"metric {self.name} is {shown(self.measures)}; give a function (outputs, targets) -> "
                "number, or an object with reset, update(outputs, targets) and compute"
            )

    @classmethod
    def of(cls, given: Metric | Function | Updated) -> Metric:
        """What a user gives as a metric, by its own name.

        Raises:
            InputError: it is none.
        """
        if isinstance(given, Metric):
            return given
        name = str(getattr(given, "__name__", type(given).__name__))
        if not isinstance(given, type):
            return cls(name, given)
        # A class is no metric yet; those of torchmetrics and the like can be made without arguments.
        try:
            made = given()
        except (Exception, SystemExit) as error:  # whatever the user's code raises
            raise InputError(
                f"metric {name} cannot be made without arguments: {first_line(error)}; give an object of "
                "this class, or a function that calls one"
            ) from error
        return cls(name, made)

    def named(self) -> Metric:
        """The same; records know it by its name.

        Raises:
            InputError: it has no name of its own, as a lambda has none.
        """
        if self.name.startswith("<"):
            raise InputError(
                f"metric {self.name} has no name, by which records could tell it from others; give "
                "Metric('name', function)"
            )
        return self

    def __call__(self, model: nn.Module, batches: Iterable[tuple[Any, Any]]) -> float:
        """The metric of a network in eval mode, whose modes are as before afterwards.

        Args:
            model: the network.
            batches: pairs (inputs, targets): inputs on its device, targets anything that the metric knows.

        Raises:
            InputError: there is no batch, or the metric fails or gives no finite number.
        """
        seen: _Seen = _Joined(self)
        if isinstance(self.measures, Updated):
            seen = _Shown(self)
        number = 0
        with evaluating(model):
            for number, (inputs, targets) in enumerate(batches, 1):
                outputs = call(model, inputs, f"batch {number} of the data, inputs")
                seen.add(_on_processor(outputs), _on_processor(targets))
        if number == 0:
            raise InputError("there is no batch to evaluate on; give pairs (inputs, target)")
        return self._number(seen.value())

    @contextmanager
    def asked(self) -> Iterator[None]:
        """Where the user's code runs inside, say so in one sentence if it fails.

        Raises:
            InputError: it does.
        """
        try:
            yield
        except RankfoldError:
            raise
        except (Exception, SystemExit) as error:  # whatever the user's code raises
            raise InputError(
                f"metric {self.name} failed with {type(error).__name__}: {first_line(error)}; it must run on "
                "the outputs of the network and the targets of the data"
            ) from error

    def _number(self, value: Any) -> float:
        if isinstance(value, Tensor) and value.numel() == 1:
            value = value.item()
        if not isinstance(value, Real):
            raise InputError(f"metric {self.name} gave {shown(value)}; it must give one number")
        number = float(value)
        if not math.isfinite(number):
            raise InputError(f"metric {self.name} gave {number}; it must give a finite number")
        return number


METRIC = Wanted(
    "a metric: a function (outputs, targets) -> number, or an object with reset, update and compute",
    Metric,
    Callable,  # type: ignore[arg-type]
    Updated,
)


def in_words(value: float, metric: str = "") -> str:
    """What was measured: `90.12%` of top-1 accuracy, else the metric by its name, `box_f1 0.8123`."""
    if not metric:
        return f"{value:.2%}"
    return f"{metric} {value:.6g}"


def lost_in_words(amount: float, metric: str = "") -> str:
    """How much is lost: in points of top-1 accuracy, else in units of the metric, `0.02 of box_f1`."""
    if not metric:
        return f"{100 * amount:.2f} points"
    return f"{amount:.4g} of {metric}"


class _Seen(ABC):
    """Outputs and targets of a network, as a metric sees them."""

    def __init__(self, metric: Metric) -> None:
        self.metric = metric

    @abstractmethod
    def add(self, outputs: Any, targets: Any) -> None:
        """Those of one batch."""

    @abstractmethod
    def value(self) -> Any:
        """What the metric says of all batches."""


class _Shown(_Seen):
    """Shown to the metric batch after batch."""

    def __init__(self, metric: Metric) -> None:
        super().__init__(metric)
        assert isinstance(metric.measures, Updated)
        self._measures = metric.measures
        with metric.asked():
            self._measures.reset()

    def add(self, outputs: Any, targets: Any) -> None:
        with self.metric.asked():
            self._measures.update(outputs, targets)

    def value(self) -> Any:
        with self.metric.asked():
            return self._measures.compute()


class _Joined(_Seen):
    """Kept, and given to the metric all at once."""

    def __init__(self, metric: Metric) -> None:
        super().__init__(metric)
        self._outputs: list[Any] = []
        self._targets: list[Any] = []

    def add(self, outputs: Any, targets: Any) -> None:
        self._outputs.append(outputs)
        self._targets.append(targets)

    def value(self) -> Any:
        function = self.metric.measures
        assert callable(function)
        outputs, targets = joined(self._outputs, "outputs"), joined(self._targets, "targets")
        with self.metric.asked():
            return function(outputs, targets)


def joined(batches: list[Any], what: str) -> Any:
    """What several batches hold as one, see `Metric`; what is none of these becomes a list of one a batch.

    Args:
        batches: at least one, all of the same structure.
        what: what they hold, for a message.

    Raises:
        InputError: they are of different structure, or tensors of shapes that do not go together.
    """
    first = batches[0]
    if any(type(batch) is not type(first) for batch in batches):
        kinds = sorted({type(batch).__name__ for batch in batches})
        raise InputError(f"{what} of different batches are of different types: {', '.join(kinds)}")
    if isinstance(first, Tensor):
        return _joined_tensors(batches, what)
    if isinstance(first, list):
        return [sample for batch in batches for sample in batch]
    if isinstance(first, Mapping):
        if any(batch.keys() != first.keys() for batch in batches):
            raise InputError(f"{what} of different batches have different keys")
        return {key: joined([batch[key] for batch in batches], f"{what}[{key!r}]") for key in first}
    if isinstance(first, tuple):
        if any(len(batch) != len(first) for batch in batches):
            raise InputError(f"{what} of different batches are tuples of different lengths")
        places = zip(*batches, strict=True)
        parts = [joined(list(of_place), f"{what}[{place}]") for place, of_place in enumerate(places)]
        return _tuple_like(first, parts)
    return batches


def _joined_tensors(batches: list[Tensor], what: str) -> Tensor:
    shapes = {tuple(batch.shape[1:]) for batch in batches}
    if len(shapes) > 1:
        raise InputError(
            f"{what} of different batches have different shapes, {' and '.join(map(str, sorted(shapes)))} a "
            "sample; give a metric with reset, update(outputs, targets) and compute, which sees batch after "
            "batch"
        )
    if batches[0].ndim == 0:
        return torch.stack(batches)
    return torch.cat(batches)


def _on_processor(value: Any) -> Any:
    """The same values, their tensors on the processor."""
    if isinstance(value, Tensor):
        return value.cpu()
    if isinstance(value, Mapping):
        return {key: _on_processor(part) for key, part in value.items()}
    if isinstance(value, list):
        return [_on_processor(part) for part in value]
    if isinstance(value, tuple):
        return _tuple_like(value, [_on_processor(part) for part in value])
    return value


def _tuple_like(like: tuple[Any, ...], parts: list[Any]) -> tuple[Any, ...]:
    """A tuple of these parts, with the names of another one where it has any."""
    if hasattr(like, "_make"):
        named: tuple[Any, ...] = like._make(parts)
        return named
    return tuple(parts)
