"""Fixtures: images without labels, and a trained network for them; the command that compresses it."""

import pytest
from PIL import Image

import rankfold as rf
from common.small_network import net
from rankfold.models.load import apply_weights, read_weights

ARRAY = rf.ArraySpec(32, 32)
NAME = "common.small_network:net"


@pytest.fixture(scope="module")
def images(digits, tmp_path_factory):
    folder = tmp_path_factory.mktemp("images")
    for number, image in enumerate(digits.train.images[:150, :, :, 0]):
        Image.fromarray(image).save(folder / f"{number:03d}.png")
    return folder


@pytest.fixture
def dense(weights):
    model = net()
    apply_weights(model, read_weights(weights), str(weights))
    return model


def command(images, weights, out, *options):
    given = ["compress", NAME, "--data", images, "--checkpoint", weights, "--array", "32x32", "--rank", "1/2"]
    given += ["--groups", "1", "--batch", "32", "--threads", "1", "--out", out, *options]
    return [str(one) for one in given]
