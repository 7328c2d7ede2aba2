"""Where arrays pay and where not: convolutional networks beside vision transformers, by their shapes alone.

    python benchmarks/vision_transformers.py [--out results/transformers.csv]

A row for each network, technology, size of arrays and bits: the share of multiply-accumulates that stored
weights do, cycles, utilisation and energy of these, and what the products of attention would take on arrays
that are written for every image, beside a digital multiply-accumulate of the same technology
(`rankfold.cost.energy.digital`). Images of 224x224, 1,000 classes, fully connected layers counted, one-bit
DACs, the cells, coding and ADCs of each table; the first convolution and the classifier have 8 bits. Nothing
is drawn at random. Accuracy is not measured here. Minutes on one core.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from rankfold.cost import network_cycles
from rankfold.cost.energy import ComponentTable, choose_mappings, find_table, network_energy
from rankfold.cost.energy.digital import digital_mac
from rankfold.cost.energy.products import WrittenProduct, written_products
from rankfold.mapping import ArraySpec
from rankfold.plan import Quantise, uniform_plan
from rankfold.records.csv_table import write_csv
from rankfold.workload import Network, zoo_network
from rankfold.workload.vision_transformer import VISION_TRANSFORMERS, vision_transformer

NETWORKS = ("resnet50", "mobilenetv2", *VISION_TRANSFORMERS)
TECHNOLOGIES = ("rram-22nm", "sram-22nm")
SIDES = (64, 128, 256)
BITS = (4, 8)
MAPPINGS = ("im2col", "sdk", "vw-sdk", "best")
SECOND = 1e6  # us


def network_of(name: str) -> Network:
    if name in VISION_TRANSFORMERS:
        return vision_transformer(name)
    return zoo_network(name)


def array_of(table: ComponentTable, side: int) -> ArraySpec:
    """Arrays of the table's own cells, with one-bit DACs."""
    return ArraySpec(
        side, side, cell_bits=table.cell_bits, dac_bits=1, coding=table.coding, converts=table.converts
    )


def cycles_of(network: Network, side: int) -> dict[str, int]:
    """Cycles as papers count them, a weight in a cell, for each mapping."""
    plan = uniform_plan(network, ArraySpec(side, side), Quantise())
    counted = network_cycles(network, plan, MAPPINGS, linear=True)
    return {f"cycles_{key.mapping}": cycles for key, cycles in counted.total.items()}


def of_weights(network: Network, array: ArraySpec, table: ComponentTable, bits: int) -> dict[str, Any]:
    """What the layers with stored weights take."""
    plan = choose_mappings(network, uniform_plan(network, array, Quantise(), bits=bits), table)
    energy = network_energy(network, plan, table, linear=True)
    stored = sum(layer.macs for layer in network.layers)
    return {
        "arrays": energy.arrays,
        "utilisation": round(energy.utilisation, 4),
        "weights_uj": round(energy.energy * 1e-6, 4),
        "weights_fj_per_mac": round(energy.energy / stored * 1e3, 2),
        "interval_us": round(energy.interval, 2),
    }


def of_products(products: tuple[WrittenProduct, ...], interval: float) -> dict[str, Any]:
    """What the products of attention take, which no array keeps."""
    if not products:
        return {}
    macs = sum(product.product.macs for product in products)
    endured = products[0].endurance
    found: dict[str, Any] = {
        "cells_written": sum(product.cells for product in products),
        "reading_fj_per_mac": round(sum(product.reading for product in products) / macs * 1e3, 2),
        "writing_fj_per_mac": round(sum(product.writing for product in products) / macs * 1e3, 2),
        "writing_us": round(sum(product.writing_time for product in products), 2),
        "reading_us": round(sum(product.reading_time for product in products), 2),
    }
    if endured is not None:
        # An image can come no sooner than a product of it is written and read.
        slowest = max(product.writing_time + product.reading_time for product in products)
        found["images_endured"] = int(endured)
        found["worn_out_after_s"] = round(endured * max(interval, slowest) / SECOND, 1)
    return found


def row(name: str, technology: str, side: int, bits: int, cycles: dict[str, int]) -> dict[str, Any]:
    network, size = network_of(name), ArraySpec(side, side)
    table = find_table(technology, size)
    array = array_of(table, side)
    stored = sum(layer.macs for layer in network.layers)
    of_attention = sum(other.macs or 0 for other in network.untouched)
    weights = of_weights(network, array, table, bits)
    products = written_products(network, array, table, bits)
    # Sums of a layer are of as many terms as it has inputs: those of a mean multiply-accumulate.
    terms = sum(layer.n * layer.macs for layer in network.layers) // stored
    return {
        "network": name,
        "technology": technology,
        "array": str(size),
        "bits": bits,
        "macs": stored + of_attention,
        "share_on_arrays": round(stored / (stored + of_attention), 4),
        **cycles,
        **weights,
        "digital_fj_per_mac": round(digital_mac(table, bits, terms) * 1e3, 2),
        **of_products(products, weights["interval_us"]),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("results/transformers.csv"))
    options = parser.parse_args()
    rows = []
    for name in NETWORKS:
        for side in SIDES:
            cycles = cycles_of(network_of(name), side)
            for technology in TECHNOLOGIES:
                rows += [row(name, technology, side, bits, cycles) for bits in BITS]
            print(name, side, flush=True)
    header = list(max(rows, key=len))
    write_csv(options.out, header, [[each.get(column, "") for column in header] for each in rows])


if __name__ == "__main__":
    main()
