"""Whether a network in memory is what a plan says."""

from __future__ import annotations

from typing import Any

from torch import nn

from rankfold.errors import InputError
from rankfold.nn.plain import CONV_ATTRIBUTES
from rankfold.nn.quantised import QuantLayer
from rankfold.plan.layer import LayerPlan
from rankfold.plan.plan import Plan
from rankfold.surgery.by_weights import called_as_functions
from rankfold.surgery.kinds import surgery_of
from rankfold.workload.tracing.torch_layers import has_hooks

STEP = "quantiser.step"  # what quantisers add to the state of a layer

Sizes = dict[str, tuple[int, ...]]


def check_follows(model: nn.Module, plan: Plan, *, quantised: bool = True) -> None:
    """Refuse a network whose layers are not what the plan says: the two could not be loaded together.

    What a layer should be is built from the size of the layer that it stands for, without weights, and
    compared by the names and shapes of its parameters and masks, and by the channels that the plan names.

    Args:
        model: the network after `compress_`.
        plan: the plan that it shall follow.
        quantised: whether it shall have the quantisers of the plan, too; False: it shall have none yet.

    Raises:
        InputError: a layer is something else; the message names it.
    """
    modules = dict(model.named_modules(remove_duplicate=False))
    called = called_as_functions(model, plan)
    layers = [layer for layer in plan.layers if layer.name not in called]
    # All sizes first: quantisers of a network that follows another plan are no news.
    for layer in layers:
        if layer.name not in modules:
            raise InputError(
                f"the plan names layer {layer.name}, which the network does not have; give the plan that it "
                "follows"
            )
        _check_made(layer, modules[layer.name])
        surgery_of(layer.kind).check_channels(layer, modules)
    for layer in layers:
        for part in surgery_of(layer.kind).parts(layer):
            signed = layer.input_signed
            if part.signed is not None:
                signed = part.signed
            _check_quantised(layer, modules[part.name], signed, quantised)


def _check_made(layer: LayerPlan, module: nn.Module) -> None:
    """Refuse a module that is of another kind, or of other sizes."""
    if not layer.kind.changes_weight and _keeps_its_own(module):
        return
    plain = _plain(module)
    if plain is None:
        return  # of the user's own sort, which no plan changes
    surgery = surgery_of(layer.kind)
    surgery.check_made(layer, plain)
    wanted, found = _sizes(surgery.build(layer, plain)), _sizes(module)
    if found != wanted:
        raise InputError(
            f"layer {layer.name} of the network is not {layer.kind.short()}, as the plan says: it has "
            f"{_listed(found)}, not {_listed(wanted)}; call compress_ with this plan first, or give the plan "
            "that the network follows"
        )


def _check_quantised(layer: LayerPlan, module: nn.Module, signed: bool | None, wanted: bool) -> None:
    if not isinstance(module, QuantLayer):
        if wanted and layer.quantised:
            raise InputError(
                f"layer {layer.name} is not quantised in the network, as the plan says; call quantise_ first"
            )
        return
    if not wanted:
        raise InputError(f"layer {layer.name} is quantised already; give the network as compress_ made it")
    bits = module.weight_quantiser.bits, module.input_quantiser.bits
    if bits != (layer.weight_bits, layer.input_bits):
        raise InputError(
            f"layer {layer.name} has weights and inputs of {bits[0]} and {bits[1]} bits, the plan says "
            f"{layer.weight_bits} and {layer.input_bits}; give the plan that the network follows"
        )
    narrow = module.weight_quantiser.narrow
    if narrow != layer.narrow_weights:
        raise InputError(
            f"layer {layer.name}: narrow_weights is {layer.narrow_weights} in the plan and {narrow} in the "
            "network; give the plan that quantise_ returned"
        )
    found = module.input_quantiser.signed
    if found != signed:
        raise InputError(
            f"layer {layer.name}: input_signed is {signed} in the plan and {found} in the network; give the "
            "plan that quantise_ returned"
        )


def _plain(module: nn.Module) -> nn.Module | None:
    """The dense layer that a module stands for, without weights; None: it stands for none."""
    attributes: Any = module
    biased = getattr(module, "bias", None) is not None
    if hasattr(module, "in_features") and hasattr(module, "out_features"):
        return nn.Linear(attributes.in_features, attributes.out_features, biased, device="meta")
    if all(hasattr(module, name) for name in CONV_ATTRIBUTES):
        window = {name: getattr(module, name) for name in CONV_ATTRIBUTES}
        return nn.Conv2d(**window, bias=biased, device="meta")
    return None


def _keeps_its_own(module: nn.Module) -> bool:
    """Whether the weights of a layer that stays as it is may go by other names, or lie in another order."""
    if isinstance(module, nn.ConvTranspose2d) or hasattr(module, "parametrizations"):
        return True
    # Such as those of `torch.nn.utils.weight_norm` and `prune`, which compute the weight.
    return type(module) in (nn.Conv2d, nn.Linear) and has_hooks(module)


def _sizes(module: nn.Module) -> Sizes:
    """The shapes of parameters and buffers, without steps of quantisers."""
    sizes: Sizes = {}
    for name, values in module.state_dict(keep_vars=True).items():
        if not name.endswith(STEP):
            sizes[name] = tuple(values.shape)
    return sizes


def _listed(sizes: Sizes) -> str:
    return ", ".join(f"{name} {size}" for name, size in sizes.items()) or "no weights"
