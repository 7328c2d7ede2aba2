"""Which layer alone reads what another one computes, channel by channel, seen while a network runs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from rankfold.calibration.observation import evaluating, observing
from rankfold.calibration.replaying import Replay
from rankfold.calibration.samples import Inputs, call, cut, size_of

# Functions of torch that keep channels apart: each channel of what they give is computed from that of what
# they get, and nothing else.
NORMS = {"batch_norm", "contiguous", "dropout", "dropout2d"}
POOLS = {"adaptive_avg_pool2d", "adaptive_max_pool2d", "avg_pool2d", "max_pool2d"}
RECTIFIERS = {"celu", "elu", "leaky_relu", "leaky_relu_", "relu", "relu6", "relu_", "selu"}
OTHERS = {"clamp", "gelu", "hardtanh", "hardtanh_", "mish", "sigmoid", "silu", "silu_", "softplus", "tanh"}
HARD = {"hardsigmoid", "hardswish"}
CHANNEL_BY_CHANNEL = frozenset(NORMS | POOLS | RECTIFIERS | OTHERS | HARD)
# Of two values, either of which may come from the layer, or both, as in x * sigmoid(x).
ARITHMETIC = frozenset(
    {"add", "add_", "mul", "mul_", "sub", "sub_", "div", "div_", "__radd__", "__rmul__", "__rsub__"}
)


def sole_readers(model: nn.Module, batches: Iterable[Inputs], names: Sequence[str]) -> dict[str, str]:
    """The convolution that alone reads the output of another one, each of its input channels from one of it.

    Between both may stand what keeps channels apart, such as batch norms, activations, pools, and sums and
    products of what comes from one layer, also with other values. So a channel
    that the reader does not read need not be computed: nothing else in the network depends on it. Channels of
    sums with shortcuts, which others read as well, are none of these.

    What follows what is seen by running the first image, as by `following_norms`; that nothing else depends
    on the channels, code that is not seen among it, runs with other values of them confirm.

    Args:
        model: any network; it runs in eval mode, then is as before.
        batches: inputs of the model, on its device; only the first image is used.
        names: of convolutions.

    Returns:
        Name of the layer -> name of its reader, of layers that run once.
    """
    modules = dict(model.named_modules())
    layers = {name: modules[name] for name in names if isinstance(modules.get(name), nn.Conv2d)}
    if not layers:
        return {}
    for batch in batches:
        first = cut(batch, size_of(batch), 0, 1)
        traces = _Traces()
        with evaluating(model), observing(layers, before=traces.got, after=traces.gave):
            with traces, torch.no_grad():
                output = call(model, first)
            traces.note(output)
        replay = Replay(model, first, list(layers))
        found = traces.readers()
        return {name: reader for name, reader in found.items() if replay.unfelt([name], held=reader)}
    return {}


class _Traces(TorchFunctionMode):
    """Follows the outputs of layers, while it is on, until something mixes their channels, or keeps them."""

    def __init__(self) -> None:
        super().__init__()
        self._runs: Counter[str] = Counter()  # calls of each layer
        self._uses: Counter[int] = Counter()  # of each value that is followed
        self._passed_on: Counter[int] = Counter()  # those of them that keep channels apart
        # The layer that each comes from; held, so that ids stay its own.
        self._of: dict[int, tuple[str, Tensor]] = {}
        self._chains: dict[str, list[int]] = {}  # the values of each layer, one made from the other
        self._read: dict[str, list[tuple[str, int]]] = {}  # by which layers, and which of the values

    def gave(self, name: str, layer: nn.Module, _: object, output: object) -> None:
        """A layer ran."""
        self._runs[name] += 1
        if isinstance(output, Tensor):
            self._follow(name, output)

    def got(self, name: str, layer: nn.Module, input: object) -> None:
        """A layer is about to read."""
        known = self._of.get(id(input))
        if known is not None:
            self._read.setdefault(known[0], []).append((name, id(input)))

    def note(self, values: object) -> None:
        """Count the values that are followed among nested ones."""
        if isinstance(values, Tensor):
            self._uses[id(values)] += id(values) in self._of
        elif isinstance(values, Mapping):
            self.note(list(values.values()))
        elif isinstance(values, (list, tuple)):
            for value in values:
                self.note(value)

    def readers(self) -> dict[str, str]:
        """Of the layers that ran once, whose values are read once but for what keeps channels apart."""
        found = {}
        for name, reads in self._read.items():
            reader, read = reads[0]
            once = self._runs[name] == self._runs[reader] == len(reads) == 1
            mixed = {value: self._uses[value] - self._passed_on[value] for value in self._chains[name]}
            if once and mixed.pop(read) == 1 and not any(mixed.values()):
                found[name] = reader
        return found

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        keywords = kwargs or {}
        given = self._channel_by_channel(func.__name__, args, keywords)
        result = func(*args, **keywords)
        if isinstance(result, torch.Size):
            return result  # a question for a shape is no use
        if result is None or isinstance(result, (Tensor, list, tuple)):
            self.note([*args, keywords])
        if given and isinstance(result, Tensor) and all(result.shape[:2] == one.shape[:2] for one in given):
            name, _ = self._of[id(given[0])]
            self._passed_on.update(map(id, given))
            self._go_on(name, given[0], result)
        return result

    def _channel_by_channel(self, function: str, args: Any, keywords: Any) -> list[Tensor]:
        """The values of one layer whose channels a function keeps apart; none where it mixes them."""
        if function in CHANNEL_BY_CHANNEL:
            given = [args[0] if args else keywords.get("input")]
        elif function in ARITHMETIC:
            given = [*args, *keywords.values()]
        else:
            return []
        followed = [value for value in given if id(value) in self._of]
        # What comes of two layers belongs to neither.
        if len({self._of[id(value)][0] for value in followed}) > 1:
            return []
        return followed

    def _follow(self, name: str, value: Tensor) -> None:
        self._of[id(value)] = name, value
        self._chains.setdefault(name, []).append(id(value))

    def _go_on(self, name: str, given: object, result: Tensor) -> None:
        """Follow what was made of a value; in place it stays the same one, with that use taken back."""
        if result is given:
            self._uses[id(result)] -= 1
            self._passed_on[id(result)] -= 1
        else:
            self._follow(name, result)
