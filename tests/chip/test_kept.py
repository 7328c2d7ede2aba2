"""What is kept from one chip to the next never changes what is found of a chip."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings

from common.chips import chip, chips, networks
from rankfold.chip import kept
from rankfold.chip.best import run_on_chip
from rankfold.errors import InputError
from rankfold.machine import ChipSpec
from rankfold.plan import PatDNN, uniform_plan
from rankfold.workload import ConvShape, Network

EXAMPLES = settings(max_examples=3, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def forget() -> None:
    for function in vars(kept).values():
        if hasattr(function, "cache_clear"):
            function.cache_clear()


def found(network: Network, described: ChipSpec) -> dict[str, Any] | str:
    plan = uniform_plan(network, described.hardware, bits=4)
    try:
        return run_on_chip(network, plan, described, choose_mappings=True).to_json()
    except InputError as error:
        return str(error)


def others(described: ChipSpec) -> list[ChipSpec]:
    """Chips that have much in common with one, each in another way."""
    hardware = described.hardware
    cores, buffer = described.cores, described.buffer
    return [
        replace(described, cores=replace(cores, count=cores.count + 3, rate=2 * cores.rate)),
        replace(described, buffer=replace(buffer, energy=buffer.energy + 7, rate=buffer.rate / 2)),
        replace(described, hardware=hardware.altered(adc_bits=(hardware.adc_bits or 5) + 1)),
        replace(described, hardware=hardware.altered(mux=1)),
        replace(described, hardware=hardware.altered(rows=hardware.array.rows // 2)),
        replace(described, interconnect=replace(described.interconnect, latency=9.0)),
    ]


def two_layers() -> Network:
    def layer(name: str) -> ConvShape:
        return ConvShape(name, 16, 16, (3, 3), input=(8, 8), padding=(1, 1, 1, 1))

    return Network("two", (16, 8, 8), (layer("first"), layer("conv")))


@given(networks(), chips())
@EXAMPLES
def test_a_chip_among_others_is_the_chip_alone(network: Network, described: ChipSpec) -> None:
    each = [described, *others(described)]
    alone = []
    for one in each:
        forget()
        alone.append(found(network, one))
    assert [found(network, one) for one in each] == alone
    assert [found(network, one) for one in reversed(each)] == alone[::-1]


def test_weights_that_pruned_layers_keep_are_not_mixed_up() -> None:
    """Plans that differ in their masks alone are equal, and need other arrays."""
    network = two_layers()
    described = chip(cores=4, arrays=16)
    plan = uniform_plan(network, described.hardware, PatDNN(entries=2), bits=4)
    most = np.zeros((16, 16, 3, 3), bool)
    most[:, :, 0, :2] = True
    fewest = most.copy()
    fewest[:, 4:] = False
    runs = [run_on_chip(network, plan, described, {"conv": mask}) for mask in (most, fewest, most)]
    assert runs[0].to_json() == runs[2].to_json() != runs[1].to_json()


@pytest.mark.parametrize("bits", [4, 8])
def test_a_kept_plan_keeps_its_own_hardware(bits: int) -> None:
    network = two_layers()
    described = chip(cores=4, arrays=16)
    for one in (described, *others(described)):
        run = run_on_chip(network, uniform_plan(network, one.hardware, bits=bits), one)
        assert run.plan.machine.mux == one.hardware.mux and run.chip == one
