"""Data sets that are decoded while networks are trained."""

import io
import threading
from pathlib import Path

import datasets
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch import nn

from rankfold.cli.main import main
from rankfold.errors import InputError
from rankfold.progress import Silent
from rankfold.runs.result import Result
from rankfold.training import load as loading
from rankfold.training import streaming
from rankfold.training.checkpoint import Checkpoint
from rankfold.training.data import ImageData, load_images
from rankfold.training.load import load_data
from rankfold.training.loop import train
from rankfold.training.recipe import Recipe
from rankfold.training.shards import Shards
from rankfold.training.share import ALL, Share
from rankfold.training.streaming import StreamedImages

CPU = torch.device("cpu")
ROWS = 10  # of a row group
RECIPE = Recipe(epochs=2, batch_size=8, peak_rate=0.05, precision="float32")
FEATURES = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=["a", "b", "c"])})


def png(pixels):
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "png")
    return buffer.getvalue()


def pictures(count, size=8):
    """Each of its own mean, by which it is known."""
    draw = np.random.default_rng(count)
    values = draw.integers(0, 60, (count, size, size, 3))
    values[..., 0] = 100 + np.arange(count)[:, None, None]
    return values.astype(np.uint8)


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    """Two training files and one to test on, of several row groups each."""
    folder = tmp_path_factory.mktemp("shards")
    images = pictures(67)
    for name, first, last in (("train-0", 0, 35), ("train-1", 35, 67), ("test-0", 0, 15)):
        content = {
            "image": [{"bytes": png(pixels), "path": None} for pixels in images[first:last]],
            "label": [place % 3 for place in range(first, last)],
        }
        rows = datasets.Dataset.from_dict(content, features=FEATURES)
        rows.to_parquet(str(folder / f"{name}.parquet"), batch_size=ROWS)
    return folder


@pytest.fixture(autouse=True)
def small_pools(monkeypatch):
    """Of two row groups or so, so that there are several."""
    monkeypatch.setattr(streaming, "POOL_BYTES", 4000)


def whole(data, epoch, skip=0, share=ALL, recipe=RECIPE):
    return list(data.training_batches(recipe, CPU, share).epoch(epoch, skip))


def seen(batches):
    """The images of an epoch, by the first of their channels, which tells them apart."""
    return [round(float(value)) for x, _ in batches for value in x[:, 0, 0, 0]]


def unscaled(data):
    """The same data whose pixels stay as they are."""
    data._moments = (0.0,) * 3, (1 / 255,) * 3
    return data


def test_both_ways_have_the_same_images(shards, image_cache):
    cached, streamed = load_images(shards), load_data(shards, stream=True)
    assert isinstance(streamed, StreamedImages)
    assert streamed.classes == cached.classes == ("a", "b", "c")
    assert streamed.input_size == cached.input_size == (3, 8, 8)
    assert (streamed.train_images, streamed.test_images) == (67, 15)
    # All images are in the sample here, and so the moments are those of all.
    np.testing.assert_allclose(streamed._moments, (cached.mean, cached.std), rtol=1e-12)
    for (x, y), (wanted, labels) in zip(streamed.test_batches(CPU), cached.test_batches(CPU), strict=True):
        assert torch.equal(x, wanted) and torch.equal(y, labels)
    given = torch.cat(list(streamed.calibration_batches(None, CPU)))
    wanted = torch.cat([x for x, _ in cached.batches_of(cached.train, CPU)])
    assert torch.equal(given, wanted)


def test_every_image_comes_once_an_epoch_in_an_order_of_seed_and_epoch(shards):
    data = unscaled(load_data(shards, stream=True))
    plain = Recipe(batch_size=8, augment="none")
    epochs = [seen(whole(data, epoch, recipe=plain)) for epoch in range(3)]
    for order in epochs:
        assert len(order) == len(set(order)) == 64  # the last 3 of 67 fill no batch
        assert set(order) <= set(range(100, 167))
    assert epochs[0] != epochs[1] != epochs[2]
    assert epochs[1] == seen(whole(data, 1, recipe=plain))
    other = Recipe(batch_size=8, augment="none", seed=1)
    assert seen(whole(data, 1, recipe=other)) != epochs[1]


def test_each_shard_is_read_once_an_epoch(shards, monkeypatch):
    data = load_data(shards, stream=True)
    read = []
    original = Shards._of_parquet

    def counted(self, shard):
        read.append((shard.file, shard.group))
        return original(self, shard)

    monkeypatch.setattr(Shards, "_of_parquet", counted)
    whole(data, 0)
    assert len(read) == len(set(read)) == len(data._train.shards) == 8


@settings(max_examples=12)
@given(st.integers(0, 7), st.integers(1, 4), st.integers(1, 5))
def test_neither_threads_nor_shares_nor_where_it_begins_change_the_stream(shards, skip, of, threads):
    data = load_data(shards, stream=True)
    wanted = whole(data, 3)[skip:]
    parts = []
    for number in range(of):
        batches = data.training_batches(RECIPE, CPU, Share(number, of))
        batches._threads = threads
        parts.append(list(batches.epoch(3, skip)))
    for (x, y), *own in zip(wanted, *parts, strict=True):
        assert torch.equal(x, torch.cat([part for part, _ in own]))
        assert torch.equal(y, torch.cat([labels for _, labels in own]))


class _Stop(Exception):
    pass


class _StopAt(Silent):
    """Breaks off after so many images, all epochs together."""

    def __init__(self, images):
        self.left = images

    def advance(self, count=1, detail=""):
        self.left -= count
        if self.left < 0:
            raise _Stop


