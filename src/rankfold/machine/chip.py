"""`ChipSpec`: a whole chip, its arrays in cores with buffers, an interconnect and off-chip memory."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from rankfold.errors import InputError
from rankfold.machine.hardware import Hardware
from rankfold.workload.shape import Pair

BUS, MESH = "bus", "mesh"
INTERCONNECTS = (BUS, MESH)
MOST_ARRAYS = 1 << 20
ROUNDED = 1.05  # times; what a published figure may be rounded by


def mesh_of(cores: int) -> Pair:
    """(rows, columns) of a mesh of so many cores, as near to a square as their number allows."""
    columns = math.ceil(math.sqrt(cores))
    return math.ceil(cores / columns), columns


def place_in_mesh(core: int, columns: int) -> Pair:
    """(row, column) of a core: rows are filled to and fro, so that cores k and k + 1 are neighbours."""
    row, column = divmod(core, columns)
    if row % 2:
        column = columns - 1 - column
    return row, column


@dataclass(frozen=True, kw_only=True)
class Cores:
    """Places on the chip with arrays, digital units and a buffer of their own.

    Attributes:
        count: of them.
        arrays: in each.
        rate: additions of partial sums and feature maps, and values that pass activation and pooling, in
            each, per ns.
        energy: fJ of one of these.
        area: mm2 of the digital units of a core.
        leakage: uW of them.
    """

    count: int
    arrays: int
    rate: float
    energy: float
    area: float = 0.0
    leakage: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Buffer:
    """The memory of a core, which holds what its layers read.

    Attributes:
        size: bytes.
        rate: bits that are read or written per ns.
        energy: fJ of a bit that is read or written.
        area: mm2.
        leakage: uW.
    """

    size: int
    rate: float
    energy: float
    area: float = 0.0
    leakage: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Interconnect:
    """What joins the cores: one bus, or a mesh of links between neighbours.

    Attributes:
        kind: `bus` or `mesh`.
        rate: bits per ns of the bus, or of each link in each direction.
        energy: fJ of a bit, on a mesh for each link that it passes.
        latency: ns until the first bit arrives, on a mesh for each link.
        area: mm2 of all of it.
    """

    kind: str
    rate: float
    energy: float
    latency: float = 0.0
    area: float = 0.0


@dataclass(frozen=True, kw_only=True)
class OffChip:
    """Memory beside the chip, which holds what does not fit on it.

    Attributes:
        rate: bits per ns.
        energy: fJ of a bit.
    """

    rate: float
    energy: float


@dataclass(frozen=True, kw_only=True)
class Writing:
    """What writing weights into cells takes; None: as the component table says.

    Attributes:
        write_time: ns of a row of an array, whose cells are written at once.
        write_energy: fJ of a cell.
        endurance: writes that a cell lasts.
    """

    write_time: float | None = None
    write_energy: float | None = None
    endurance: float | None = None


@dataclass(frozen=True, kw_only=True)
class ChipSpec:
    """A described chip.

    Attributes:
        name: what results call it.
        hardware: its arrays, converters and cells.
        cores: places with arrays.
        buffer: of each core.
        interconnect: between cores.
        memory: beside the chip; None: there is none, and what does not fit cannot be run.
        writing: of its cells.
        read_time: ns of an activation of an array with one slice of the inputs; None: as the component table
            says.
        conversion_time: ns of a conversion of an ADC, of which `hardware.mux` fit into a read; None: not
            told.
        sources: where figures come from, by their place in the file, such as `buffer/energy`.
        warnings: sentences about figures far from what is known.
    """

    name: str
    hardware: Hardware
    cores: Cores
    buffer: Buffer
    interconnect: Interconnect
    memory: OffChip | None = None
    writing: Writing = Writing()
    read_time: float | None = None
    conversion_time: float | None = None
    # Words: chips of the same figures are the same.
    sources: Mapping[str, str] = field(default_factory=dict, compare=False, repr=False)
    warnings: tuple[str, ...] = field(default=(), compare=False, repr=False)

    def __post_init__(self) -> None:
        if self.interconnect.kind not in INTERCONNECTS:
            known = " or ".join(INTERCONNECTS)
            raise InputError(f"interconnect/kind (={self.interconnect.kind}) must be {known}")
        if self.arrays > MOST_ARRAYS:
            raise InputError(
                f"cores/count (={self.cores.count}) times cores/arrays (={self.cores.arrays}) must be at "
                f"most {MOST_ARRAYS:,} arrays"
            )

        self._check_conversions()

    def _check_conversions(self) -> None:
        """Refuse ADCs that are slower than the activations of the arrays allow."""
        if self.conversion_time is not None and self.read_time is None:
            raise InputError(
                "array/conversion_time says nothing without array/read_time, the time of an activation; give "
                "both, or neither"
            )
        shared = self.hardware.mux
        if self.read_time is None or self.conversion_time is None or shared is None:
            return
        needed = shared * self.conversion_time
        # A published clock is rounded.
        if needed > self.read_time * ROUNDED:
            raise InputError(
                f"array/read_time (={self.read_time:g} ns) leaves {self.read_time / shared:g} ns for each of "
                f"the {shared} columns that share an ADC, but array/conversion_time is "
                f"{self.conversion_time:g} ns; give the ADCs more time or share them less"
            )

    @property
    def arrays(self) -> int:
        """P, in all cores."""
        return self.cores.count * self.cores.arrays

    @property
    def grid(self) -> Pair:
        """(rows, columns) of the mesh of cores, as near to a square as their number allows."""
        return mesh_of(self.cores.count)

    def place(self, core: int) -> Pair:
        """(row, column) of a core: rows are filled to and fro, so that cores k and k + 1 are neighbours."""
        return place_in_mesh(core, self.grid[1])

    def hops(self, core: int, other: int) -> int:
        """Links between two cores: of a mesh along rows and columns, of a bus one."""
        if core == other:
            return 0
        if self.interconnect.kind == BUS:
            return 1
        (row, column), (other_row, other_column) = self.place(core), self.place(other)
        return abs(row - other_row) + abs(column - other_column)
