"""What a plan costs on the array."""

from rankfold.cost.cycles import BASIC_METHODS, LayerCycles, NetworkCycles, network_cycles

__all__ = ["BASIC_METHODS", "LayerCycles", "NetworkCycles", "network_cycles"]
