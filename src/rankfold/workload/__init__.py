"""A network's convolutions: their shapes, by name, traced, or from a table."""

from rankfold.workload.inputs import InputSpec, example_inputs
from rankfold.workload.network import Network, Untouched
from rankfold.workload.product import Product
from rankfold.workload.shape import ConvShape
from rankfold.workload.tracing.trace import retrace, trace
from rankfold.workload.zoo import ZOO, zoo_network

__all__ = [
    "ZOO",
    "ConvShape",
    "InputSpec",
    "Network",
    "Product",
    "Untouched",
    "example_inputs",
    "retrace",
    "trace",
    "zoo_network",
]
