"""The weights that travel with the package."""

import json

import pytest

from rankfold.models.pretrained import SHIPPED, shipped, shipped_baseline
from rankfold.runs.stored import evaluate_folder


def test_shipped_baseline_is_for_cifar10_only():
    classes = tuple(json.loads((shipped(SHIPPED[0]).folder / "result.json").read_text())["data"]["classes"])
    found = shipped_baseline("resnet20", classes, (3, 32, 32))
    assert found is not None
    assert found.weights.is_file()
    assert shipped_baseline("resnet32", classes, (3, 32, 32)) is None
    assert shipped_baseline("resnet20", classes[::-1], (3, 32, 32)) is None
    assert shipped_baseline("resnet20", classes, (3, 64, 64)) is None


@pytest.mark.parametrize(
    ("name", "least"), [("resnet20-cifar10-float", 0.915), ("resnet20-cifar10-4bit", 0.91)]
)
def test_shipped_weights_reach_their_card(cifar10, name, least):
    """On the 10,000 test images. Another processor may differ in a few, as it adds in another order."""
    found = evaluate_folder(shipped(name).folder, cifar10, "cpu")
    assert found.same_data
    assert found.accuracy >= least
    assert found.accuracy == pytest.approx(found.reported, abs=5e-4)
