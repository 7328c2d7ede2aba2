"""What a network costs under every mapping that it is compared under, on the same arrays."""

from __future__ import annotations

from rankfold.cost.cycles import NetworkCycles
from rankfold.cost.energy.activity import stage_activity
from rankfold.cost.energy.engine import stage_energy
from rankfold.cost.energy.network import LayerEnergy, NetworkEnergy
from rankfold.cost.energy.table import ComponentTable
from rankfold.cost.keys import DENSE_FAMILY, CostKey
from rankfold.cost.kinds import cost_of
from rankfold.cost.layer_cycles import LayerCycles
from rankfold.cost.planned import bits_of
from rankfold.plan.kinds import kinds

STAYS = "none"  # circuits before the rows of a layer that drives all of them


def energy_by_mapping(
    placed: NetworkCycles, table: ComponentTable, assumed: tuple[str, ...] = ()
) -> dict[CostKey, NetworkEnergy]:
    """Energy, arrays, area and time under every mapping that arrays can hold.

    Ideal steering is left out: what it costs depends on circuits that only a plan chooses.

    Args:
        placed: the network on arrays as they are built, see `placed_cycles`.
        table: the components.
        assumed: what was filled in, in words, see `precise_plan`.

    Raises:
        InputError: the table's cells store fewer bits than the array's.
    """
    table.check_cells(placed.array)
    # Families of kinds; a word of a family's own, such as `ideal`, is none.
    families = {DENSE_FAMILY, *(cost_of(kind).family for kind in kinds())}
    priced = {}
    for key in placed.total:
        if key.family in families:
            layers = tuple(_layer_energy(layer, key, placed, table) for layer in placed.layers)
            priced[key] = NetworkEnergy(placed.model, placed.array, table, assumed, layers)
    return priced


def _layer_energy(
    layer: LayerCycles, key: CostKey, placed: NetworkCycles, table: ComponentTable
) -> LayerEnergy:
    """One layer under one mapping."""
    stages = layer.mappings[key].stages
    # The layer as it was drives all rows; what it became may have to choose them.
    kind, signed = layer.entry.kind, layer.entry.input_signed
    circuits: tuple[str, ...] = (STAYS,)
    signs: tuple[bool | None, ...] = (signed,)
    if key.family != DENSE_FAMILY:
        circuits = cost_of(kind).row_circuits(kind)
        signs = cost_of(kind).input_signs(kind, signed)
    weight_bits, input_bits = bits_of(layer.shape, layer.entry)
    energies = []
    for stage, steering, signed in zip(stages, circuits, signs, strict=True):
        activity = stage_activity(
            stage, placed.array, weight_bits, input_bits, steering=steering, input_signed=signed
        )
        energies.append(stage_energy(table, placed.array, activity))
    return LayerEnergy(layer.shape, tuple(energies))
