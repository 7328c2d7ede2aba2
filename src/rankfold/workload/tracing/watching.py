"""Watching the calls of modules: hooks and eval mode that are gone again afterwards, whatever happens."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import nn

# (module, positional arguments, keyword arguments); what it returns takes the place of the arguments.
Before = Callable[..., Any]
# (module, positional arguments, keyword arguments, output); what it returns takes the place of the output.
After = Callable[..., Any]


@dataclass(frozen=True)
class Watch:
    """What is called before and after each call of a module.

    Attributes:
        module: the module.
        before: called before, or None.
        after: called after, or None.
        even_failed: whether `after` is called after a call that raised, too.
    """

    module: nn.Module
    before: Before | None = None
    after: After | None = None
    even_failed: bool = False


@contextmanager
def watching(watches: Iterable[Watch]) -> Iterator[None]:
    """Call what the watches say while inside; no hook is left behind."""
    # What was registered is removed even if the next module takes no hook.
    with ExitStack() as hooks:
        for watch in watches:
            if watch.before is not None:
                hooks.enter_context(watch.module.register_forward_pre_hook(watch.before, with_kwargs=True))
            if watch.after is not None:
                hooks.enter_context(
                    watch.module.register_forward_hook(
                        watch.after, with_kwargs=True, always_call=watch.even_failed
                    )
                )
        yield


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Eval mode without gradients inside; afterwards every module has its own mode again."""
    import torch

    # Of each module: parts of a network may be in eval mode while the rest is trained.
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for module, mode in modes:
            module.training = mode
