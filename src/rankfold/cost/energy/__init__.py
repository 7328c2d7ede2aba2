"""What a plan costs in silicon: energy, latency and area, from the activity of its tiles and a table of
components.
"""

from rankfold.cost.energy.accuracy import (
    ACCURACY,
    AGREEMENT,
    NOT_SIMULATED,
    ArrayAccuracy,
    accuracy_in_words,
    accuracy_to_json,
    note_of,
    simulation_options,
)
from rankfold.cost.energy.activity import STEERING, StageActivity, stage_activity
from rankfold.cost.energy.by_mapping import energy_by_mapping
from rankfold.cost.energy.cheapest import all_laid_out, cheapest_mappings
from rankfold.cost.energy.chip import PricedChip, priced_chip
from rankfold.cost.energy.chosen_table import completed, find_table, hardware_table
from rankfold.cost.energy.engine import StageEnergy, stage_energy
from rankfold.cost.energy.formula import Formula
from rankfold.cost.energy.macro import Macro, macro_energy
from rankfold.cost.energy.network import LayerEnergy, NetworkEnergy
from rankfold.cost.energy.on_arrays import OnArrays, on_arrays
from rankfold.cost.energy.pricing import (
    dense_plan,
    energy_of,
    layer_activities,
    layer_energy,
    network_energy,
    precise_plan,
)
from rankfold.cost.energy.sensitivity import SHARES, Comparison
from rankfold.cost.energy.table import (
    DEFAULT_TABLE,
    TABLES,
    Adc,
    Component,
    ComponentTable,
    is_table_file,
    load_table,
    table_text,
)
from rankfold.cost.energy.usual import choose_mappings, counted_plan
from rankfold.cost.energy.zigzag import zigzag_table
from rankfold.cost.planned import BITS

__all__ = [
    "ACCURACY",
    "AGREEMENT",
    "BITS",
    "DEFAULT_TABLE",
    "NOT_SIMULATED",
    "SHARES",
    "STEERING",
    "TABLES",
    "Adc",
    "ArrayAccuracy",
    "Comparison",
    "Component",
    "ComponentTable",
    "Formula",
    "LayerEnergy",
    "Macro",
    "NetworkEnergy",
    "OnArrays",
    "PricedChip",
    "StageActivity",
    "StageEnergy",
    "accuracy_in_words",
    "accuracy_to_json",
    "all_laid_out",
    "cheapest_mappings",
    "choose_mappings",
    "completed",
    "counted_plan",
    "dense_plan",
    "energy_by_mapping",
    "energy_of",
    "find_table",
    "hardware_table",
    "is_table_file",
    "layer_activities",
    "layer_energy",
    "load_table",
    "macro_energy",
    "network_energy",
    "note_of",
    "on_arrays",
    "precise_plan",
    "priced_chip",
    "simulation_options",
    "stage_activity",
    "stage_energy",
    "table_text",
    "zigzag_table",
]
