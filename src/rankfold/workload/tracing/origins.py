"""Which layer every tensor of a running network comes from."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from torch import Tensor
from torch.utils._pytree import tree_leaves

from rankfold.workload.flow import INPUT, Flow, FlowRecorder, plane_of
from rankfold.workload.shape import ConvShape
from rankfold.workload.tracing.activations import PRODUCTS, is_attention


class Origins:
    """Follows feature maps through the operators of a run.

    A tensor comes from the layer, join or input whose values it is computed from. Tensors are told apart by
    the memory they lie in, so that views and operators in place need no cases of their own; memory is kept
    while the network runs, as another tensor could be put where a forgotten one was.

    Args:
        batch: images in the run.
    """

    def __init__(self, batch: int) -> None:
        self._batch = batch
        self._recorder = FlowRecorder()
        self._of: dict[int, tuple[str, Any]] = {}  # memory: where it comes from, and what keeps it

    def begin(self, inputs: Iterable[Any]) -> None:
        """The network is called with these."""
        self.made_by(INPUT, list(inputs))

    def layer(self, name: str, x: Any) -> None:
        """A layer begins to run on x."""
        # What is computed from parameters alone, such as learned queries, is there from the start.
        self._recorder.layer(name, self._origin(x) or INPUT)

    def made_by(self, name: str, out: Any) -> None:
        """These tensors come from there."""
        for tensor in _tensors(out):
            memory = tensor.untyped_storage()
            self._of[memory._cdata] = (name, memory)

    def passed_on(self, operator: Any, args: Any, out: Any) -> None:
        """An operator made `out` of its arguments."""
        parts = []
        for tensor in _tensors(args):
            origin = self._origin(tensor)
            if origin is not None:
                parts.append((origin, tensor.numel() // self._batch))
        made = _tensors(out)
        if not parts or not made:
            return
        origin = parts[0][0]
        if any(other != origin for other, _ in parts):
            largest = max(made, key=lambda tensor: tensor.numel())
            numbers = largest.numel() // self._batch
            plane = plane_of(tuple(largest.shape))
            origin = self._recorder.join(parts, numbers, plane, whole=is_whole(operator))
        self.made_by(origin, made)

    def flow(self, layers: Sequence[ConvShape]) -> Flow:
        """What layers read."""
        return self._recorder.flow(layers)

    def _origin(self, tensor: Any) -> str | None:
        """Where a tensor comes from; None: from parameters and constants alone."""
        if not isinstance(tensor, Tensor):
            return None
        name, _ = self._of.get(tensor.untyped_storage()._cdata, (None, None))
        return name


def is_whole(operator: Any) -> bool:
    """Whether each value that an operator makes takes all of its inputs: products of matrices, attention."""
    name = operator.overloadpacket.__name__
    return name in PRODUCTS or is_attention(name)


def _tensors(values: Any) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(values) if isinstance(leaf, Tensor)]
