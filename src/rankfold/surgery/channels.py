"""Structured channel pruning: whole output channels go, with everything that reads them. Chosen with
torch-pruning.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from rankfold.arguments import Wanted, takes
from rankfold.calibration.observation import evaluating, observing
from rankfold.calibration.samples import BatchError, Inputs, call
from rankfold.errors import InputError, MissingDependencyError
from rankfold.machine import Hardware
from rankfold.machine.hardware import HARDWARE
from rankfold.mapping import MAPPINGS, ArraySpec
from rankfold.models.device import MODEL
from rankfold.plan.kinds import ChannelLayer, DenseLayer, LayerKind
from rankfold.plan.layer import LayerPlan
from rankfold.plan.methods import ChannelPruning
from rankfold.plan.plan import Plan
from rankfold.plan.uniform import Bits, candidates, check_plan_bits
from rankfold.workload import Network, example_inputs
from rankfold.workload.network import NETWORK

# Operations that cut or join channels, at places that may stand in the network's code.
REARRANGING = ("_SliceOp", "_ConcatOp", "_SplitOp", "_UnbindOp")  # torch-pruning's names


@takes(
    model=MODEL,
    network=NETWORK,
    array=HARDWARE,
    method=Wanted("ChannelPruning(ratio)", ChannelPruning),
)
def channel_plan(
    model: nn.Module,
    network: Network,
    array: ArraySpec | Hardware,
    method: ChannelPruning,
    *,
    bits: Bits = None,
    mapping: str = "sdk",
) -> Plan:
    """Remove a share of the output channels of every convolution that alone makes its channels.

    Channels that a residual sum shares between layers stay, as do those of the first convolution and the
    classifier.

    Args:
        model: the dense network, which is left as it is.
        network: its trace.
        array: the array or the hardware to plan for.
        method: the share of the channels to remove; at least one channel stays.
        bits: of weights and inputs, 1 to 8, or (of weights, of inputs); None keeps float. The first
            convolution and the classifier get 8.
        mapping: how layers are laid on the array.

    Raises:
        InputError: a number of bits out of range, or nothing can be removed.
        MissingDependencyError: torch-pruning is not installed.
    """
    if mapping not in MAPPINGS:
        raise InputError(f"mapping (={mapping}) must be one of {', '.join(MAPPINGS)}")
    check_plan_bits(bits)
    every = list(candidates(network, bits))
    names = dict(model.named_modules())
    for name, *_ in every:
        if name not in names:
            raise InputError(f"the network has no module {name}, which its trace names; give the model's own")
    # Which layers can lose channels is only seen by removing them, so that is done on a copy.
    small = copy.deepcopy(model)
    wanted: dict[str, int] = {}
    for name, shape, why, _ in every:
        kept = max(1, round((1 - method.ratio) * shape.m))
        # A layer with a reason keeps its outputs, but may lose inputs to the layer before it.
        if not why and kept < _outputs(model.get_submodule(name)):
            wanted[name] = kept
    _remove(small, example_inputs(small, network.input, network.inputs), wanted)
    layers = []
    for name, _, why, (weight_bits, input_bits) in every:
        # Read off the copy: a layer changes by what was asked of it, and by what was asked of those it reads.
        before = channels_of(model.get_submodule(name))
        after = channels_of(small.get_submodule(name))
        kind: LayerKind = DenseLayer()
        reason = why or "its channels are shared with other layers"
        if before != after:
            kind = ChannelLayer(*after)
            reason = _in_words(before, after)
        layers.append(
            LayerPlan(
                name, kind, mapping=mapping, weight_bits=weight_bits, input_bits=input_bits, reason=reason
            ),
        )
    if not any(layer.kind.changes_weight for layer in layers):
        raise InputError(
            f"no convolution of {network.name} makes channels of its own, so none can be removed; use "
            "another method"
        )
    return Plan.of(network, array, layers)


def _in_words(before: tuple[int, int], after: tuple[int, int]) -> str:
    """Which channels are left: `8 of 16 input channels, 4 of 8 output channels`."""
    words = []
    for left, had, side in zip(after, before, ("input", "output"), strict=True):
        if left < had:
            words.append(f"{left} of {had} {side} channels")
    return ", ".join(words)


def _narrowed(plan: Plan) -> dict[str, ChannelLayer]:
    """The layers that lose channels, by name."""
    return {layer.name: layer.kind for layer in plan.layers if isinstance(layer.kind, ChannelLayer)}


def select_channels_(model: nn.Module, plan: Plan) -> None:
    """Keep, in place, the most important channels of every channel-pruned layer, as many as `plan` says.

    Importance is the L2 norm over all weights that go with a channel, of the layer and of those that read it
    (torch-pruning's `GroupMagnitudeImportance`; Fang et al., "DepGraph", CVPR 2023).

    Raises:
        InputError: the plan's numbers of channels do not fit each other or the network.
        MissingDependencyError: torch-pruning is not installed.
    """
    narrowed = _narrowed(plan)
    wanted: dict[str, int] = {}
    for name, kind in narrowed.items():
        # Layers that lose inputs alone follow of themselves.
        if kind.out_channels < _outputs(model.get_submodule(name)):
            wanted[name] = kind.out_channels
    # Tried on a copy first: the plan may come from a file, and the network must survive a wrong one.
    small = copy.deepcopy(model)
    example = example_inputs(model, plan.input, plan.inputs)
    _remove(small, example, wanted)
    for name, kind in narrowed.items():
        left = channels_of(small.get_submodule(name))
        if left != (kind.in_channels, kind.out_channels):
            raise InputError(
                f"plan, layer {name}: in_channels (={kind.in_channels}) and out_channels "
                f"(={kind.out_channels}) must be {left[0]} and {left[1]}, as the layers before and after it "
                "leave them"
            )
    _remove(model, example, wanted)


def narrow_(model: nn.Module, plan: Plan) -> None:
    """Give channel-pruned layers, in place, as many channels as `plan` says, for weights to be loaded.

    Batch norms follow the inputs that reach them. The first channels' weights stay in place.

    Raises:
        InputError: the numbers of channels do not fit each other; the model is then as it was.
    """
    # A copy takes the damage where the numbers do not meet.
    _narrow(copy.deepcopy(model), plan)
    _narrow(model, plan)


def _narrow(model: nn.Module, plan: Plan) -> None:
    for name, kind in _narrowed(plan).items():
        _resize_layer_(model.get_submodule(name), kind.in_channels, kind.out_channels)
    # Norms are not in the plan. One forward pass shows how many channels reach each of them.
    norms = {name: module for name, module in model.named_modules() if isinstance(module, _BatchNorm)}
    example = example_inputs(model, plan.input, plan.inputs)
    try:
        with evaluating(model), observing(norms, before=_fit_norm_):
            call(model, example)
    except BatchError as error:  # with torch's own words for channels that do not meet
        raise InputError(f"the plan's numbers of channels do not fit each other: {error}") from error


def _fit_norm_(_: str, norm: nn.Module, inputs: torch.Tensor) -> None:
    """Give a norm as many channels as reach it."""
    _resize_norm_(norm, inputs.shape[1])


def _remove(model: nn.Module, example: Inputs, wanted: Mapping[str, int]) -> None:
    """Prune, in place, each named convolution to so many outputs; those that share their channels are left as
    they are.
    """
    try:
        import torch_pruning
    except ImportError as error:
        raise MissingDependencyError(
            "channel pruning needs torch-pruning: pip install 'rankfold[channels]'"
        ) from error

    # torch-pruning runs the network on zeros, from which batch norms must not learn.
    was_training = model.training
    model.eval()
    with _followed(model):
        graph = torch_pruning.DependencyGraph().build_dependency(model, example_inputs=example)
        importance = torch_pruning.importance.GroupMagnitudeImportance(p=2)
        # Importance is of the weights that are left, so that layers come in the order of the plan.
        for name, kept in wanted.items():
            module = model.get_submodule(name)
            outputs = _outputs(module)
            # All channels at once: the whole group is looked at before any of it is removed.
            every = graph.get_pruning_group(
                module,
                torch_pruning.prune_conv_out_channels,
                idxs=list(range(outputs)),
            )
            if not _alone(every):
                continue
            # Stable, so that ties are broken alike in every run.
            least = importance(every).argsort(stable=True)[: outputs - kept].tolist()
            going = graph.get_pruning_group(
                module,
                torch_pruning.prune_conv_out_channels,
                idxs=sorted(least),
            )
            going.prune()
    model.train(was_training)


@contextmanager
def _followed(model: nn.Module) -> Iterator[None]:
    """A network with gradients everywhere: torch-pruning follows them, and makes parameters anew."""
    frozen = []
    # By all names: of a weight that two modules share each gets one of its own.
    for name, parameter in model.named_parameters(remove_duplicate=False):
        if not parameter.requires_grad and parameter.is_floating_point():
            frozen.append(name)
    for name in frozen:
        model.get_parameter(name).requires_grad_(True)
    try:
        yield
    finally:
        for name in frozen:
            model.get_parameter(name).requires_grad_(False)


def _alone(group: Any) -> bool:
    """Whether one layer alone makes the channels, and only layers that `narrow_` can resize read them."""
    makers = 0
    for dependency, _ in group:
        module = dependency.target.module
        if isinstance(module, nn.Conv2d | nn.Linear):
            # A handler that prunes outputs makes the channels; the others in the group only read them.
            makers += "out_channels" in dependency.handler.__name__
            continue
        # A norm of channels is resized with them, other modules with weights of their own are not.
        other = any(True for _ in module.parameters()) and not isinstance(module, _BatchNorm)
        if other or type(module).__name__ in REARRANGING:
            return False
    return makers == 1


def channels_of(module: nn.Module) -> tuple[int, int]:
    """(input, output) channels of a convolution, or features of a linear layer."""
    if isinstance(module, nn.Conv2d):
        return module.in_channels, module.out_channels
    assert isinstance(module, nn.Linear)  # a network's trace names nothing else
    return module.in_features, module.out_features


def _outputs(module: nn.Module) -> int:
    return channels_of(module)[1]


def _resize_layer_(module: nn.Module, inputs: int, outputs: int) -> None:
    assert isinstance(module, nn.Conv2d | nn.Linear)
    if isinstance(module, nn.Conv2d):
        # Depthwise: one group for each channel, so that channels and groups shrink together.
        if module.groups == module.in_channels > 1:
            module.groups = inputs
        module.in_channels, module.out_channels = inputs, outputs
        # The second axis of a weight, (m, C_in/G, kh, kw), is that of one group.
        inputs //= module.groups
    else:
        module.in_features, module.out_features = inputs, outputs
    module.weight = _part_of(module.weight, (slice(outputs), slice(inputs)))
    if module.bias is not None:
        module.bias = _part_of(module.bias, (slice(outputs),))


def _part_of(parameter: Tensor, kept: tuple[slice, ...]) -> nn.Parameter:
    """A copy of a part, which is trained if the whole was."""
    return nn.Parameter(parameter.detach()[kept].clone(), parameter.requires_grad)


def _resize_norm_(norm: nn.Module, features: int) -> None:
    assert isinstance(norm, _BatchNorm)
    norm.num_features = features
    for name, parameter in list(norm.named_parameters(recurse=False)):
        setattr(norm, name, _part_of(parameter, (slice(features),)))
    for name, buffer in list(norm.named_buffers(recurse=False)):
        # The running mean and variance; the count of batches is a single number and stays.
        if buffer.ndim:
            setattr(norm, name, buffer[:features].clone())
