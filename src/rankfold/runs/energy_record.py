"""`EnergyRecord`: what a run's network costs in silicon, as `result.json` keeps it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rankfold.cost import Masks
from rankfold.cost.energy import (
    ArrayAccuracy,
    Comparison,
    ComponentTable,
    NetworkEnergy,
    dense_plan,
    find_table,
    network_energy,
)
from rankfold.errors import NarrowArrayError, UnpricedCellsError
from rankfold.files import digest_of
from rankfold.machine import DEFAULT_HARDWARE, Hardware
from rankfold.mapping import MAPPINGS, ArraySpec
from rankfold.models.pretrained import file_digest
from rankfold.plan.counted import counts_linear
from rankfold.plan.plan import Plan
from rankfold.workload import Network


@dataclass(frozen=True)
class EnergyOptions:
    """With which components energy and area are counted.

    Attributes:
        table: a component table, its name, or a YAML file; None: the default one.
        adc: an ADC of the table; None: the table's choice.
        adc_bits: its resolution; None: the table's choice.
        mux: columns that share an ADC; None: the table's choice, or all of an array that has fewer.
    """

    table: ComponentTable | str | None = None
    adc: str | None = None
    adc_bits: int | None = None
    mux: int | None = None

    @classmethod
    def of(cls, hardware: Hardware) -> EnergyOptions:
        """Those of hardware; what is the default's is not asked for."""
        technology = None
        if hardware.technology != DEFAULT_HARDWARE.technology:
            technology = hardware.technology
        return cls(technology, hardware.adc, hardware.adc_bits, hardware.mux)

    @property
    def asked(self) -> bool:
        """Whether anything is asked for, so that energy is wanted for certain."""
        return self != EnergyOptions()

    def identity(self) -> dict[str, Any]:
        """What tells these components from others, as JSON: a table's name, or a hash of what it holds."""
        table = self.table
        if isinstance(table, ComponentTable):
            table = digest_of(repr(table).encode())
        elif table is not None and Path(table).is_file():
            # By its content: a file that was moved is the same, one that changed is not.
            table = file_digest(Path(table))
        return {"table": table, "adc": self.adc, "adc_bits": self.adc_bits, "mux": self.mux}

    def for_array(self, array: ArraySpec) -> ComponentTable:
        """The components for an array.

        Raises:
            InputError: there is no such table or ADC, or the resolution is out of range.
            MissingDependencyError: `zigzag` without its package.
        """
        # One that is made need not be found by its name.
        if isinstance(self.table, ComponentTable):
            return self.table.for_array(array, self.adc, self.adc_bits, self.mux)
        return find_table(self.table, array, self.adc, self.adc_bits, self.mux)

    def with_cells(self, array: ArraySpec) -> ArraySpec:
        """The array as it is priced: with the cells of these components where it names none.

        Raises:
            InputError: as `for_array`, which is asked in that case alone.
            MissingDependencyError: likewise.
        """
        if array.cell_bits is not None:
            return array
        return self.for_array(array).with_cells(array)


@dataclass(frozen=True)
class LayerEnergyRecord:
    """One convolution: pJ by component as planned, pJ dense under im2col, and ADC conversions as planned."""

    name: str
    components: dict[str, float]
    dense: float
    conversions: int


# What records of version 0.1 do not say.
LATER = ("dense_best", "best_mapping", "machine", "accuracy_on_arrays")


