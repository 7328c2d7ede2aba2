"""Looking at a network while it runs over data."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

from rankfold.calibration.samples import Inputs, call
from rankfold.errors import InputError
from rankfold.workload.tracing.watching import Watch, evaluating, watching

__all__ = ["AfterCall", "BeforeCall", "evaluating", "observing", "run_batches"]

# (name, module, input)
BeforeCall = Callable[[str, Any, Any], None]
# (name, module, input, output) -> what takes the place of the output, if anything
AfterCall = Callable[[str, Any, Any, Any], Tensor | None]


def run_batches(model: nn.Module, batches: Iterable[Inputs]) -> None:
    """Call `model` on every batch (inputs on its device, see `samples.call`) and drop the results.

    Raises:
        InputError: there is no batch.
    """
    count = 0
    for batch in batches:
        count += 1
        call(model, batch, f"batch {count} of the data, inputs")
    if count == 0:
        raise InputError("batches is empty; pass at least one batch of inputs")


@contextmanager
def observing(
    modules: Mapping[str, nn.Module],
    *,
    before: BeforeCall | None = None,
    after: AfterCall | None = None,
) -> Iterator[None]:
    """Look at every call of some modules while inside; no hook is left behind, whatever happens.

    The input that the callbacks see is the first argument of the call, or its keyword `input`, or else None.

    Args:
        modules: by the names that the callbacks are told; a module under two names is looked at twice a call.
        before: called as `before(name, module, input)` before each call of a module.
        after: called as `after(name, module, input, output)` after each; a tensor that it returns takes the
            place of the output.
    """
    watches = []
    for name, module in modules.items():
        look, change = None, None
        if before is not None:
            look = _before_hook(name, before)
        if after is not None:
            change = _after_hook(name, after)
        watches.append(Watch(module, look, change))
    with watching(watches):
        yield


def _before_hook(name: str, before: BeforeCall) -> Callable[..., None]:
    def hook(
        module: nn.Module,
        arguments: tuple[Any, ...],
        keywords: dict[str, Any],
    ) -> None:
        # Nothing is returned: torch would take it for other inputs.
        before(name, module, _first_input(arguments, keywords))

    return hook


def _after_hook(name: str, after: AfterCall) -> Callable[..., Tensor | None]:
    def hook(
        module: nn.Module,
        arguments: tuple[Any, ...],
        keywords: dict[str, Any],
        output: Any,
    ) -> Tensor | None:
        return after(name, module, _first_input(arguments, keywords), output)

    return hook


def _first_input(arguments: tuple[Any, ...], keywords: Mapping[str, Any]) -> Any:
    if arguments:
        return arguments[0]
    return keywords.get("input")  # the name that torch's own layers give it
