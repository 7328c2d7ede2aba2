"""What attention would take on arrays that are written for every image, in words and JSON."""

import json

import pytest

from rankfold.cli.words.products import products_in_words, products_on
from rankfold.cost.energy import load_table, on_arrays
from rankfold.cost.energy.products import written_products
from rankfold.mapping import ArraySpec
from rankfold.plan import Quantise, uniform_plan
from rankfold.workload import zoo_network
from rankfold.workload.vision_transformer import VisionTransformer

VIT = VisionTransformer(width=24, heads=3, blocks=2, hidden=40, patch=8, image=32, classes=5)


def placed(network, table):
    plan = uniform_plan(network, ArraySpec(64, 64), Quantise(), bits=4)
    return on_arrays(network, plan, table, linear=True)


@pytest.mark.parametrize("technology", ["rram-22nm", "sram-22nm"])
def test_products_are_told_with_the_arrays_of_the_layers(technology):
    table, network = load_table(technology), VIT.network("vit")
    arrays = placed(network, table)
    found = products_on(network, arrays)
    products = written_products(network, arrays.energy.array, table, 4)
    assert len(products) == 4
    assert found["cells_written"] == sum(product.cells for product in products)
    assert found["writing_pj"] == pytest.approx(sum(product.writing for product in products))
    assert json.loads(json.dumps(found)) == found
    words = products_in_words(found)
    assert words.startswith("attention on arrays that are written for each image")
    assert ("worn out after 1,000,000 images" in words) == (technology == "rram-22nm")


def test_networks_without_attention_have_none():
    network = zoo_network("resnet8")
    assert products_on(network, placed(network, load_table("rram-22nm"))) is None
    assert products_on(VIT.network("vit"), None) is None
