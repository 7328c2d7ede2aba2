"""The plan of a pattern-pruned network: e entries of every kernel, in the layers that low-rank would compress."""

from __future__ import annotations

from dataclasses import replace

from rankfold.errors import InputError
from rankfold.mapping import PRUNED_METHODS, ArraySpec
from rankfold.plan.plan import DENSE, PLAIN, PRUNED, PRUNINGS, SUPPORT, LayerPlan, Plan
from rankfold.plan.support import check_entries
from rankfold.plan.uniform import candidates, check_plan_bits
from rankfold.pruning import PAIRS, PATDNN
from rankfold.workload import Network

TITLES = {PATDNN: "PatDNN", PAIRS: "PAIRS", SUPPORT: "shared support"}


def pruned_plan(
    network: Network,
    array: ArraySpec,
    pruning: str,
    entries: int,
    bits: int | None = None,
    mapping: str = "sdk",
    block: int | None = None,
    steering: str = PLAIN,
) -> Plan:
    """Prune every kernel of every layer to the same number of entries.

    Args:
        network: the traced network.
        array: the array to plan for.
        pruning: `patdnn`, `pairs` or `support`.
        entries: e, positions kept of each kernel; layers whose kernels have no more stay as they are.
        bits: of weights and inputs, 1 to 8; None keeps float. The first convolution and the classifier get 8.
        mapping: how layers are laid on the array; pruned ones follow with `im2col` and `best`, else with `sdk`.
        block: output channels that share a pattern under `pairs`; None: all of a group.
        steering: `plain` or `ideal`, how rows are counted.

    Raises:
        InputError: an unknown pruning, or a number of bits or entries that no layer can have.
    """
    if pruning not in PRUNINGS:
        raise InputError(f"pruning (={pruning}) must be one of {', '.join(PRUNINGS)}")
    if entries < 1:
        raise InputError(f"entries (={entries}) must be 1 or more")
    check_plan_bits(bits)
    pruned_mapping = mapping if mapping in PRUNED_METHODS else "sdk"
    layers = []
    for name, shape, why, width in candidates(network, bits):
        positions = shape.kernel[0] * shape.kernel[1]
        layer = LayerPlan(name, DENSE, mapping=mapping, weight_bits=width, input_bits=width, reason=why)
        if not why and entries >= positions:
            layer = replace(layer, reason=f"its kernel has only {positions} positions")
        elif not why:
            check_entries(shape, entries)
            layer = replace(
                layer, kind=PRUNED, pruning=pruning, entries=entries, block=block, steering=steering, mapping=pruned_mapping,
                reason=f"{TITLES[pruning]}, {entries} of {positions} positions",
            )  # fmt: skip
        layers.append(layer)
    if all(layer.kind == DENSE for layer in layers):
        raise InputError(f"entries (={entries}) prune no layer of {network.name}: they must be fewer than a kernel has positions")
    return Plan(network.name, network.input, array, tuple(layers))
