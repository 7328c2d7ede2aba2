"""A network's convolutions: their shapes, by name, traced, or from a table."""

from rankfold.workload.network import Network, Untouched
from rankfold.workload.shape import ConvShape
from rankfold.workload.tracing.trace import trace
from rankfold.workload.zoo import ZOO, zoo_network

__all__ = ["ZOO", "ConvShape", "Network", "Untouched", "trace", "zoo_network"]
