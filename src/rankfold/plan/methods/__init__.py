"""The methods of compression: one setting for all layers of a network, and what it makes of each.

A method is what users choose (`--method` on the command line, `method` in grids of runs); a kind is what one
layer becomes by it. `register_method` makes one known to the command line, grids and their tables.
"""

from rankfold.plan.methods.channels import ChannelPruning
from rankfold.plan.methods.low_rank import LowRank
from rankfold.plan.methods.method import Method
from rankfold.plan.methods.planned import Planned
from rankfold.plan.methods.pruning import (
    Garos,
    Pairs,
    Pairs2023,
    Pairs2024,
    PatDNN,
    PatDNNByChannel,
    PatDNNByLayer,
    SharedSupport,
)
from rankfold.plan.methods.quantise import Quantise
from rankfold.plan.methods.registry import (
    METHODS,
    method_with,
    needed_settings,
    offered_methods,
    register_method,
    registered_method,
    settings,
)
from rankfold.plan.methods.setting import Setting
from rankfold.plan.methods.windows import WindowLowRank, Windows

__all__ = [
    "METHODS",
    "ChannelPruning",
    "Garos",
    "LowRank",
    "Method",
    "Pairs",
    "Pairs2023",
    "Pairs2024",
    "PatDNN",
    "PatDNNByChannel",
    "PatDNNByLayer",
    "Planned",
    "Quantise",
    "Setting",
    "SharedSupport",
    "WindowLowRank",
    "Windows",
    "method_with",
    "needed_settings",
    "offered_methods",
    "register_method",
    "registered_method",
    "settings",
]

for _method in (
    LowRank,
    PatDNN,
    PatDNNByChannel,
    PatDNNByLayer,
    Pairs,
    Pairs2023,
    Pairs2024,
    Garos,
    SharedSupport,
    Quantise,
    ChannelPruning,
    Windows,
    WindowLowRank,
    Planned,
):
    register_method(_method)
