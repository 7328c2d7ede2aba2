"""Targets in files beside images, for metrics."""

import json

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import rankfold as rf
from rankfold.errors import InputError
from rankfold.planning.data import planning_data
from rankfold.training.data import load_images
from rankfold.training.metric import Metric
from rankfold.training.targets import ImageTargets
from rankfold.training.unlabelled import labelled_by

CPU = torch.device("cpu")
COUNT = 12


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Images of one grey each, and their greys as targets."""
    monkeypatch.setenv("RANKFOLD_CACHE", str(tmp_path / "cache"))
    images = tmp_path / "images"
    images.mkdir()
    for number in range(COUNT):
        Image.new("L", (4, 4), 20 * number).save(images / f"{number:02d}.png")
        if number % 2:
            np.save(images / f"{number:02d}.npy", np.array([20.0 * number]))
        else:
            (images / f"{number:02d}.json").write_text(json.dumps({"grey": 20 * number}))
    return images


def grey_of(target):
    return target["grey"] if isinstance(target, dict) else float(target)


def right(outputs, targets):
    """The share of images whose mean is their target."""
    assert len(outputs) == len(targets)
    return sum(
        abs(float(out) - grey_of(target)) < 0.01 for out, target in zip(outputs, targets, strict=True)
    ) / len(targets)


class Mean(nn.Module):
    """The grey of images that are normalised by 0 and 1, of 255."""

    def forward(self, x):
        return 255 * x.mean((1, 2, 3))


def scaled(folder):
    from rankfold.training.scaling import Scaling

    return load_images(folder).scaled(Scaling.parse("none"))


def test_metrics_are_given_the_target_of_each_image(folder):
    data = scaled(folder)
    assert not data.is_labelled and data.has_targets
    assert rf.evaluate(Mean(), data, metric=right) == 1
    # Of planning, too: others than were calibrated on, in an order that a seed draws.
    held_out = planning_data(data, CPU).held_out(5, 3, 2, Metric("right", right))
    assert len(held_out) == 5 and held_out.accuracy(Mean()) == 1
    (few,) = data.few(3, 1).batches_of(data.few(3, 1).train, CPU)
    assert right(Mean()(few[0]), few[1]) == 1
    # What has labels of a network has no targets any more.
    assert labelled_by(data, nn.Sequential(nn.Flatten(), nn.Linear(16, 3)), CPU).test.targets is None


def test_other_targets_are_other_data(folder):
    first = scaled(folder).digest
    assert scaled(folder).digest == first
    (folder / "02.json").write_text("[1, 2]")
    assert scaled(folder).digest != first


def test_images_without_any_have_none(folder):
    for path in (*folder.glob("*.json"), *folder.glob("*.npy")):
        path.unlink()
    data = scaled(folder)
    assert not data.has_targets
    with pytest.raises(InputError, match=r"a metric needs targets.*NAME\.json or NAME\.npy beside"):
        rf.evaluate(Mean(), data, metric=right)
    with pytest.raises(InputError, match=r"accuracy needs labels, and data .* name a metric"):
        rf.evaluate(Mean(), data)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("03.npy", None, r"03\.png has no targets beside it.*give one of 03\.json and 03\.npy"),
        ("03.json", b"{}", r"03\.png has targets in two files"),
        ("04.json", b"{", r"04\.json cannot be read: .*give valid JSON"),
        ("04.json", b"\xff\xfe\xff", r"04\.json cannot be read"),
        ("03.npy", b"nothing", r"03\.npy cannot be read: .*give numbers, as np\.save"),
    ],
)
def test_what_targets_are_refused(folder, name, content, words):
    if content is None:
        (folder / name).unlink()
    else:
        (folder / name).write_bytes(content)
    data = load_images(folder)  # who asks for no metric need not mind
    with pytest.raises(InputError, match=words):
        data.require_targets()


def test_targets_that_would_run_code_are_refused(folder):
    np.save(folder / "03.npy", np.array([{}], object))
    with pytest.raises(InputError, match=r"03\.npy cannot be read: Object arrays cannot be loaded"):
        _ = ImageTargets((folder / "03.png",)).values
