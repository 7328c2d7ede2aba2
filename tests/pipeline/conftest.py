"""What the tests of planning share."""

import pytest
import torch
from small_network import net

from rankfold.surgery.save import save_weights
from rankfold.training.data import load_images
from rankfold.training.loop import train
from rankfold.training.recipe import Recipe


@pytest.fixture(scope="session")
def weights(tmp_path_factory, image_cache):
    """Weights of `small_network:net`, trained on digits once for all tests."""
    model, path = net(), tmp_path_factory.mktemp("dense") / "model.safetensors"
    train(model, load_images("digits"), Recipe(epochs=4, batch_size=64, peak_rate=0.2, augment="none"), torch.device("cpu"))
    save_weights(path, model)
    return path