@dataclass(frozen=True, kw_only=True)
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
        dense_best: pJ of the same network dense under the mapping that needs least; None in older results.
        best_mapping: that mapping; None in older results.
        machine: the arrays and the resolution of their ADCs; None in results of older versions.
        accuracy_on_arrays: what the network keeps on them; None: not simulated.
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
    dense_best: float | None = None
    best_mapping: str | None = None
    machine: dict[str, Any] | None = None
    accuracy_on_arrays: ArrayAccuracy | None = None

    @property
    def best_saving(self) -> float | None:
        """Part of `dense_best` that is saved; None where that is not known."""
        if self.dense_best is None:
            return None
        return 1 - self.energy / self.dense_best

    @property
    def components(self) -> dict[str, float]:
        """pJ by component, as planned."""
        total: dict[str, float] = {}
        for layer in self.layers:
            for name, value in layer.components.items():
                total[name] = total.get(name, 0.0) + value
        return total

    @classmethod
    def of(
        cls, energy: NetworkEnergy, dense: NetworkEnergy, best: tuple[str, NetworkEnergy] | None = None
    ) -> EnergyRecord:
        """The record of a network.

        Args:
            energy: the network.
            dense: the same one dense under im2col.
            best: the same one dense under its mapping of least energy, with that mapping.
        """
        compared = Comparison.of(energy, dense)
        # Public models differ most on ADCs, so a saving comes with its range over their share.
        least, most = compared.band
        layers = []
        # Both are of the same convolutions, since both count fully connected layers where the plan does.
        for layer, before in zip(energy.layers, dense.layers, strict=True):
            name = layer.shape.name
            layers.append(LayerEnergyRecord(name, layer.components, before.energy, layer.conversions))
        least_energy = mapping = None
        if best is not None:
            mapping, least_energy = best[0], best[1].energy
        return cls(
            conditions=energy.describe(),
            adc_source=energy.table.chosen_adc.source,
            layers=tuple(layers),
            energy=energy.energy,
            dense=dense.energy,
            saving=compared.saving,
            least_saving=least,
            most_saving=most,
            conversions=energy.conversions,
            arrays=energy.arrays,
            area=energy.area,
            leakage=energy.leakage,
            latency=energy.latency,
            interval=energy.interval,
            tops_per_watt=energy.tops_per_watt,
            dense_best=least_energy,
            best_mapping=mapping,
            machine=machine_of(energy.array, energy.table.adc_bits),
            accuracy_on_arrays=energy.accuracy,
        )

    def to_json(self) -> dict[str, Any]:
        """The record in `result.json`."""
        content = asdict(self)
        # Records of version 0.1, written again, stay as they were.
        if self.machine is None:
            for name in LATER:
                del content[name]
        return content

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> EnergyRecord:
        """The record in a `result.json`."""
        # The schema of results has checked the fields by now.
        layers = tuple(LayerEnergyRecord(**layer) for layer in content["layers"])
        accuracy = ArrayAccuracy.from_json(content.get("accuracy_on_arrays"))
        return cls(**{**content, "layers": layers, "accuracy_on_arrays": accuracy})


def machine_of(array: ArraySpec, adc_bits: int | None) -> dict[str, Any]:
    """What an accuracy on arrays depends on, of arrays without noise: two machines alike have the same."""
    return {**array.to_json(), "adc_bits": adc_bits}


def dense_energy(network: Network, plan: Plan, options: EnergyOptions) -> NetworkEnergy | None:
    """The network dense under im2col, which a run is compared with.

    Args:
        network: the network.
        plan: its plan.
        options: the components.

    Returns:
        The energy; None where the plan's array holds no weight spread over cells, or its cells more bits than
        the table has figures of, and nobody asked for energy.

    Raises:
        InputError: there is no such table or ADC, or the array holds no weight, or its cells more bits than
            the table has figures of, and the user asked.
    """
    table = options.for_array(plan.array)
    try:
        return network_energy(network, dense_plan(plan), table, linear=counts_linear(network, plan))
    except (NarrowArrayError, UnpricedCellsError):
        # Such arrays have cycles all the same: a run goes on without energy, unless energy was what the user
        # wanted.
        if options.asked:
            raise
        return None


def planned_energy(
    network: Network, plan: Plan, dense: NetworkEnergy | None, masks: Masks
) -> EnergyRecord | None:
    """What the network costs under its plan, beside what `dense_energy` said; None where it said nothing."""
    # Whether energy is counted at all was settled with the dense network, before the work began.
    if dense is None:
        return None
    energy = network_energy(network, plan, dense.table, masks)
    return EnergyRecord.of(energy, dense, _dense_best(network, plan, dense.table))


def _dense_best(network: Network, plan: Plan, table: ComponentTable) -> tuple[str, NetworkEnergy]:
    """The mapping under which the dense network needs the least energy, and that energy."""
    linear = counts_linear(network, plan)
    energies = {}
    for mapping in MAPPINGS:
        energies[mapping] = network_energy(network, dense_plan(plan, mapping), table, linear=linear)
    best = min(MAPPINGS, key=lambda mapping: energies[mapping].energy)
    return best, energies[best]
