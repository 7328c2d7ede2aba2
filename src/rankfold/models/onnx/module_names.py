"""Names of modules in the place of nodes: no two alike, none inside another, none that torch has already."""

from __future__ import annotations

from collections.abc import Iterable

from torch import nn


class ModuleNames:
    """Gives paths to modules.

    Args:
        layers: names that are wanted most, those that plans know; they go first, in this order.
    """

    def __init__(self, layers: Iterable[str]) -> None:
        self._paths: dict[str, str] = {}
        self._taken: list[list[str]] = []
        for name in layers:
            if name not in self._paths:
                self._paths[name] = self.further(name)

    def of_layer(self, name: str) -> str:
        """The path of one of the layers."""
        return self._paths[name]

    def further(self, wanted: str) -> str:
        """A path like the wanted one that no other module has."""
        steps = [_safe(step) for step in wanted.split(".") if step] or ["layer"]
        while not self._is_free(steps):
            # A module inside a layer would go with it when the layer is replaced.
            steps = [*steps[:-2], "_".join(steps[-2:])] if len(steps) > 1 else [f"{steps[0]}_"]
        self._taken.append(steps)
        return ".".join(steps)

    def _is_free(self, steps: list[str]) -> bool:
        for other in self._taken:
            shorter = min(len(steps), len(other))
            if steps[:shorter] == other[:shorter]:
                return False
        return True


def _safe(step: str) -> str:
    """A step of a path that is no attribute of every module, such as `type`."""
    return f"{step}_" if hasattr(nn.Module, step) or step in ("training", "_modules") else step
