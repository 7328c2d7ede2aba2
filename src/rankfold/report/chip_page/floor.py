"""`Floor`: what a floor plan shows of a network on a chip, of a run or of what was printed of one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rankfold.chip.run import NS, ChipRun, Pipeline
from rankfold.chip.traffic import THE_BUS, Link
from rankfold.machine.chip import BUS, mesh_of, place_in_mesh
from rankfold.report.chip_page.colours import layer_colour
from rankfold.report.chip_page.layers import CoreContent, PlacedLayer, Resident, Residents, residents
from rankfold.report.chip_page.links import Links
from rankfold.workload.shape import Pair


@dataclass(frozen=True, kw_only=True)
class Floor:
    """The cores of a chip, what they hold, and what joins them.

    Attributes:
        chip: its name.
        network: of which network.
        cores: of the chip.
        arrays: of each core.
        buffer: bytes of the buffer of each core.
        is_bus: whether one bus joins the cores, and no mesh.
        there: what they hold.
        links: what joins them, and its load.
    """

    chip: str
    network: str
    cores: int
    arrays: int
    buffer: int
    is_bus: bool
    there: Residents
    links: Links

    @classmethod
    def of(cls, run: ChipRun, pipeline: Pipeline) -> Floor:
        """That of a run whose weights stay."""
        chip = run.chip
        return cls(
            chip=chip.name,
            network=run.network,
            cores=chip.cores.count,
            arrays=chip.cores.arrays,
            buffer=chip.buffer.size,
            is_bus=chip.interconnect.kind == BUS,
            there=residents(run, pipeline),
            links=Links.of(run, pipeline),
        )

    @property
    def columns(self) -> int:
        """Cores of a row of the mesh."""
        return mesh_of(self.cores)[1]

    def place(self, core: int) -> Pair:
        """(row, column) of a core in the mesh."""
        return place_in_mesh(core, self.columns)


def floor_to_json(floor: Floor) -> dict[str, Any]:
    """The floor for `rankfold chip --json`; layers are known by their place in the list."""
    held = []
    for core, content in floor.there.cores.items():
        parts = [[part.layer.number - 1, part.arrays] for part in content.layers]
        held.append({"core": core, "layers": parts, "joins": content.joins, "buffered": content.buffered})
    links = []
    for link, bits in floor.links.load.items():
        ends = {}
        if link != THE_BUS:
            ends = {"from": floor.links.cores[link[0]], "to": floor.links.cores[link[1]]}
        links.append({**ends, "bits": bits})
    return {
        "cores": floor.cores,
        "arrays_of_a_core": floor.arrays,
        "buffer_bytes": floor.buffer,
        "is_bus": floor.is_bus,
        "bits_per_ns": floor.links.rate,
        "layers": [
            {"name": layer.name, "tiles": layer.tiles, "arrays": layer.arrays} for layer in floor.there.layers
        ],
        "held": held,
        "links": links,
    }


def floor_from_json(content: Mapping[str, Any]) -> Floor | None:
    """The floor of what `rankfold chip --json` printed, which fits its schema; None: it has none.

    Raises:
        ValueError: it names cores or layers that there are not.
    """
    told = content.get("floor")
    if told is None:
        return None
    layers = []
    for place, layer in enumerate(told["layers"]):
        colour = layer_colour(place)
        layers.append(PlacedLayer(place + 1, layer["name"], colour, layer["tiles"], layer["arrays"]))
    _, columns = mesh_of(told["cores"])
    return Floor(
        chip=content["chip"],
        network=content["network"],
        cores=told["cores"],
        arrays=told["arrays_of_a_core"],
        buffer=told["buffer_bytes"],
        is_bus=told["is_bus"],
        there=Residents(tuple(layers), (), _held(told, layers)),
        links=Links(
            load=_load(told, columns),
            rate=told["bits_per_ns"],
            interval=content["interval_us"] / NS,
            cores={place_in_mesh(core, columns): core for core in range(told["cores"])},
        ),
    )


def _held(told: Mapping[str, Any], layers: Sequence[PlacedLayer]) -> dict[int, CoreContent]:
    """What is in each core."""
    held = {}
    for core in told["held"]:
        content = CoreContent(joins=list(core["joins"]), buffered=core["buffered"])
        for place, arrays in core["layers"]:
            if place >= len(layers):
                raise ValueError(f"core {core['core']} holds layer {place} of {len(layers)}, counted from 0")
            content.layers.append(Resident(layers[place], arrays))
        if content.arrays > told["arrays_of_a_core"]:
            raise ValueError(f"core {core['core']} holds more arrays than it has")
        _check_core(core["core"], told)
        held[core["core"]] = content
    return held


def _load(told: Mapping[str, Any], columns: int) -> dict[Link, float]:
    """Bits of each link."""
    load = {}
    for link in told["links"]:
        ends = THE_BUS
        if not told["is_bus"]:
            cores = link["from"], link["to"]
            for core in cores:
                _check_core(core, told)
            start, end = (place_in_mesh(core, columns) for core in cores)
            if abs(start[0] - end[0]) + abs(start[1] - end[1]) != 1:
                raise ValueError(f"a link joins cores {cores[0]} and {cores[1]}, which are no neighbours")
            ends = start, end
        load[ends] = link["bits"]
    return load


def _check_core(core: int, told: Mapping[str, Any]) -> None:
    if core >= told["cores"]:
        raise ValueError(f"it names core {core} of {told['cores']}, counted from 0")
