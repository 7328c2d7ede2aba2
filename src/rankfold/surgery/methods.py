"""The plan that a method makes of a network."""

from __future__ import annotations

from importlib import import_module

from torch import nn

from rankfold.machine import Hardware
from rankfold.mapping import ArraySpec
from rankfold.plan.methods import Method
from rankfold.plan.plan import Plan
from rankfold.plan.uniform import Bits, uniform_plan
from rankfold.workload import Network


def plan_of(
    method: Method | None,
    model: nn.Module,
    network: Network,
    array: ArraySpec | Hardware,
    *,
    bits: Bits = None,
    mapping: str = "sdk",
) -> Plan:
    """The plan that a method makes of a network, from its shapes, or from its weights where these decide.

    Args:
        method: the method with its setting; None: every layer stays dense.
        model: the dense network, which is left as it is.
        network: the same, traced.
        array: the array or the hardware to plan for.
        bits: as in `uniform_plan`.
        mapping: as in `uniform_plan`; methods that look at weights take no notice of it.

    Raises:
        InputError: a layer cannot have the setting.
        MissingDependencyError: the method needs a package that is not installed, as channel pruning does.
    """
    if method is None or not method.maker:
        return uniform_plan(network, array, method, bits=bits, mapping=mapping)
    # By its address, as plans are made without torch and the step that makes this one stands above them.
    module, _, name = method.maker.partition(":")
    make = getattr(import_module(module), name)
    plan: Plan = make(model, network, array, method, bits=bits)
    return plan
