"""The weights that travel with the package."""

import json

import pytest

from common.cifar import CIFAR100, first_test_images
from common.thorough import only_thorough, thorough
from rankfold.models.pretrained import BASELINES, shipped, shipped_baseline
from rankfold.runs.evaluate import evaluate, load_run
from rankfold.runs.evaluate_folder import evaluate_folder


@pytest.mark.parametrize("name", BASELINES)
def test_a_shipped_baseline_is_for_its_network_and_data_only(name):
    result = json.loads((shipped(name).folder / "result.json").read_text())
    model, classes = result["model"], tuple(result["data"]["classes"])
    found = shipped_baseline(model, classes, (3, 32, 32))
    assert found == shipped(name)
    assert found.weights.is_file()
    assert shipped_baseline("resnet32", classes, (3, 32, 32)) is None
    assert shipped_baseline(model, classes[::-1], (3, 32, 32)) is None
    assert shipped_baseline(model, classes, (3, 64, 64)) is None


FIRST = thorough(2000, 1000)
FEW = 100  # of CIFAR-100


@pytest.fixture(scope="module")
def first_images(cifar10):
    """The first test images and their labels, in batches."""
    images, labels = first_test_images(cifar10, FIRST)
    return list(zip(images.split(500), labels.split(500), strict=True))


@pytest.mark.parametrize(
    ("name", "right"),
    [
        ("resnet20-cifar10-float", thorough(1828, 916)),
        ("resnet20-cifar10-4bit", thorough(1829, 918)),
    ],
)
def test_shipped_weights_know_the_first_test_images(first_images, name, right):
    """As many as when the card was written, and no other share of them than of all 10,000, within chance.

    Another processor may differ in a few, as it adds in another order.
    """
    model, _, result = load_run(shipped(name).folder)
    share = evaluate(model, first_images)
    assert share * FIRST == pytest.approx(right, abs=4)
    chance = (0.92 * 0.08 / FIRST) ** 0.5
    assert share == pytest.approx(result.accuracy.final, abs=3 * chance)


@only_thorough("classifies 10,000 images twice")
@pytest.mark.parametrize(
    ("name", "least"), [("resnet20-cifar10-float", 0.915), ("resnet20-cifar10-4bit", 0.91)]
)
def test_shipped_weights_reach_their_card(cifar10, name, least):
    """On the 10,000 test images. Another processor may differ in a few, as it adds in another order."""
    found = evaluate_folder(shipped(name).folder, cifar10, "cpu")
    assert found.same_data
    assert found.accuracy >= least
    assert found.accuracy == pytest.approx(found.reported, abs=5e-4)


@pytest.mark.parametrize(("name", "right"), [("wrn16-4-cifar100-float", 72), ("wrn16-4-cifar100-4bit", 69)])
def test_the_wide_network_knows_the_first_test_images(cifar100, name, right):
    """As many as when the card was written, and no other share of them than of all 10,000, within chance."""
    images, labels = first_test_images(cifar100, FEW, CIFAR100)
    model, _, result = load_run(shipped(name).folder)
    share = evaluate(model, [(images, labels)])
    assert share * FEW == pytest.approx(right, abs=2)
    chance = (0.75 * 0.25 / FEW) ** 0.5
    assert share == pytest.approx(result.accuracy.final, abs=3 * chance)
