"""Which layers a plan may change."""

import pytest

from common.made_up import entries_of
from rankfold.errors import InputError
from rankfold.mapping import ArraySpec
from rankfold.plan import DenseLayer, GroupedLayer, LowRankLayer, WindowLayer
from rankfold.planning.exact.slots import layer_slots
from rankfold.workload import ConvShape, Network, zoo_network

ARRAY = ArraySpec(64, 64)


def kinds_of(slot):
    return {type(entry.kind) for entry in entries_of(slot)}


def test_the_first_convolution_and_the_classifier_stay_dense_with_eight_bits():
    slots = {slot.name: slot for slot in layer_slots(zoo_network("resnet20"), ARRAY, 4)}
    for name, why in (("conv1", "first convolution"), ("fc", "classifier")):
        assert slots[name].why_dense == why
        assert slots[name].entry.weight_bits == 8
        assert kinds_of(slots[name]) == {DenseLayer}
    assert slots["layer2.0.conv1"].entry.weight_bits == 4


def test_depthwise_and_pointwise_convolutions():
    network = Network(
        "net",
        (3, 8, 8),
        (
            ConvShape("first", 3, 8, (3, 3), (8, 8)),
            ConvShape("depthwise", 8, 8, (3, 3), (6, 6), groups=8),
            ConvShape("point", 8, 16, (1, 1), (4, 4)),
            ConvShape("last", 16, 2, (3, 3), (4, 4)),
        ),
    )
    assert [bool(slot.why_dense) for slot in layer_slots(network, ARRAY)] == [True, True, True, False]
    point = layer_slots(network, ARRAY, pointwise=True)[2]
    assert not point.why_dense and not point.spatial
    assert kinds_of(point) == {DenseLayer, GroupedLayer, LowRankLayer, WindowLayer}
    pairs = {entry.kind for entry in entries_of(point) if isinstance(entry.kind, LowRankLayer)}
    # Ranks 8, 4, 2 and 1 of 16 outputs, as far as a block of 8/g inputs has them.
    wanted = {(1, 8), (1, 4), (1, 2), (1, 1), (2, 4), (2, 2), (2, 1), (4, 2), (4, 1), (8, 1)}
    assert {(pair.groups, pair.rank) for pair in pairs} == wanted
    with pytest.raises(InputError, match="bits"):
        layer_slots(network, ARRAY, bits=9)