def net():
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    return nn.Sequential(*layers, nn.Linear(4, 3))


@pytest.mark.parametrize("way", ["streamed", "cached"])
def test_training_goes_on_within_an_epoch(shards, tmp_path, image_cache, way):
    data = load_data(shards, stream=way == "streamed")
    assert isinstance(data, ImageData) == (way == "cached")
    model = net()
    history = train(model, data, RECIPE, CPU)
    checkpoint = Checkpoint(tmp_path / "checkpoint.pt", "run", images=24)
    stopped = net()
    with pytest.raises(_Stop):
        train(stopped, data, RECIPE, CPU, checkpoint=checkpoint, progress=_StopAt(64 + 40))
    within = torch.load(checkpoint.path, weights_only=True)["within"]
    assert within["batches"] == 3
    again = net()
    ends = train(again, data, RECIPE, CPU, checkpoint=checkpoint)
    for one, other in zip(model.state_dict().values(), again.state_dict().values(), strict=True):
        assert torch.equal(one, other)
    for one, other in zip(history, ends, strict=True):
        assert (one.rate, one.train_loss, one.train_accuracy) == (
            other.rate,
            other.train_loss,
            other.train_accuracy,
        )
        assert one.test_accuracy == other.test_accuracy


def test_as_many_threads_decode_as_compute(shards):
    data = load_data(shards, stream=True)
    names = set()
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        batches = data.training_batches(RECIPE, CPU)
        decoded = batches._decoded

        def named(*given):
            names.add(threading.current_thread().name)
            return decoded(*given)

        batches._decoded = named
        list(batches.epoch())
    finally:
        torch.set_num_threads(before)
    assert names == {"decode_0"}


def test_leaving_an_epoch_early_ends_its_threads(shards):
    data = load_data(shards, stream=True)
    before = threading.active_count()
    epoch = data.training_batches(RECIPE, CPU).epoch()
    next(epoch)
    epoch.close()
    for thread in threading.enumerate():
        if thread.name.startswith(("read", "decode")):
            thread.join(5)
    assert threading.active_count() <= before


def test_large_data_are_streamed_and_decoded_data_are_not_streamed_again(shards, monkeypatch, tmp_path):
    assert isinstance(load_data(shards, cache=tmp_path), ImageData)
    monkeypatch.setattr(loading, "memory", lambda: 4 * 82 * 8 * 8 * 3 - 1)  # of 82 decoded images
    assert isinstance(load_data(shards, cache=tmp_path), ImageData)
    assert isinstance(load_data(shards, cache=tmp_path / "other"), StreamedImages)
    assert isinstance(load_data(shards, cache=tmp_path / "other", stream=False), ImageData)
    assert loading.memory() > 0


def test_a_run_goes_on_as_it_began_whatever_the_machine(shards, monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("RANKFOLD_CACHE", str(tmp_path / "cache"))
    options = ["--data", str(shards), "--epochs", "0", "--batch", "8", "--array", "64x64"]

    def train_with(memory, out, *more):
        monkeypatch.setattr(loading, "memory", lambda: memory)
        assert main(["train", "resnet8", *options, "--out", str(tmp_path / out), *more]) == 0
        noted = "images are decoded while training" in capsys.readouterr().err
        return noted, Result.load(tmp_path / out / "result.json").data

    noted, streamed = train_with(0, "streamed")
    assert noted and streamed.streamed
    assert f"{streamed.digest}, decoded while training" in (tmp_path / "streamed/report.html").read_text()
    noted, decoded = train_with(1 << 40, "decoded")
    assert not noted and not decoded.streamed and decoded.digest != streamed.digest
    # Neither memory nor the cache, which is filled now and then is not, count for a run that goes on.
    assert train_with(1 << 40, "streamed", "--resume") == (True, streamed)
    monkeypatch.setenv("RANKFOLD_CACHE", str(tmp_path / "empty"))
    assert train_with(0, "decoded", "--resume") == (False, decoded)
    # Whoever asks for the other way is refused.
    assert (
        main(["train", "resnet8", *options, "--out", str(tmp_path / "decoded"), "--resume", "--stream"]) == 2
    )
    assert "already holds a different run (other data)" in capsys.readouterr().err


def test_folders_of_images_by_class(tmp_path, image_cache):
    images = pictures(12)
    for place, pixels in enumerate(images):
        split = "train" if place < 9 else "test"
        file = tmp_path / split / "xy"[place % 2] / f"{place}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(png(pixels))
    cached, streamed = load_images(tmp_path), load_data(tmp_path, stream=True)
    assert streamed.classes == cached.classes == ("x", "y")
    (x, y), (wanted, labels) = next(iter(streamed.test_batches(CPU))), next(iter(cached.test_batches(CPU)))
    assert sorted(y.tolist()) == sorted(labels.tolist())
    assert torch.allclose(x.sum(0), wanted.sum(0), atol=1e-4)
    next(file for file in Path(tmp_path / "train").rglob("*.png")).write_bytes(b"no image")
    with pytest.raises(InputError, match=r"split train: image [0-8] cannot be read"):
        load_data(tmp_path, stream=True)


@pytest.mark.parametrize("source", ["digits", "owner/name"])
def test_what_cannot_be_streamed_is_refused_when_asked_for(source):
    with pytest.raises(InputError, match="is no folder, and is decoded at once; omit stream"):
        load_data(source, stream=True)


def test_a_folder_of_other_files_is_refused(tmp_path):
    (tmp_path / "train.csv").write_text("image,label\n")
    with pytest.raises(InputError, match="csv files, which is decoded at once"):
        load_data(tmp_path, stream=True)
