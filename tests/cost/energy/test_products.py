"""Products of computed values on arrays that are written for every image: cells, energy and wear, by hand."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.cells import CELLS
from rankfold.cost.energy import find_table, load_table, network_energy
from rankfold.cost.energy.digital import digital_mac
from rankfold.cost.energy.products import written_products
from rankfold.errors import InputError
from rankfold.mapping import ArraySpec
from rankfold.plan import Quantise, uniform_plan
from rankfold.workload import Network, Product, Untouched
from rankfold.workload.vision_transformer import vision_transformer

RRAM = load_table("rram-22nm")
SIZES = st.integers(1, 40)


def network_of(*products):
    return Network("net", (1, 1, 1), (), (Untouched("attention", "is left alone", products=products),))


@settings(max_examples=30)
@given(st.integers(1, 3), SIZES, SIZES, SIZES, st.sampled_from((2, 4, 8)))
def test_what_is_written_is_every_cell_once_an_image(matrices, inputs, outputs, vectors, bits):
    product = Product(matrices=matrices, inputs=inputs, outputs=outputs, vectors=vectors)
    (found,) = written_products(network_of(product), CELLS, RRAM, bits)
    # Differential cells of two bits: a weight of b bits takes 2 ceil((b - 1) / 2) of them.
    columns = 2 * -(-(bits - 1) // 2)
    # Matrices that share a tile leave cells between them, which are zeros of its rows.
    assert found.cells >= product.numbers * columns
    if matrices == 1:
        assert found.cells == product.numbers * columns
    assert found.writing == pytest.approx(found.cells * RRAM.write.energy.value({"cell_bits": 2}) * 1e-3)
    # A row takes four pulses of 50 ns, and arrays are written side by side.
    assert 0.2 * min(inputs, 64) <= found.writing_time * (1 + 1e-9) + 1e-3
    assert found.endurance == 1e6


def test_reading_is_that_of_a_layer_of_the_same_sizes():
    product = Product(matrices=3, inputs=20, outputs=30, vectors=7)
    (found,) = written_products(network_of(product), CELLS, RRAM, 4)
    layer = product.shape("fc")
    network = Network("net", (60, 7, 1), (layer,))
    plan = uniform_plan(network, CELLS, Quantise(), bits=4, mapping="im2col")
    plan = replace(plan, layers=(replace(plan.layers[0], weight_bits=4, input_bits=4),))
    energy = network_energy(network, plan, RRAM, linear=True)
    assert found.reading == pytest.approx(energy.energy)
    assert found.arrays == energy.arrays
    assert layer.macs == product.macs


def test_where_rewriting_pays_in_a_vision_transformer():
    """RRAM takes more to write than a digital multiply-accumulate takes altogether; SRAM a hundredth."""
    network = vision_transformer("vit-tiny")
    shares = {}
    for name in ("rram-22nm", "sram-22nm"):
        table = find_table(name, CELLS)
        array = ArraySpec(
            64, 64, cell_bits=table.cell_bits, dac_bits=1, coding=table.coding, converts=table.converts
        )
        products = written_products(network, array, table, 4)
        assert len(products) == 24
        macs = sum(product.product.macs for product in products)
        writing = sum(product.writing for product in products)
        shares[name] = writing / macs / digital_mac(table, 4, 197)
    assert shares["rram-22nm"] > 1
    assert shares["sram-22nm"] < 0.01


def test_a_digital_mac_is_near_the_published_one():
    """Horowitz, ISSCC 2014: 0.2 pJ for a product of 8 bits and up to 0.1 pJ for a sum, at 45 nm and 0.9 V."""
    assert 0.15 < digital_mac(RRAM, 8, 512) < 0.45
    assert digital_mac(RRAM, 4, 512) < digital_mac(RRAM, 8, 512) < digital_mac(RRAM, 8, 4096)


def test_what_a_table_or_array_lacks_is_said():
    network = network_of(Product(matrices=1, inputs=2, outputs=2, vectors=2))
    with pytest.raises(InputError, match="table rram-22nm does not say what writing cells takes"):
        written_products(network, CELLS, replace(RRAM, write=None), 4)
    with pytest.raises(InputError, match="give the array cell_bits and dac_bits"):
        written_products(network, ArraySpec(64, 64), RRAM, 4)
    with pytest.raises(InputError, match="table rram-22nm has no accumulators"):
        digital_mac(replace(RRAM, components=()), 8, 2)
