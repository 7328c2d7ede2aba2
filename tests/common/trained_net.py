"""Fixtures: a small network that is trained on digits, once for all tests of a worker."""

import pytest
import torch

from common.small_network import net
from rankfold.models.load import apply_weights, read_weights
from rankfold.surgery.saving import save_weights
from rankfold.training.data import load_images
from rankfold.training.loop import train
from rankfold.training.recipe import Recipe

RECIPE = Recipe(epochs=4, batch_size=64, peak_rate=0.2, augment="none")


@pytest.fixture(scope="session")
def digits(image_cache):
    """The images of `digits`."""
    return load_images("digits")


@pytest.fixture(scope="session")
def weights(tmp_path_factory, digits):
    """Weights of `common.small_network:net`, trained on digits once for all tests."""
    model, path = net(), tmp_path_factory.mktemp("dense") / "model.safetensors"
    train(model, digits, RECIPE, torch.device("cpu"))
    save_weights(path, model)
    return path


@pytest.fixture(scope="module")
def model(weights):
    """`common.small_network:net` with these weights."""
    model = net()
    apply_weights(model, read_weights(weights), str(weights))
    return model.eval()
