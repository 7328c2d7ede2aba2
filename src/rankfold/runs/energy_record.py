"""`EnergyRecord`: what a run's network costs in silicon, as `result.json` keeps it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from rankfold.cost import counts_linear
from rankfold.cost.energy import Comparison, NetworkEnergy, dense_plan, find_table, network_energy
from rankfold.errors import InputError
from rankfold.plan import Plan
from rankfold.workload import Network


@dataclass(frozen=True)
class LayerEnergyRecord:
    """One convolution: pJ by component as planned, pJ dense under im2col, and ADC conversions as planned."""

    name: str
    components: dict[str, float]
    dense: float
    conversions: int


@dataclass(frozen=True)
class EnergyRecord:
    """The energy, time and area of a network for one image, dynamic energy in pJ.

    Attributes:
        conditions: technology, ADC, cells and DACs, and what of it was assumed, in words.
        adc_source: where the energy of a conversion comes from.
        layers: one entry for each convolution.
        energy: pJ, as planned.
        dense: pJ of the same network dense under im2col.
        saving: part of `dense` that is saved.
        least_saving: the same where ADCs take 30 % of `dense`, or 80 %, whichever is worse.
        most_saving: the better of the two.
        conversions: columns converted by ADCs, physical and slice by slice.
        arrays: one for each tile.
        area: mm2 of the arrays.
        leakage: uW of the arrays.
        latency: us from an image's first read to its last.
        interval: us between images with layers pipelined.
        tops_per_watt: operations of the stored weights per pJ.
    """

    conditions: str
    adc_source: str
    layers: tuple[LayerEnergyRecord, ...]
    energy: float
    dense: float
    saving: float
    least_saving: float
    most_saving: float
    conversions: int
    arrays: int
    area: float
    leakage: float
    latency: float
    interval: float
    tops_per_watt: float

    @property
    def components(self) -> dict[str, float]:
        """pJ by component, as planned."""
        total: dict[str, float] = {}
        for layer in self.layers:
            for name, value in layer.components.items():
                total[name] = total.get(name, 0.0) + value
        return total

    @classmethod
    def of(cls, energy: NetworkEnergy, dense: NetworkEnergy) -> EnergyRecord:
        """The record of a network and of the same one dense under im2col."""
        found = Comparison.of(energy, dense)
        layers = (
            LayerEnergyRecord(layer.shape.name, layer.components, before.energy, layer.conversions)
            for layer, before in zip(energy.layers, dense.layers, strict=True)
        )
        return cls(
            energy.describe(), energy.table.chosen_adc.source, tuple(layers), energy.energy, dense.energy, found.saving,
            *found.band, energy.conversions, energy.arrays, energy.area, energy.leakage, energy.latency, energy.interval,
            energy.tops_per_watt,
        )  # fmt: skip

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> EnergyRecord:
        """The record in a `result.json`."""
        return cls(**{**content, "layers": tuple(LayerEnergyRecord(**layer) for layer in content["layers"])})


def dense_energy(
    network: Network, plan: Plan, technology: str | None, adc: str | None, adc_bits: int | None
) -> NetworkEnergy | None:
    """The network dense under im2col, which a run is compared with.

    Its table is the one that the user asks for, as `find_table` takes it. None where the plan's array holds no weight spread
    over cells and nobody asked for energy.

    Raises:
        InputError: there is no such table or ADC, or an array that holds no weight, if the user asked.
    """
    table = find_table(technology, plan.array, adc, adc_bits)
    try:
        return network_energy(network, dense_plan(plan), table, linear=counts_linear(network, plan))
    except InputError:
        if technology is not None or adc is not None or adc_bits is not None:
            raise
        return None
