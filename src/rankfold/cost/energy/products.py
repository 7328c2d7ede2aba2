"""Products of two computed values on arrays: what writing their matrices for every image takes.

The matrix of such a product, keys or values of attention, is new for every image. Arrays can multiply by it
if they are written first: N cells of w fJ each, row after row, all arrays side by side. A matrix of n x m
weights then does n m v multiply-accumulates with v vectors, so that writing costs c w / v of each, where c
are the cells of a weight: it pays only where many vectors meet a matrix. Cells are worn out after as many
images as they can be written.
"""

from __future__ import annotations

from dataclasses import dataclass

from rankfold.cost.energy.engine import read_time, variables
from rankfold.cost.energy.pricing import layer_energy
from rankfold.cost.energy.table import ComponentTable
from rankfold.cost.planned import planned_mapping
from rankfold.cost.rewriting import rewriting
from rankfold.cost.stored import reference_columns, stored_stage
from rankfold.errors import InputError
from rankfold.mapping import ArraySpec
from rankfold.plan import DenseLayer, LayerPlan
from rankfold.workload import Network, Product

PJ, US = 1e-3, 1e-3  # of fJ, of ns


@dataclass(frozen=True, kw_only=True)
class WrittenProduct:
    """A product of two computed values, with its matrices on arrays that are written for each image.

    Attributes:
        name: of the module that computes it.
        product: its sizes.
        arrays: that hold its matrices, each tile on one.
        cells: that are written for an image, with those of reference columns.
        reading: pJ of multiplying, as of any layer.
        writing: pJ of writing.
        reading_time: us of multiplying, all arrays side by side.
        writing_time: us of writing, all arrays side by side.
        endurance: images until the cells are worn out; None: without end, or not known.
    """

    name: str
    product: Product
    arrays: int
    cells: int
    reading: float
    writing: float
    reading_time: float
    writing_time: float
    endurance: float | None

    @property
    def energy(self) -> float:
        """pJ for an image."""
        return self.reading + self.writing


def written_products(
    network: Network,
    array: ArraySpec,
    table: ComponentTable,
    bits: int,
    mapping: str = "im2col",
) -> tuple[WrittenProduct, ...]:
    """What the products of a network would take on arrays that are written for each image.

    Each is mapped as a layer of a group for each of its matrices (`Product.shape`), and priced as one.

    Args:
        network: the network; its products are those of `Network.untouched`.
        array: with the bits of cells and DACs.
        table: the technology, which says what writing takes.
        bits: of both factors.
        mapping: of the products.

    Returns:
        One entry for each product, in the order of the network.

    Raises:
        InputError: the table does not say what writing takes, or the array not what its cells hold.
    """
    if table.write is None:
        raise InputError(f"table {table.name} does not say what writing cells takes (write)")
    if array.cell_bits is None or array.dac_bits is None:
        raise InputError("products are written into cells: give the array cell_bits and dac_bits")
    entry = LayerPlan("-", DenseLayer(), mapping=mapping, weight_bits=bits, input_bits=bits)
    found = []
    for other in network.untouched:
        for product in other.products:
            found.append(_written(other.name, product, array, table, entry))
    return tuple(found)


def _written(
    name: str,
    product: Product,
    array: ArraySpec,
    table: ComponentTable,
    entry: LayerPlan,
) -> WrittenProduct:
    assert table.write is not None and entry.weight_bits is not None and entry.input_bits is not None
    shape = product.shape(name)
    energy = layer_energy(shape, array, entry, table)
    (stage,) = energy.stages
    values = variables(table, array, stage.activity)
    (mapped,) = planned_mapping(shape, array.in_weights(entry.weight_bits), entry).stages
    stored = stored_stage(mapped, array, stage.activity.slices, stage.activity.columns_per_weight)
    cycle = read_time(table, values)
    row = table.write.time.value(values)
    way = rewriting([stored], stage.activity.tiles, row / cycle, reference_columns(array))
    return WrittenProduct(
        name=name,
        product=product,
        arrays=stage.activity.tiles,
        cells=way.cells,
        reading=energy.energy,
        writing=PJ * way.cells * table.write.energy.value(values),
        reading_time=US * (way.latency - way.writing) * cycle,
        writing_time=US * way.writing * cycle,
        endurance=table.write.endurance,
    )
