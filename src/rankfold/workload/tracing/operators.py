"""Watching torch's operators, as `watching` does modules: each that runs is told of, whoever calls it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch.utils._python_dispatch import TorchDispatchMode

# Of an operator, what it is given, and what it makes.
Seen = Callable[[Any, tuple[Any, ...], Any], None]


class WatchedOperators(TorchDispatchMode):
    """Tells `seen` of every operator that runs: the operator, what it is given, and what it makes."""

    def __init__(self, seen: Seen) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._seen = seen

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        # Else torch imports its compiler, for a second or more, to keep it away from what nobody compiles.
        return False

    def __torch_dispatch__(
        self,
        func: Any,
        types: Any,
        args: Any = (),
        kwargs: Any = None,
    ) -> Any:
        out = func(*args, **(kwargs or {}))
        self._seen(func, args, out)
        return out
