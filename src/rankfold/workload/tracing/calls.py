"""What a torch network computes with its weights, operator by operator, whoever calls it."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from rankfold.workload.network import Untouched
from rankfold.workload.shape import ConvShape
from rankfold.workload.tracing.torch_layers import CALLED

# Where operators that multiply by a matrix take their two factors.
PRODUCTS = {"mm": (0, 1), "bmm": (0, 1), "addmm": (1, 2), "baddbmm": (1, 2), "mv": (0, 1), "addmv": (1, 2)}
LOOKUPS = ("embedding", "embedding_bag", "_embedding_bag")
OPAQUE = (nn.RNNBase, nn.RNNCellBase, nn.Bilinear)


class Calls:
    """Collects layers while a network runs.

    Modules are entered and left by hooks; all else is seen at the level of torch's operators, where no spelling hides a
    convolution (`F.conv2d`, `torch.conv2d`, `x @ w`, `einsum`, attention). Weights are recognised by the memory they lie in.

    Attributes:
        batch: images in one run.
        layers: convolutions and fully connected layers, in order.
        untouched: other layers, by name.
        fixed: why a module can only stay as it is.
    """

    def __init__(self, model: nn.Module, batch: int) -> None:
        self.batch = batch
        self.layers: list[ConvShape] = []
        self.untouched: dict[str, Untouched] = {}
        self.fixed: dict[nn.Module, str] = {}
        self._paths: dict[nn.Module, str] = {}
        for path, module in model.named_modules():
            self._paths.setdefault(module, path or type(module).__name__)
        # Memory -> parameters in it, as (first element, element after the last, name).
        self._stored: dict[int, list[tuple[int, int, str]]] = {}
        for name, parameter in model.named_parameters():
            first = int(parameter.storage_offset())
            memory = self._stored.setdefault(parameter.untyped_storage()._cdata, [])
            memory.append((first, first + parameter.numel(), name))
        self._running: list[tuple[nn.Module, bool]] = []
        self._runs: Counter[str] = Counter()

    def enter(self, module: nn.Module, opaque: bool) -> Callable[[], tuple[str, str]]:
        """A module begins; `opaque`: its operators are its own affair. The result gives its label and its path."""
        self._running.append((module, opaque))
        return lambda: (self._label(self._paths[module]), self._paths[module])

    def leave(self) -> None:
        """The module that began last ends."""
        self._running.pop()

    @staticmethod
    def is_opaque(module: nn.Module) -> bool:
        """Whether a module's inner products are not layers of their own."""
        return isinstance(module, OPAQUE)

    def note_module(self, module: nn.Module, x: Any) -> None:
        """List an opaque module."""
        matrices = [parameter for parameter in module.parameters() if parameter.ndim > 1]
        parameters = sum(matrix.numel() for matrix in matrices)
        macs = None
        if isinstance(x, Tensor):
            # Every weight meets every step of the sequence (or every row of a batch) once.
            macs = parameters * math.prod(x.shape[:-1]) // self.batch if x.ndim > 1 else parameters
        path = self._paths[module]
        self.untouched.setdefault(path, Untouched(path, f"{type(module).__name__} is left alone", macs, parameters))

    def mode(self) -> Any:
        """The mode that watches operators while it is active."""
        seen = self._seen

        class Mode(TorchDispatchMode):  # type: ignore[no-untyped-call]
            def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
                out = func(*args, **(kwargs or {}))
                seen(func, args, out)
                return out

        return Mode()  # type: ignore[no-untyped-call]

    def _seen(self, func: Any, args: tuple[Any, ...], out: Any) -> None:
        if any(opaque for _, opaque in self._running):
            return
        kind = func.overloadpacket.__name__
        if kind in ("convolution", "_convolution", "convolution_overrideable"):
            self._convolution(args, out)
        elif kind in PRODUCTS:
            left, right = PRODUCTS[kind]
            self._product(args[left], args[right], out)
        elif kind in LOOKUPS:
            name = self._parameter(args[0])
            if name:
                self._leave_alone(_layer(name), "a lookup table is left alone", 0, args[0].numel())
        elif func.namespace != "aten":
            for x in args:
                name = self._parameter(x) if isinstance(x, Tensor) and x.ndim > 1 else ""
                if name:
                    self._leave_alone(_layer(name), f"{func.namespace}::{kind} is left alone", None, x.numel())

    def _convolution(self, args: tuple[Any, ...], out: Tensor) -> None:
        x, weight, _, stride, padding, dilation, transposed, _, groups = args[:9]
        planes = weight.ndim - 2
        name, fixed = self._named(weight)
        if transposed or planes != 2 or not name:
            kind = f"Conv{'Transpose' if transposed else ''}{planes}d"
            places = math.prod(x.shape[2:]) if transposed else math.prod(out.shape[2:])
            what = f"{kind} is left alone" if name else f"{kind} with a computed weight of {tuple(weight.shape)} is left alone"
            self._leave_alone(name, what, weight.numel() * places, weight.numel())
            return
        stride, padding, dilation = (tuple(values) * (2 // len(values)) for values in (stride, padding, dilation))
        self.layers.append(
            ConvShape(
                self._label(name), int(x.shape[1]), int(weight.shape[0]), (int(weight.shape[2]), int(weight.shape[3])),
                (int(x.shape[2]), int(x.shape[3])), stride, (padding[0], padding[0], padding[1], padding[1]), dilation, groups,
                weight=name, fixed=fixed,
            )
        )  # fmt: skip

    def _product(self, left: Tensor, right: Tensor, out: Tensor) -> None:
        inner = int(left.shape[-1])
        for weight, axis in ((right, -1), (left, -2)):
            name, fixed = self._named(weight) if weight.ndim > 1 else ("", "")
            if not name:
                continue
            outputs = int(weight.shape[axis])
            # Several matrices at once, of which each input meets one; an expanded view (stride 0) repeats a single matrix.
            if weight.ndim == 3 and weight.shape[0] > 1 and weight.stride(0) != 0:
                what = f"a product with {weight.shape[0]} matrices at once is left alone"
                self._leave_alone(name, what, out.numel() * inner // self.batch, weight.numel())
                return
            places = max(1, out.numel() // outputs // self.batch)
            label = self._label(name)
            self.layers.append(ConvShape(label, inner, outputs, (1, 1), (places, 1), weight=name, kind="linear", fixed=fixed))
            return

    def _in_layer(self) -> bool:
        return bool(self._running) and isinstance(self._running[-1][0], (nn.Linear, nn.Conv2d))

    def _named(self, weight: Tensor) -> tuple[str, str]:
        """The layer that a weight belongs to, and why it is fixed; an empty name where the weight is computed."""
        name = self._parameter(weight)
        if self._in_layer():
            module = self._running[-1][0]
            path = self._paths[module]
            own = not name or name == f"{path}.weight"
            return (path if own else _layer(name)), self.fixed.get(module, "") or CALLED
        return _layer(name), CALLED

    def _parameter(self, weight: Tensor) -> str:
        """The parameter whose memory a tensor lies in, or an empty text."""
        if not isinstance(weight, Tensor) or weight.layout != torch.strided:
            return ""
        start = weight.storage_offset()
        memory = self._stored.get(weight.untyped_storage()._cdata, ())
        return next((name for first, end, name in memory if first <= start < end), "")

    def _label(self, path: str) -> str:
        self._runs[path] += 1
        return path if self._runs[path] == 1 else f"{path}#{self._runs[path]}"

    def _leave_alone(self, name: str, what: str, macs: int | None, parameters: int) -> None:
        if not name:
            name = f"functional.{sum(key.startswith('functional.') for key in self.untouched) + 1}"
            parameters = 0
        before = self.untouched.get(name)
        if before is not None:  # it runs again
            macs = None if macs is None or before.macs is None else macs + before.macs
        self.untouched[name] = Untouched(name, what, macs, parameters)


def _layer(parameter: str) -> str:
    return parameter.removesuffix(".weight")
