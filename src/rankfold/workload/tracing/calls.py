"""What a torch network computes with its weights, operator by operator, whoever calls it."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from torch import Tensor, nn

from rankfold.workload.network import Untouched
from rankfold.workload.product import ATTENTION, PRODUCT, Product
from rankfold.workload.shape import ConvShape, Pair
from rankfold.workload.sub_pixel import TRANSPOSED, SubPixelForm, why_fixed
from rankfold.workload.tracing.activations import (
    PRODUCTS,
    attention_products,
    is_attention,
    product_of,
)
from rankfold.workload.tracing.operators import WatchedOperators
from rankfold.workload.tracing.origins import Origins
from rankfold.workload.tracing.stored_parameters import StoredParameters
from rankfold.workload.tracing.torch_layers import CALLED

CONVOLUTIONS = ("convolution", "_convolution", "convolution_overrideable")
LOOKUPS = ("embedding", "embedding_bag", "_embedding_bag")
OPAQUE = (nn.RNNBase, nn.RNNCellBase, nn.Bilinear)
FUNCTIONAL = "functional."  # begins the names of layers whose weight is computed
ONE_DIMENSIONAL = "is a 1-d convolution, mapped as one of height 1"


class Calls:
    """Collects layers while a network runs.

    Modules are entered and left by hooks; all else is seen at the level of torch's operators, where no
    spelling hides a convolution (`F.conv2d`, `torch.conv2d`, `x @ w`, `einsum`, attention). Weights are
    recognised by the memory they lie in.

    Attributes:
        batch: images in one run.
        layers: convolutions and fully connected layers, in order.
        untouched: other layers, by name.
        fixed: why a module can only stay as it is.
        origins: which layer or join every tensor comes from.
    """

    def __init__(self, model: nn.Module, batch: int) -> None:
        self.batch = batch
        self.origins = Origins(batch)
        self.layers: list[ConvShape] = []
        self.untouched: dict[str, Untouched] = {}
        self.fixed: dict[nn.Module, str] = {}
        self._paths: dict[nn.Module, str] = {}
        for path, module in model.named_modules():
            # The model itself has an empty path.
            self._paths[module] = path or type(module).__name__
        self._parameters = StoredParameters(model)
        # Innermost last: modules, and whether their operators are their own affair.
        self._running: list[tuple[nn.Module, bool]] = []
        # The runs of layers that have their shape from their module, innermost last; empty for others.
        self._declared: list[str] = []
        self._runs: Counter[str] = Counter()

    def enter(self, module: nn.Module, opaque: bool) -> None:
        """A module begins; `opaque`: its operators are its own affair."""
        self._running.append((module, opaque))
        self._declared.append("")

    def declare(self, shape: ConvShape, x: Tensor) -> None:
        """The module that began last is a layer of this shape, and runs on x."""
        self.layers.append(shape)
        self._declared[-1] = shape.name
        self.origins.layer(shape.name, x)

    def leave(self, out: Any) -> None:
        """The module that began last ends with this output."""
        self._running.pop()
        name = self._declared.pop()
        if name:
            self.origins.made_by(name, out)

    def path(self, module: nn.Module) -> str:
        """The module's name in the network."""
        return self._paths[module]

    def label(self, module: nn.Module) -> str:
        """The name of this run of a module: its path, with #2 behind it the second time."""
        return self._next_label(self._paths[module])

    @staticmethod
    def is_opaque(module: nn.Module) -> bool:
        """Whether a module's inner products are not layers of their own."""
        return isinstance(module, OPAQUE)

    def note_module(self, module: nn.Module, x: Any) -> None:
        """List an opaque module that runs on x."""
        path = self._paths[module]
        if path in self.untouched:
            return
        parameters = 0
        for parameter in module.parameters():
            if parameter.ndim > 1:  # biases multiply nothing
                parameters += parameter.numel()
        macs = None
        if isinstance(x, Tensor):
            macs = parameters
            if x.ndim > 1:
                # Every weight meets every step of the sequence (or every row of a batch) once.
                steps = math.prod(x.shape[:-1])
                macs = parameters * steps // self.batch
        what = f"{type(module).__name__} is left alone"
        self.untouched[path] = Untouched(path, what, macs, parameters)

    def mode(self) -> Any:
        """The mode that watches operators while it is active."""
        return WatchedOperators(self._seen)

    def _seen(
        self,
        operator: Any,
        args: tuple[Any, ...],
        out: Any,
    ) -> None:
        """Note what an operator does with the network's weights."""
        self.origins.passed_on(operator, args, out)
        # Inside of a module that has its shape from its attributes, or is listed as a whole.
        if any(opaque for _, opaque in self._running):
            return
        name = operator.overloadpacket.__name__
        if name in CONVOLUTIONS:
            self._convolution(args, out)
        elif name in PRODUCTS:
            left, right = PRODUCTS[name]
            self._product(args[left], args[right], out)
        elif name in LOOKUPS:
            self._lookup(args[0])
        elif is_attention(name):
            self._multiplied(self._here("(attention)"), ATTENTION, attention_products(args, self.batch))
        elif operator.namespace != "aten":
            self._foreign(f"{operator.namespace}::{name}", args)

    def _convolution(self, args: tuple[Any, ...], out: Tensor) -> None:
        # aten.convolution(input, weight, bias, stride, padding, dilation, transposed, output_padding, groups)
        x, weight, _, stride, padding = args[:5]
        dilation, transposed, _, groups = args[5:9]
        dimensions = weight.ndim - 2
        name, fixed = self._named(weight)
        if transposed and dimensions in (1, 2) and name:
            self._transposed_convolution(name, args, out)
            return
        if transposed or dimensions not in (1, 2) or not name:
            # A transposed kernel meets every input; any other one is moved to every output.
            met = out
            if transposed:
                met = x
            self._other_convolution(name, weight, transposed, met)
            return
        vertical, horizontal = _as_pair(padding, 0)
        if dimensions == 1:
            fixed = ONE_DIMENSIONAL
        self._called(
            ConvShape(
                self._next_label(name),
                int(x.shape[1]),
                int(weight.shape[0]),
                _as_pair(weight.shape[2:], 1),
                _as_pair(x.shape[2:], 1),
                _as_pair(stride, 1),
                padding=(vertical, vertical, horizontal, horizontal),
                dilation=_as_pair(dilation, 1),
                groups=groups,
                weight=name,
                fixed=fixed,
            ),
            x,
            out,
        )

    def _called(self, shape: ConvShape, x: Tensor, out: Tensor) -> None:
        """A layer without a module of its own ran on x."""
        self.layers.append(shape)
        self.origins.layer(shape.name, x)
        self.origins.made_by(shape.name, out)

    def _transposed_convolution(self, name: str, args: tuple[Any, ...], out: Tensor) -> None:
        """Note a transposed convolution, of the arguments of aten.convolution, as the one that it equals."""
        x, weight, _, stride, padding, dilation, _, further, groups = args[:9]
        behind = [one - more for one, more in zip(padding, further, strict=True)]
        form = SubPixelForm.of(weight.shape[2:], stride, dilation, padding, behind)
        fixed = TRANSPOSED
        if self._running and isinstance(self._running[-1][0], nn.ConvTranspose2d):
            fixed = why_fixed(weight.ndim - 2)
        shape = form.shape(
            self._next_label(name),
            int(x.shape[1]),
            int(weight.shape[1]) * groups,
            _as_pair(x.shape[2:], 1),
            groups=groups,
            weight=name,
            fixed=fixed,
        )
        self._called(shape, x, out)

    def _other_convolution(
        self,
        name: str,
        weight: Tensor,
        transposed: bool,
        met: Tensor,
    ) -> None:
        """List a convolution that is not mapped; the whole kernel meets every place of `met`, (B, C, ...)."""
        kind = f"Conv{weight.ndim - 2}d"
        if transposed:
            kind = f"ConvTranspose{weight.ndim - 2}d"
        what = f"{kind} is left alone"
        if not name:
            what = f"{kind} with a computed weight of {tuple(weight.shape)} is left alone"
        places = math.prod(met.shape[2:])
        self._leave_alone(name, what, weight.numel() * places, weight.numel())

    def _product(
        self,
        left: Tensor,
        right: Tensor,
        out: Tensor,
    ) -> None:
        inner = int(left.shape[-1])
        # A weight on the right has its outputs in its last axis, one on the left has them before.
        for weight, x, outputs_axis in ((right, left, -1), (left, right, -2)):
            if weight.ndim < 2:
                continue
            name, fixed = self._named(weight)
            if not name:
                continue
            if _is_several_matrices(weight):
                what = f"a product with {weight.shape[0]} matrices at once is left alone"
                macs = out.numel() * inner // self.batch
                self._leave_alone(name, what, macs, weight.numel())
                return
            outputs = int(weight.shape[outputs_axis])
            places = max(1, out.numel() // outputs // self.batch)
            self._called(
                ConvShape(
                    self._next_label(name),
                    inner,
                    outputs,
                    (1, 1),
                    (places, 1),
                    weight=name,
                    kind="linear",
                    fixed=fixed,
                ),
                x,
                out,
            )
            return
        self._multiplied(self._here("(products)"), PRODUCT, (product_of(left, right, self.batch),))

    def _multiplied(self, name: str, what: str, products: tuple[Product, ...]) -> None:
        """List products of computed values; those of one place count together."""
        macs = sum(product.macs for product in products)
        before = self.untouched.get(name)
        if before is not None:
            products = (*before.products, *products)
        self._leave_alone(name, what, macs, 0)
        self.untouched[name] = replace(self.untouched[name], products=products)

    def _here(self, what: str) -> str:
        """A name for work without weights: the innermost module that runs, and what it is."""
        path = "network"
        if self._running:
            module, _ = self._running[-1]
            path = self._paths[module]
        return f"{path} {what}"

    def _lookup(self, table: Tensor) -> None:
        name = self._parameters.name_of(table)
        if name:
            self._leave_alone(_layer_of(name), "a lookup table is left alone", 0, table.numel())

    def _foreign(self, operator: str, args: tuple[Any, ...]) -> None:
        """List the weights that an operator of another library reads."""
        for x in args:
            if not isinstance(x, Tensor) or x.ndim < 2:
                continue
            name = self._parameters.name_of(x)
            if name:
                self._leave_alone(_layer_of(name), f"{operator} is left alone", None, x.numel())

    def _named(self, weight: Tensor) -> tuple[str, str]:
        """The layer of a weight, and why it is fixed; an empty name where the weight is computed."""
        name = self._parameters.name_of(weight)
        module = self._running_layer()
        if module is None:
            return _layer_of(name), CALLED
        fixed = self.fixed.get(module, "") or CALLED
        path = self._paths[module]
        # A layer that computes its weight from others (a parametrised one) still is the layer that runs.
        if not name or name == f"{path}.weight":
            return path, fixed
        return _layer_of(name), fixed

    def _running_layer(self) -> nn.Module | None:
        """The innermost convolution or fully connected layer that runs, unless in a layer of another kind."""
        for module, _ in reversed(self._running):
            if isinstance(module, (nn.Linear, nn.Conv2d)):
                return module
            if self.is_opaque(module):
                return None
        return None

    def _next_label(self, path: str) -> str:
        self._runs[path] += 1
        run = self._runs[path]
        if run == 1:
            return path
        return f"{path}#{run}"

    def _leave_alone(
        self,
        name: str,
        what: str,
        macs: int | None,
        parameters: int,
    ) -> None:
        if not name:
            computed = sum(key.startswith(FUNCTIONAL) for key in self.untouched)
            name = f"{FUNCTIONAL}{computed + 1}"
            parameters = 0
        before = self.untouched.get(name)
        if before is not None:  # it runs again, with the same weights
            macs = _sum_if_known(macs, before.macs)
        self.untouched[name] = Untouched(name, what, macs, parameters)


def _is_several_matrices(weight: Tensor) -> bool:
    """Whether each input meets only one of several matrices."""
    if weight.ndim != 3 or weight.shape[0] == 1:
        return False
    # An expanded view, of stride 0, repeats a single one.
    return weight.stride(0) != 0


def _as_pair(values: Sequence[int], vertical: int) -> Pair:
    """(vertical, horizontal), of a 1-d convolution with this for vertical."""
    if len(values) == 1:
        return vertical, int(values[0])
    return int(values[0]), int(values[1])


def _layer_of(parameter: str) -> str:
    return parameter.removesuffix(".weight")


def _sum_if_known(first: int | None, second: int | None) -> int | None:
    if first is None or second is None:
        return None
    return first + second
