"""What a network costs under a plan: its layers mapped, their activity counted and priced."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from rankfold.arguments import Wanted, takes
from rankfold.cost.energy.activity import StageActivity, stage_activity
from rankfold.cost.energy.chosen_table import find_table, hardware_table
from rankfold.cost.energy.engine import stage_energy
from rankfold.cost.energy.network import LayerEnergy, NetworkEnergy
from rankfold.cost.energy.table import DAC_BITS, ComponentTable
from rankfold.cost.kinds import cost_of
from rankfold.cost.planned import BITS, MASKS, Masks, bits_of, counted_layers, planned_mapping
from rankfold.machine import Hardware
from rankfold.mapping import ArraySpec
from rankfold.mapping.array import SIGN_MAGNITUDE, TWOS_COMPLEMENT
from rankfold.plan import DenseLayer, LayerPlan, Plan, uniform_plan, weights
from rankfold.plan.plan import PLAN, check_plan
from rankfold.workload import ConvShape, Network
from rankfold.workload.network import NETWORK


@takes(
    network=NETWORK,
    plan=PLAN,
    table=Wanted(
        "a ComponentTable, the name or file of one, or a Hardware",
        str,
        ComponentTable,
        Hardware,
        optional=True,
    ),
    masks=MASKS.or_none,
)
def energy_of(
    network: Network,
    plan: Plan,
    table: str | ComponentTable | Hardware | None = None,
    masks: Masks | None = None,
) -> NetworkEnergy:
    """Energy, latency and area of a network under a plan, for one image, each tile on an array of its own.

    Args:
        network: the network.
        plan: its plan; the array is the plan's.
        table: the components, or the name or YAML file of a table of them; or the hardware to count for
            instead of the plan's; None: the plan's hardware.
        masks: the weights that pattern-pruned layers keep, see `load_masks`; None: those of the plan.

    Raises:
        InputError: see `network_energy`; the plan is for another network, or images of another size; or there
            is no such table.
    """
    check_plan(plan, network)
    if isinstance(table, Hardware):
        plan, table = plan.on(table), None
    if table is None:
        table = hardware_table(plan.machine)
    elif isinstance(table, str):
        table = find_table(table, plan.array)
    return network_energy(network, plan, table, masks)


def network_energy(
    network: Network,
    plan: Plan,
    table: ComponentTable,
    masks: Masks | None = None,
    circuits: bool = True,
    linear: bool | None = None,
) -> NetworkEnergy:
    """What a network costs under a plan, each tile on an array of its own.

    Where the array says nothing of cells and DACs, the table's bits per cell and one-bit DACs are taken;
    where the plan has no bits, 4 (8 in the first convolution and the classifier). `NetworkEnergy.assumed`
    names what was taken.

    Args:
        network: the network.
        plan: its plan; the array is the plan's.
        table: the components.
        masks: the weights that pattern-pruned layers keep, (m, C_in/G, kh, kw) booleans by layer; see
            `load_masks`. None: those of the plan.
        circuits: whether pattern-pruned layers and the first stages of row-sparse ones pay for their steering
            circuits: a multiplexer for each row they drive, or with ideal steering for each row and column of
            weights. False: steering for free, as papers count it.
        linear: whether fully connected layers count too; None: where the plan makes any of them low-rank.

    Raises:
        InputError: the table's cells store fewer bits than the array's, not one weight fits a row, or the
            mask of a pruned layer, or the support of a row-sparse one, is missing.
    """
    # Energy needs every bit to be known, where cycles do without.
    precise, assumed = precise_plan(network, plan, table)
    # By weight: several layers may run one.
    entries = {entry.name: entry for entry in precise.layers}
    if masks is None:
        masks = plan.masks
    layers = []
    for shape in counted_layers(network, plan, linear):
        mask = masks.get(shape.weight)
        entry = entries[shape.weight]
        layers.append(layer_energy(shape, precise.array, entry, table, mask, circuits))
    return NetworkEnergy(network.name, precise.array, table, assumed, tuple(layers))


def layer_energy(
    shape: ConvShape,
    array: ArraySpec,
    entry: LayerPlan,
    table: ComponentTable,
    mask: np.ndarray | None = None,
    circuits: bool = True,
) -> LayerEnergy:
    """What one convolution costs; array and entry are those of a `precise_plan`. Arguments and errors as
    `layer_activities`.
    """
    activities = layer_activities(shape, array, entry, mask, circuits)
    return LayerEnergy(shape, tuple(stage_energy(table, array, activity) for activity in activities))


def dense_plan(plan: Plan, mapping: str = "im2col") -> Plan:
    """The plan that keeps every layer dense, at the same bits: the network that savings are measured against.

    Raises:
        InputError: `mapping` is no mapping of a dense layer.
    """
    layers = []
    # Bits stay, so that a comparison shows what the compression does and not the rounding.
    for layer in plan.layers:
        layers.append(replace(layer, kind=DenseLayer(), mapping=mapping, reason=""))
    return replace(plan, layers=tuple(layers))


def layer_activities(
    shape: ConvShape,
    array: ArraySpec,
    entry: LayerPlan,
    mask: np.ndarray | None = None,
    circuits: bool = True,
) -> tuple[StageActivity, ...]:
    """What the arrays do for a layer: one stage, or the two of a low-rank pair.

    Args:
        shape: the convolution.
        array: the physical array, with bits per cell and DAC.
        entry: the layer's plan, with bits.
        mask: the weights that a pattern-pruned layer keeps.
        circuits: as `network_energy` takes it.

    Raises:
        InputError: the layer has no bits, not one weight fits a row, or the mask is missing.
    """
    weight_bits, input_bits = bits_of(shape, entry)
    in_weights = array.in_weights(weight_bits)
    cost = cost_of(entry.kind)
    # Columns counted in weights: a weight takes several physical columns.
    steered = cost.steered(shape, in_weights, entry, mask)
    if steered is not None:
        # Ideal steering needs a multiplexer for each row and column of weights.
        steering = "none"
        if circuits:
            steering = "kernels"
        signed = entry.input_signed
        return (
            stage_activity(
                steered, array, weight_bits, input_bits, steering=steering, layer=shape, input_signed=signed
            ),
        )
    stages = planned_mapping(shape, in_weights, entry, mask).stages
    chosen = cost.row_circuits(entry.kind)
    if not circuits:
        chosen = ("none",) * len(stages)
    signs = cost.input_signs(entry.kind, entry.input_signed)
    return tuple(
        stage_activity(stage, array, weight_bits, input_bits, steering=how, input_signed=signed)
        for stage, how, signed in zip(stages, chosen, signs, strict=True)
    )


def precise_plan(network: Network, plan: Plan, table: ComponentTable) -> tuple[Plan, tuple[str, ...]]:
    """The plan with all bits of cells, DACs, weights and inputs filled in, and what was filled in, in words.

    Raises:
        InputError: the table's cells store fewer bits than the array's.
    """
    array, assumed = table.with_cells(plan.array), []
    if array is not plan.array:
        assumed.append(f"{table.cell_bits}-bit cells, {array.coding_in_words}")
    if array.dac_bits is None:
        array = replace(array, dac_bits=DAC_BITS)
        assumed.append(f"{DAC_BITS}-bit DACs")
    table.check_cells(array)
    table.check_converters(array)
    entries = {name: plan.layer(name) for name in weights(network)}
    if any(entry.weight_bits is None for entry in entries.values()):
        assumed.append(
            f"{BITS}-bit weights and inputs, 8 in the first convolution and the classifier, where the plan "
            "has floats"
        )
        # A uniform plan knows which layers get 8 bits.
        usual = uniform_plan(network, array, bits=BITS)
        for name, entry in entries.items():
            if entry.weight_bits is None:
                bits = usual.layer(name)
                # A layer that can only stay as it is has no bits in any plan.
                entries[name] = replace(
                    entry, weight_bits=bits.weight_bits or BITS, input_bits=bits.input_bits or BITS
                )
    if array.input_coding == SIGN_MAGNITUDE:
        assumed.append("drivers of both signs at the price of drivers of one")
    if array.input_coding != TWOS_COMPLEMENT and any(one.input_signed is None for one in entries.values()):
        assumed.append("slices enough for signed and unsigned inputs, where the plan does not say which")
    return replace(plan, array=array, layers=tuple(entries.values())), tuple(assumed)
