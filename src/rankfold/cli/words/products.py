"""What the products of attention would take on arrays that are written for every image, in words."""

from __future__ import annotations

from collections import Counter
from typing import Any

from rankfold.cost.energy import OnArrays
from rankfold.cost.energy.digital import digital_mac
from rankfold.cost.energy.products import WrittenProduct, written_products
from rankfold.errors import InputError
from rankfold.workload import Network


def products_on(network: Network, arrays: OnArrays | None) -> dict[str, Any] | None:
    """The entry `products` of `map --json`; None: there are none, or nothing says what writing takes."""
    if arrays is None or not any(other.products for other in network.untouched):
        return None
    energy = arrays.energy
    # Nobody says the bits of values that are no layer's inputs: those that most layers have.
    bits = Counter(layer.entry.weight_bits for layer in arrays.placed.layers).most_common(1)[0][0]
    assert bits is not None  # on arrays every layer has some
    try:
        products = written_products(network, energy.array, energy.table, bits)
        digital = digital_mac(energy.table, bits, max(each.product.inputs for each in products))
    except InputError:
        # Tables of one's own need not say what writing or adding takes.
        return None
    return {"bits": bits, **_sums(products), "digital_pj_per_mac": digital}


def _sums(products: tuple[WrittenProduct, ...]) -> dict[str, Any]:
    """Of all products together, one after another."""
    return {
        "macs": sum(each.product.macs for each in products),
        "arrays": sum(each.arrays for each in products),
        "cells_written": sum(each.cells for each in products),
        "reading_pj": sum(each.reading for each in products),
        "writing_pj": sum(each.writing for each in products),
        "reading_us": sum(each.reading_time for each in products),
        "writing_us": sum(each.writing_time for each in products),
        "images_endured": products[0].endurance,
    }


def products_in_words(products: dict[str, Any]) -> str:
    """A sentence for the table."""
    macs = products["macs"]
    reading, writing = (products[part] / macs for part in ("reading_pj", "writing_pj"))
    worn = ""
    if products["images_endured"] is not None:
        worn = f", and cells are worn out after {products['images_endured']:,.0f} images"
    return (
        f"attention on arrays that are written for each image (not in the figures above): {macs:,} "
        f"multiply-accumulates of {products['bits']} bits, {products['cells_written']:,} cells to write in "
        f"{products['writing_us']:.1f} us; each takes {writing:.3f} pJ of writing and {reading:.3f} pJ of "
        f"reading, beside {products['digital_pj_per_mac']:.3f} pJ of a digital one{worn}"
    )
