"""Which layers of a network may be changed, which bits they may have, and which windows they have."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from torch import nn

from rankfold.calibration.blocked import WHY, blocked
from rankfold.calibration.moments import LARGEST_MOMENTS
from rankfold.calibration.samples import Inputs
from rankfold.errors import InputError
from rankfold.mapping import ArraySpec
from rankfold.mapping.window_cover import AnyWindow
from rankfold.planning.exact.slots import LayerSlot, dense_network
from rankfold.planning.exact.widths import NARROWEST, WIDEST, BitChoices
from rankfold.planning.kinds import windows_computed
from rankfold.surgery.by_weights import called_as_functions
from rankfold.workload import Network


def changeable_slots(
    slots: tuple[LayerSlot, ...],
    network: Network,
    model: nn.Module,
    arrays: Sequence[ArraySpec],
    *,
    kinds: frozenset[str] | None,
    layer_bits: BitChoices | None,
    count_rounding: bool,
) -> tuple[LayerSlot, ...]:
    """The slots with what each layer may become, before anything is known of what that loses.

    Args:
        slots: the layers.
        network: the model's trace.
        model: the network.
        arrays: those that plans are for, and those that costs are counted on.
        kinds: labels of the kinds that layers may become beside dense; None: all.
        layer_bits: the bits that convolutions may have; None: all keep theirs.
        count_rounding: whether what rounding loses counts where all keep theirs, too.

    Raises:
        InputError: the network is not the trace of this model, or there is no layer whose bits could be
            chosen, or counted.
    """
    found = _open_slots(slots, network, model, arrays[0], kinds)
    if layer_bits is not None:
        # Where bits are to be chosen rounding counts as it is.
        return _with_widths(found, model, layer_bits, arrays)
    if count_rounding:
        return _with_counted_rounding(found, model)
    return found


def within_reach(
    slots: Sequence[LayerSlot], model: nn.Module, batches: Iterable[Inputs]
) -> tuple[LayerSlot, ...]:
    """The slots, of which those stay as they are whose losses no gradient tells.

    Args:
        slots: the layers.
        model: the network.
        batches: inputs of the model, on its device; the first is looked at.

    Raises:
        InputError: no layer is left that could become anything.
    """
    names = [slot.name for slot in slots if not slot.why_dense or slot.widths is not None]
    found = blocked(model, batches, names)
    if found and found == set(names):
        raise InputError(
            f"layer {names[0]}: {WHY}, nor to any other that could change, so that what changes lose cannot "
            "be predicted; plan the network without rounding, signs and detached values"
        )
    left = []
    for slot in slots:
        if slot.name in found:
            if slot.widths is not None:
                slot = replace(slot, why_bits=WHY, widths=None)
            slot = replace(slot, why_dense=slot.why_dense or WHY)
        left.append(slot)
    return tuple(left)


def windows_of(slot: LayerSlot, array: ArraySpec) -> tuple[AnyWindow, ...]:
    """The windows that any candidate of a layer computes at once, whatever its bits, each once."""
    windows: dict[AnyWindow, None] = {}
    for variant in slot.variants(array):
        windows.update(dict.fromkeys(windows_computed(variant)))
    return tuple(windows)


def _with_widths(
    slots: Sequence[LayerSlot], model: nn.Module, choices: BitChoices, arrays: Sequence[ArraySpec]
) -> tuple[LayerSlot, ...]:
    """The slots with the bits that convolutions may have; others, and those out of reach, keep their own.

    Args:
        slots: the layers.
        model: the network.
        choices: the bits.
        arrays: that costs are counted on; weights must fit into a row of each.

    Raises:
        InputError: no layer has bits, or none could have others.
    """
    if all(slot.entry.weight_bits is None for slot in slots):
        raise InputError("layer_bits are chosen instead of the network's bits; give it bits, too (bits=4)")
    modules = dict(model.named_modules())
    left = []
    for slot in slots:
        slot = replace(slot, why_bits=_why_bits(slot, modules.get(slot.name)))
        weight_bits, input_bits = slot.entry.weight_bits, slot.entry.input_bits
        if not slot.why_bits and weight_bits is not None and input_bits is not None:
            widths = choices.with_own(weight_bits, input_bits)
            weights = tuple(bits for bits in widths.weights if all(_holds(one, bits) for one in arrays))
            slot = replace(slot, widths=replace(widths, weights=weights))
            if len(weights) == len(widths.inputs) == 1:
                slot = replace(slot, why_bits="no others were offered that its array holds")
        left.append(slot)
    if all(slot.why_bits for slot in left):
        why = "; ".join(dict.fromkeys(slot.why_bits for slot in left))
        raise InputError(f"layer_bits change no layer, as all keep their bits: {why}; omit them")
    return tuple(left)


def _with_counted_rounding(slots: Sequence[LayerSlot], model: nn.Module) -> tuple[LayerSlot, ...]:
    """The slots with their own bits as the only choice of convolutions, so that what rounding to them loses
    counts.

    Args:
        slots: the layers.
        model: the network.

    Raises:
        InputError: there is no layer of which that is predicted.
    """
    modules = dict(model.named_modules())
    left = []
    for slot in slots:
        weight_bits, input_bits = slot.entry.weight_bits, slot.entry.input_bits
        if weight_bits is not None and input_bits is not None and not _why_bits(slot, modules.get(slot.name)):
            if min(weight_bits, input_bits) < NARROWEST:
                raise InputError(
                    f"layer {slot.name}: what rounding loses is predicted for {NARROWEST} to {WIDEST} bits, "
                    f"and it has {weight_bits} of weights and {input_bits} of inputs; omit count_rounding"
                )
            slot = replace(slot, widths=BitChoices((weight_bits,), (input_bits,)))
        left.append(slot)
    if all(slot.widths is None for slot in left):
        raise InputError(
            "count_rounding counts nothing, as no plain convolution has bits; give the network bits, or omit "
            "it"
        )
    return tuple(left)


def _why_bits(slot: LayerSlot, module: nn.Module | None) -> str:
    """Why a layer keeps its bits, in words; empty where it may have others."""
    if slot.entry.weight_bits is None or slot.entry.input_bits is None:
        return "in float"
    if slot.shape.is_linear:
        return "fully connected layers cost nothing here"
    if type(module) is not nn.Conv2d:
        return "no plain convolution"
    if slot.shape.n > LARGEST_MOMENTS:
        return f"more than {LARGEST_MOMENTS:,} inputs"
    return ""


def _holds(array: ArraySpec, weight_bits: int) -> bool:
    """Whether a weight of so many bits fits into a row."""
    try:
        array.in_weights(weight_bits)
    except InputError:
        return False
    return True


def _open_slots(
    slots: tuple[LayerSlot, ...],
    network: Network,
    model: nn.Module,
    array: ArraySpec,
    kinds: frozenset[str] | None,
) -> tuple[LayerSlot, ...]:
    """The slots, for these kinds, of which those that calibration cannot reach stay dense.

    Raises:
        InputError: the network is not the trace of this model.
    """
    modules = {name for name, _ in model.named_modules(remove_duplicate=False)}
    for slot in slots:
        if not slot.why_dense and slot.name not in modules:
            raise InputError(
                f"network has a layer {slot.name}, which the model does not have; give rf.trace of this very "
                "model, or omit it"
            )
    functions = called_as_functions(model, dense_network(network, array, slots))
    left = []
    for slot in slots:
        why = slot.why_dense
        if not why and slot.name in functions:
            why = "called as a function"
        # Its moments are an n x n matrix, and each candidate would factorise it.
        if not why and slot.shape.n > LARGEST_MOMENTS:
            why = f"more than {LARGEST_MOMENTS:,} inputs"
        left.append(replace(slot, why_dense=why, kinds=kinds))
    return tuple(left)
