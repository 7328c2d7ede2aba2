"""The written shapes of the networks known by name are those of their modules."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rankfold.errors import InputError
from rankfold.models.zoo import BUILDERS, build
from rankfold.workload import ZOO, trace, zoo_network


@pytest.mark.parametrize("name", BUILDERS)
@pytest.mark.parametrize("image, classes", [((3, 32, 32), 10), ((1, 32, 32), 7)])
def test_trace_of_every_zoo_module_equals_its_written_shapes(
    name: str, image: tuple[int, int, int], classes: int
) -> None:
    traced = trace(build(name, classes, image[0]), image, name)
    written = zoo_network(name, image, classes)
    # Equal layer by layer; a layer's place tells which one differs.
    assert list(traced.layers) == list(written.layers)
    assert (traced.name, traced.input, traced.untouched) == (name, image, ())


@pytest.mark.parametrize("name", [name for name in BUILDERS if name != "vgg9"])
@given(height=st.integers(5, 29), width=st.integers(5, 29))
@settings(max_examples=2, deadline=None)
def test_zoo_shapes_hold_for_odd_images(name: str, height: int, width: int) -> None:
    image = (2, height, width)
    assert trace(build(name, 3, 2), image, name).layers == zoo_network(name, image, 3).layers


@pytest.mark.parametrize("name", BUILDERS)
def test_zoo_parameter_counts_are_those_of_the_modules(name: str) -> None:
    assert name in ZOO
    weights = sum(p.numel() for p in build(name, 10).parameters() if p.ndim > 1)
    assert sum(layer.parameters for layer in zoo_network(name, classes=10).layers) == weights


@pytest.mark.parametrize(
    "name, macs, parameters",
    [
        ("resnet20", 40_551_040, 268_336),  # He et al. 2016: 0.27 M parameters, 41 M operations
        ("resnet18", 1_814_073_344, 11_678_912),
        ("resnet50", 4_089_184_256, 25_502_912),
        ("mobilenetv2", 300_774_272, 3_469_760),
        ("vgg16", 15_470_264_320, 138_344_128),
    ],
)
def test_zoo_totals_are_the_published_ones(name: str, macs: int, parameters: int) -> None:
    layers = zoo_network(name).layers
    assert sum(layer.macs for layer in layers) == macs
    assert sum(layer.parameters for layer in layers) == parameters


def test_an_unknown_network_is_named_with_the_known_ones() -> None:
    with pytest.raises(InputError, match=r"unknown network resnet21; known are resnet8, resnet20"):
        zoo_network("resnet21")


@pytest.mark.parametrize("name", BUILDERS)
def test_what_zoo_layers_read_is_what_their_modules_read(name: str) -> None:
    assert trace(build(name, 10, 3), (3, 32, 32), name).flow == zoo_network(name, (3, 32, 32), 10).flow


@pytest.mark.parametrize("name, sums", [("resnet18", 8), ("resnet50", 16), ("mobilenetv2", 10), ("vgg16", 0)])
def test_zoo_networks_have_as_many_residual_sums_as_published(name: str, sums: int) -> None:
    network = zoo_network(name)
    assert network.flow is not None
    assert len(network.flow.joins) == sums
    planes = {layer.name: layer for layer in network.layers}
    for join in network.flow.joins:
        # What is added is as large as the sum.
        assert set(join.values) == {join.made}
        for source, values in zip(join.sources, join.values, strict=True):
            # Behind the first convolution of a ResNet comes a pooling.
            if source in planes and source != "conv1":
                shape = planes[source]
                assert shape.out_channels * shape.output[0] * shape.output[1] == values
