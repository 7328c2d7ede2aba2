"""Images from every kind of source, their cache, and the batches made of them."""

from __future__ import annotations

import io
import os
import shutil
import threading
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from sklearn.datasets import load_digits
from torch import Tensor

from common.real_data import data_folder, why_missing
from rankfold.errors import InputError
from rankfold.training import cache as training_cache
from rankfold.training import load as loading
from rankfold.training.batches import Batches
from rankfold.training.data import ImageData, ImageSplit, load_images
from rankfold.training.load import load_data

CIFAR10 = data_folder("cifar10")
CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of its own for every test, outside the folder that holds its data."""
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("RANKFOLD_CACHE", str(folder))
    # `datasets` leaves lock files in its own cache, even where it streams.
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path_factory.mktemp("datasets")))
    return folder


@pytest.fixture(autouse=True, scope="module")
def quiet() -> Iterable[None]:
    datasets.disable_progress_bars()
    yield
    datasets.enable_progress_bars()


def pictures(count: int, height: int = 6, width: int = 5, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, height, width, 3), dtype=np.uint8)


def png(pixels: np.ndarray) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


def class_folder(root: Path, splits: Sequence[str] = ("train", "test")) -> Path:
    """Images as `root/split/class/k.png`.

    Image k of class c in split s is `pictures(3, seed=10 * s + c)[k]`.
    """
    for s, split in enumerate(splits):
        for c, name in enumerate(("cat", "dog")):
            (root / split / name).mkdir(parents=True)
            for k, pixels in enumerate(pictures(3, seed=10 * s + c)):
                (root / split / name / f"{k}.png").write_bytes(png(pixels))
    return root


def shards(
    root: Path,
    images: dict[str, Sequence[bytes]],
    labels: Sequence[int],
    columns: tuple[str, str] = ("img", "label"),
    names: Sequence[str] | None = ("cat", "dog"),
    parts: int = 2,
) -> Path:
    """Parquet shards in the Hugging Face layout: `root/data/train-00000-of-00002.parquet` and so on."""
    (root / "data").mkdir(parents=True)
    kind = datasets.Value("int64") if names is None else datasets.ClassLabel(names=list(names))
    features = datasets.Features({columns[0]: datasets.Image(), columns[1]: kind})
    for split, files in images.items():
        content = {columns[0]: [{"bytes": file, "path": None} for file in files], columns[1]: list(labels)}
        table = datasets.Dataset.from_dict(content, features=features)
        for part in range(parts):
            target = root / "data" / f"{split}-{part:05d}-of-{parts:05d}.parquet"
            table.shard(parts, part, contiguous=True).to_parquet(str(target))
    return root


def both(files: Sequence[bytes]) -> dict[str, Sequence[bytes]]:
    return {"train": files, "test": files}


# ---------------------------------------------------------------------------------------------------- sources


def test_digits_are_split_by_class_and_not_mirrored() -> None:
    data = load_images("digits")
    assert (len(data.train), len(data.test)) == (1433, 364)
    assert (data.input_size, data.classes, data.mirror) == ((1, 8, 8), tuple("0123456789"), False)
    counts = np.bincount(load_digits().target)
    np.testing.assert_array_equal(np.bincount(data.test.labels), -(-counts // 5))
    np.testing.assert_array_equal(np.bincount(data.train.labels), counts - -(-counts // 5))
    assert data.train.images.dtype == np.uint8 and data.train.labels.dtype == np.int64
    # Together the splits are all digits, at full contrast.
    merged = np.concatenate([data.train.images, data.test.images]).reshape(1797, 64)
    expected = np.rint(load_digits().data * 255 / 16).astype(np.uint8)
    assert sorted(row.tobytes() for row in merged) == sorted(row.tobytes() for row in expected)


def test_mean_and_deviation_are_those_of_the_training_pixels(tmp_path: Path) -> None:
    for data in (load_images("digits"), load_images(str(class_folder(tmp_path / "pets")))):
        pixels = data.train.images.astype(np.float64).reshape(-1, data.input_size[0]) / 255
        np.testing.assert_allclose(data.mean, pixels.mean(0), rtol=0, atol=1e-12)
        np.testing.assert_allclose(data.std, pixels.std(0), rtol=0, atol=1e-12)


def test_a_folder_of_images_by_class(tmp_path: Path) -> None:
    data = load_images(str(class_folder(tmp_path / "pets")))
    assert (data.classes, data.input_size, data.mirror) == (("cat", "dog"), (3, 6, 5), True)
    for s, split in enumerate((data.train, data.test)):
        np.testing.assert_array_equal(split.labels, [0, 0, 0, 1, 1, 1])
        np.testing.assert_array_equal(
            split.images, np.concatenate([pictures(3, seed=10 * s), pictures(3, seed=10 * s + 1)])
        )


@pytest.mark.parametrize("name", ["validation", "val"])
def test_a_validation_folder_stands_in_for_the_test_split(tmp_path: Path, name: str) -> None:
    data = load_images(str(class_folder(tmp_path / "pets", ("train", name))))
    np.testing.assert_array_equal(data.test.images[:3], pictures(3, seed=10))


@pytest.mark.parametrize("columns", [("img", "label"), ("image", "fine_label"), ("image", "labels")])
def test_parquet_shards(tmp_path: Path, columns: tuple[str, str]) -> None:
    train, test = pictures(6, seed=1), pictures(6, seed=2)
    labels = [1, 0, 0, 1, 1, 0]
    root = shards(
        tmp_path / "p", {"train": [png(x) for x in train], "test": [png(x) for x in test]}, labels, columns
    )
    data = load_images(str(root))
    np.testing.assert_array_equal(data.train.images, train)
    np.testing.assert_array_equal(data.test.images, test)
    np.testing.assert_array_equal(data.train.labels, labels)
    assert data.classes == ("cat", "dog")


def test_labels_without_names_are_numbered(tmp_path: Path) -> None:
    root = shards(tmp_path / "p", both([png(x) for x in pictures(4)]), [0, 2, 1, 2], names=None)
    assert load_images(str(root)).classes == ("0", "1", "2")


def test_grey_images_keep_one_channel_and_palettes_become_colours(tmp_path: Path) -> None:
    grey = [png(x[..., 0]) for x in pictures(2)]
    data = load_images(str(shards(tmp_path / "grey", both(grey), [0, 1])))
    assert data.input_size == (1, 6, 5)
    np.testing.assert_array_equal(data.train.images[..., 0], pictures(2)[..., 0])
    stream = io.BytesIO()
    palette = Image.new("P", (5, 6), 1)
    palette.putpalette([0, 0, 0, 250, 120, 10])
    palette.save(stream, "PNG")
    data = load_images(str(shards(tmp_path / "palette", both([stream.getvalue()] * 2), [0, 1])))
    assert data.input_size == (3, 6, 5)
    assert (data.train.images == (250, 120, 10)).all()


@pytest.mark.skipif(not CIFAR10.is_dir(), reason=why_missing("cifar10"))
def test_the_first_images_of_cifar10(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    for split in ("train", "test"):
        source = pq.ParquetFile(sorted((CIFAR10 / "data").glob(f"{split}-*.parquet"))[0])
        rows = next(source.iter_batches(batch_size=50))
        pq.write_table(
            pa.Table.from_batches([rows], source.schema_arrow), tmp_path / f"{split}-00000-of-00001.parquet"
        )
    data = load_images(str(tmp_path))
    assert (len(data.train), len(data.test), data.input_size, data.mirror) == (50, 50, (3, 32, 32), True)
    names = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
    assert data.classes == names
    assert data.train.labels.max() < 10 and len(np.unique(data.train.labels)) > 4


# -------------------------------------------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    "source", ["./gone", "/nowhere/at/all", "~/not/here", "some/deep/folder", "plain-name"]
)
def test_a_missing_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, cache: Path) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(
        InputError,
        match=rf"^data folder {source} does not exist; give a folder of Parquet shards or of images",
    ):
        load_images(source)
    assert list(cache.iterdir()) == []


def test_a_file_in_place_of_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("pets").write_text("no folder")
    with pytest.raises(InputError, match="data folder pets does not exist"):
        load_images("pets")


def test_an_empty_folder(tmp_path: Path) -> None:
    (tmp_path / "data" / "train").mkdir(parents=True)
    with pytest.raises(
        InputError, match=r"data folder .*data is empty; expected Parquet shards or images by class"
    ):
        load_images(str(tmp_path / "data"))


def refused(root: Path, cache: Path, message: str, **options: Any) -> str:
    """The message with which `root` is refused, leaving nothing in the cache.

    It is the same where nobody chose between decoding at once and while training; whoever chose the second
    is told in one sentence, too, when the images are gone through if not before.
    """
    with pytest.raises(InputError, match=message) as error:
        load_images(str(root), **options)
    with pytest.raises(InputError, match=message):
        load_data(str(root), **options)
    with pytest.raises(InputError) as streamed:
        list(load_data(str(root), **options, stream=True).test_batches(CPU))
    for told in (error, streamed):
        assert str(root) in str(told.value) and "\n" not in str(told.value)
    assert list(cache.iterdir()) == []
    return str(error.value)


def test_no_test_split(tmp_path: Path, cache: Path) -> None:
    root = class_folder(tmp_path / "pets", ("train",))
    refused(root, cache, r"has the splits \['train'\]; it needs `train` and one of test, validation, val")


def test_no_train_split(tmp_path: Path, cache: Path) -> None:
    root = class_folder(tmp_path / "pets", ("test",))
    refused(root, cache, r"has the splits \['test'\]; it needs `train` and one of test")


@pytest.mark.parametrize("columns", [("picture", "label"), ("img", "species")])
def test_missing_columns(tmp_path: Path, cache: Path, columns: tuple[str, str]) -> None:
    root = shards(tmp_path / "p", both([png(x) for x in pictures(4)]), [0, 1, 0, 1], columns)
    message = refused(
        root,
        cache,
        r"needs an image column \(img or image\) and a label column \(label, labels, fine_label\)",
    )
    assert str(sorted(columns)) in message


@pytest.mark.parametrize("split", ["train", "test"])
@pytest.mark.parametrize("broken", [0, 3, 5])
@pytest.mark.parametrize("how", ["truncated", "no image"])
def test_a_corrupt_image_in_a_shard_is_named(
    tmp_path: Path, cache: Path, split: str, broken: int, how: str
) -> None:
    files = {name: [png(x) for x in pictures(6, 16, 16)] for name in ("train", "test")}
    files[split][broken] = files[split][broken][:200] if how == "truncated" else b"broken bytes"
    root = shards(tmp_path / "p", dict(files), [0, 1] * 3)
    refused(root, cache, rf", split {split}: image {broken} (cannot be read|is corrupt) \(.*\); repair or re")


def test_a_missing_image_in_a_shard_is_named(tmp_path: Path, cache: Path) -> None:
    (tmp_path / "p").mkdir()
    features = datasets.Features({"img": datasets.Image(), "label": datasets.Value("int64")})
    content = {"img": [{"bytes": png(pictures(1)[0]), "path": None}, None], "label": [0, 1]}
    table = datasets.Dataset.from_dict(content, features=features)
    for split in ("train", "test"):
        table.to_parquet(str(tmp_path / "p" / f"{split}-00000-of-00001.parquet"))
    refused(tmp_path / "p", cache, "split train: image 1 ")


def test_a_corrupt_file_in_a_class_folder(tmp_path: Path, cache: Path) -> None:
    root = class_folder(tmp_path / "pets")
    (root / "train" / "dog" / "1.png").write_bytes(b"broken bytes")
    refused(root, cache, "split train: image 4 ")


def test_a_broken_shard(tmp_path: Path, cache: Path) -> None:
    root = shards(tmp_path / "p", both([png(x) for x in pictures(4)]), [0, 1, 0, 1])
    for shard in (root / "data").iterdir():
        shard.write_bytes(b"no parquet at all")
    refused(root, cache, "cannot be read: .*; give a folder of Parquet shards or of images by class")


def test_images_of_differing_size_need_a_size_to_resize_to(tmp_path: Path, cache: Path) -> None:
    files = [png(pictures(1, 6, 5)[0]), png(pictures(1, 6, 5)[0]), png(pictures(1, 7, 5)[0])]
    root = shards(tmp_path / "p", both(files), [0, 1, 0])
    refused(
        root,
        cache,
        r"image 2 is \(7, 5, 3\), the first one \(6, 5, 3\) \(H, W, C\); "
        r"pass image_size=\(H, W\) to resize them",
    )
    data = load_images(str(root), (4, 9))
    assert data.input_size == (3, 4, 9)
    expected = Image.fromarray(pictures(1, 7, 5)[0]).resize((9, 4), Image.Resampling.BICUBIC)
    np.testing.assert_array_equal(data.train.images[2], np.asarray(expected))


def test_splits_of_differing_size(tmp_path: Path, cache: Path) -> None:
    files = {"train": [png(x) for x in pictures(2)], "test": [png(x) for x in pictures(2, 9, 9)]}
    refused(shards(tmp_path / "p", files, [0, 1]), cache, "the splits differ in image size; pass image_size=")


def test_a_label_beyond_the_classes(tmp_path: Path, cache: Path) -> None:
    root = shards(tmp_path / "p", {"train": [png(x) for x in pictures(4)]}, [0, 1, 0, 1], names=None)
    shards(tmp_path / "q", {"test": [png(x) for x in pictures(4)]}, [0, 1, 2, 1], names=None)
    for path in (tmp_path / "q" / "data").iterdir():
        path.rename(root / "data" / path.name)
    refused(root, cache, "split test: label 2 does not fit its 2 classes")


# ------------------------------------------------------------------------------------------------------ cache


def test_the_cache_is_used_again(tmp_path: Path, cache: Path) -> None:
    root = class_folder(tmp_path / "pets")
    first = load_images(str(root))
    (entry,) = cache.iterdir()
    assert sorted(path.name for path in entry.iterdir()) == [
        "meta.json",
        "test-images.npy",
        "test-labels.npy",
        "train-images.npy",
        "train-labels.npy",
    ]
    # An image broken so that neither its size nor its time tells: only a second decoding would notice.
    victim = root / "train" / "cat" / "0.png"
    before = victim.stat()
    victim.write_bytes(b"x" * before.st_size)
    os.utime(victim, ns=(before.st_atime_ns, before.st_mtime_ns))
    second = load_images(str(root))
    assert [path.name for path in cache.iterdir()] == [entry.name]
    assert isinstance(second.train.images, np.memmap)
    assert same(first, second)
    # A new time of change means another look, which finds the damage and keeps the good entry.
    os.utime(victim)
    with pytest.raises(InputError, match="image 0 cannot be read"):
        load_images(str(root))
    assert [path.name for path in cache.iterdir()] == [entry.name]


def same(a: ImageData, b: ImageData) -> bool:
    splits = ((a.train, b.train), (a.test, b.test))
    equal = all(np.array_equal(x.images, y.images) and np.array_equal(x.labels, y.labels) for x, y in splits)
    return equal and (a.classes, a.mean, a.std, a.digest) == (b.classes, b.mean, b.std, b.digest)


def test_changed_data_is_decoded_again_and_has_another_digest(tmp_path: Path, cache: Path) -> None:
    root = class_folder(tmp_path / "pets")
    first = load_images(str(root))
    (root / "train" / "dog" / "9.png").write_bytes(png(pictures(1, seed=77)[0]))
    second = load_images(str(root))
    assert (len(first.train), len(second.train)) == (6, 7)
    assert first.digest != second.digest
    assert load_images(str(root), (6, 5)).digest == second.digest
    assert len(list(cache.iterdir())) == 3


def test_an_entry_that_another_process_fills_first_is_taken(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = load_images("digits")
    (entry,) = cache.iterdir()
    kept = entry.rename(cache / "kept")
    decode = training_cache.decode

    def decode_late(*arguments: Any) -> Any:
        decoded = decode(*arguments)
        shutil.copytree(kept, entry)
        return decoded

    monkeypatch.setattr(training_cache, "decode", decode_late)
    assert same(load_images("digits"), before)


def test_an_explicit_cache_folder_wins(tmp_path: Path, cache: Path) -> None:
    assert same(load_images("digits", cache=tmp_path / "mine"), load_images("digits"))
    assert len(list((tmp_path / "mine").iterdir())) == len(list(cache.iterdir())) == 1


def test_a_cache_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "blocker").write_text("a file")
    monkeypatch.setenv("RANKFOLD_CACHE", str(tmp_path / "blocker" / "cache"))
    with pytest.raises(
        InputError, match=r"cannot write the image cache .*; set RANKFOLD_CACHE to a writable folder"
    ):
        load_images("digits")


@given(count=st.integers(0, 30), seed=st.integers(0, 100))
@settings(max_examples=20, deadline=None)
def test_a_sample_is_drawn_without_replacement_in_order(count: int, seed: int) -> None:
    split = numbered(20)
    sample = split.sample(count, seed)
    assert len(sample) == min(count, 20)
    assert (np.diff(sample.labels) > 0).all()
    np.testing.assert_array_equal(sample.images, split.images[sample.labels])
    np.testing.assert_array_equal(sample.labels, split.sample(count, seed).labels)


def test_samples_of_two_seeds_differ() -> None:
    assert numbered(200).sample(20, 0).labels.tolist() != numbered(200).sample(20, 1).labels.tolist()


# ---------------------------------------------------------------------------------------------------- batches


def numbered(count: int, height: int = 8, width: int = 8, channels: int = 3) -> ImageSplit:
    """Images of noise whose labels are their places."""
    pixels = np.random.default_rng(3).integers(0, 256, (count, height, width, channels), dtype=np.uint8)
    return ImageSplit(pixels, np.arange(count, dtype=np.int64))


def make(split: ImageSplit, batch_size: int, **options: Any) -> Batches:
    channels = split.images.shape[-1]
    return Batches(split, (0.0,) * channels, (1.0,) * channels, batch_size, CPU, **options)


def collect(batches: Batches, epoch: int = 0) -> tuple[Tensor, Tensor]:
    images, labels = zip(*batches.epoch(epoch), strict=True)
    return torch.cat(images), torch.cat(labels)


@given(count=st.integers(1, 40), batch_size=st.integers(1, 17))
@settings(max_examples=30, deadline=None)
def test_without_shuffling_every_image_comes_once_in_order(count: int, batch_size: int) -> None:
    batches = make(numbered(count), batch_size)
    sizes = [len(labels) for _, labels in batches.epoch()]
    images, labels = collect(batches)
    assert labels.tolist() == list(range(count))
    assert len(sizes) == len(batches) and all(size == batch_size for size in sizes[:-1])
    np.testing.assert_allclose(
        images.numpy(), numbered(count).images.transpose(0, 3, 1, 2) / 255, rtol=0, atol=1e-6
    )


def test_normalisation_is_exact() -> None:
    split = numbered(9)
    mean, std = (0.1, 0.5, 0.9), (0.2, 0.25, 1.5)
    images, _ = collect(Batches(split, mean, std, 4, CPU))
    expected = (split.images / 255 - np.array(mean)) / np.array(std)
    np.testing.assert_allclose(images.numpy(), expected.transpose(0, 3, 1, 2), rtol=0, atol=5e-6)
    assert images.dtype is torch.float32
    first, labels = next(iter(Batches(split, mean, std, 4, CPU).epoch()))
    assert first.is_contiguous(memory_format=torch.channels_last) and labels.dtype is torch.int64


@pytest.mark.parametrize("augment", ["none", "crop", "crop-flip"])
def test_same_seed_and_epoch_give_the_same_batches(augment: str) -> None:
    options = {"augment": augment, "shuffle": True}
    images, labels = collect(make(numbered(50), 8, seed=5, **options), 3)
    again, labels_again = collect(make(numbered(50), 8, seed=5, **options), 3)
    assert torch.equal(images, again) and torch.equal(labels, labels_again)
    # An epoch does not depend on those before it, and differs from them.
    batches = make(numbered(50), 8, seed=5, **options)
    assert not torch.equal(labels, collect(batches, 2)[1])
    assert torch.equal(collect(batches, 3)[0], images)
    assert not torch.equal(labels, collect(make(numbered(50), 8, seed=6, **options), 3)[1])


@given(count=st.integers(1, 40), batch_size=st.integers(2, 17), seed=st.integers(0, 2**31 - 1))
@settings(max_examples=30, deadline=None)
def test_shuffled_batches_are_full_and_without_repeats(count: int, batch_size: int, seed: int) -> None:
    batches = make(numbered(count), batch_size, shuffle=True, seed=seed)
    sizes = [len(labels) for _, labels in batches.epoch()]
    assert sizes == ([batch_size] * (count // batch_size) or [count])
    images, labels = collect(batches)
    assert len(set(labels.tolist())) == len(labels)
    # Labels stay with their images.
    expected = numbered(count).images[labels.numpy()].transpose(0, 3, 1, 2) / 255
    np.testing.assert_allclose(images.numpy(), expected, rtol=0, atol=1e-6)


def test_over_the_epochs_every_image_takes_part() -> None:
    batches = make(numbered(20), 8, shuffle=True)
    seen = {label for epoch in range(12) for label in collect(batches, epoch)[1].tolist()}
    assert seen == set(range(20))


@pytest.mark.parametrize("height, width", [(8, 8), (16, 24), (32, 32)])
def test_crops_are_windows_of_the_image_padded_by_reflection(height: int, width: int) -> None:
    split = numbered(12, height, width)
    images, labels = collect(make(split, 5, augment="crop"))
    assert images.shape == (12, 3, height, width)
    pad = height // 8
    offsets = set()
    for pixels, label in zip(images.numpy(), labels.tolist(), strict=True):
        padded = (
            np.pad(split.images[label], ((pad, pad), (pad, pad), (0, 0)), mode="reflect").transpose(2, 0, 1)
            / 255
        )
        windows = {
            (top, left): padded[:, top : top + height, left : left + width]
            for top in range(2 * pad + 1)
            for left in range(2 * pad + 1)
        }
        matching = [
            place for place, window in windows.items() if np.allclose(pixels, window, rtol=0, atol=1e-5)
        ]
        assert len(matching) == 1
        offsets.add(matching[0])
    assert len(offsets) > 2


def test_crop_flip_keeps_shapes_and_mirrors_every_image_every_second_epoch() -> None:
    split = numbered(40, 16, 12)
    # Every row of every image rises from left to right, so that the direction shows through any crop.
    split = ImageSplit(
        np.broadcast_to(np.arange(12, dtype=np.uint8)[:, None] * 20, split.images.shape).copy(), split.labels
    )
    batches = make(split, 8, augment="crop-flip", shuffle=True)
    falling: dict[int, list[bool]] = {label: [] for label in range(40)}
    for epoch in range(4):
        images, labels = collect(batches, epoch)
        assert images.shape == (40, 3, 16, 12)
        for pixels, label in zip(images, labels.tolist(), strict=True):
            falling[label].append(bool(pixels[0, 8, 3] > pixels[0, 8, 8]))
    assert all(seen[0] == seen[2] == (not seen[1]) == (not seen[3]) for seen in falling.values())
    assert 5 < sum(seen[0] for seen in falling.values()) < 35


def test_leaving_an_epoch_early_ends_its_thread() -> None:
    before = threading.active_count()
    epoch = make(numbered(64), 2).epoch()
    next(epoch)
    assert threading.active_count() == before + 1
    epoch.close()  # type: ignore[attr-defined]
    assert threading.active_count() == before


def test_an_error_while_preparing_reaches_the_caller() -> None:
    split = ImageSplit(numbered(10).images[:6], numbered(10).labels)
    batches = make(split, 4)
    with pytest.raises(IndexError):
        list(batches.epoch())


# ----------------------------------------------------------------------------- odd sizes, labels and channels


@pytest.mark.parametrize("label", [2**62, -(2**62), None, "cat", 1.5])
def test_labels_must_be_whole_numbers(tmp_path: Path, cache: Path, label: object) -> None:
    kind = {"str": "string", "float": "float64"}.get(type(label).__name__, "int64")
    features = datasets.Features({"img": datasets.Image(), "label": datasets.Value(kind)})
    content = {
        "img": [{"bytes": png(pixels), "path": None} for pixels in pictures(2)],
        "label": [label, label],
    }
    for split in ("train", "test"):
        datasets.Dataset.from_dict(content, features=features).to_parquet(
            str(tmp_path / f"{split}-00000-of-00001.parquet")
        )
    refused(tmp_path, cache, r"split train: image 0 has the label .*; labels must be whole numbers from 0")


def test_shards_that_name_their_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = sorted(class_folder(tmp_path / "images").rglob("*.png"))
    content = {"image": [{"bytes": None, "path": str(file)} for file in files], "label": [0, 1] * 6}
    features = datasets.Features({"image": datasets.Image(), "label": datasets.Value("int64")})
    (tmp_path / "p").mkdir()
    for split in ("train", "test"):
        datasets.Dataset.from_dict(content, features=features).to_parquet(
            str(tmp_path / "p" / f"{split}.parquet")
        )
    monkeypatch.setattr(loading, "memory", lambda: 0)
    data = load_data(tmp_path / "p")
    assert isinstance(data, ImageData)
    for number, file in enumerate(files):
        np.testing.assert_array_equal(data.train.images[number], np.asarray(Image.open(file)))
    with pytest.raises(InputError, match=r"train\.parquet names image files instead of holding them"):
        load_data(tmp_path / "p", stream=True)


@pytest.mark.parametrize("kind", ["parquet", "images"])
def test_folders_of_links(tmp_path: Path, kind: str) -> None:
    """As snapshots of the Hub are: each file is a link to content that lies elsewhere."""
    if kind == "parquet":
        root = shards(tmp_path / "p", both([png(x) for x in pictures(4)]), [0, 1, 0, 1])
    else:
        root = class_folder(tmp_path / "p")
    linked, blobs = tmp_path / "linked", tmp_path / "blobs"
    blobs.mkdir()
    for number, file in enumerate(path for path in sorted(root.rglob("*")) if path.is_file()):
        link = linked / file.relative_to(root)
        link.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, blobs / str(number))
        link.symlink_to(blobs / str(number))
    assert load_data(linked).digest == load_images(root).digest
    streamed = load_data(linked, stream=True)
    # The links' names tell the files apart, and not where their content lies.
    assert streamed.digest == load_data(root, stream=True).digest
    assert streamed.test_images == load_images(root).test_images


def test_digits_follow_the_image_size() -> None:
    assert load_images("digits", (16, 12)).input_size == (1, 16, 12)


@pytest.mark.parametrize(
    ("source", "size", "message"), [("digits", (0, 4), "must be at least 1x1"), (" ", None, "is empty")]
)
def test_impossible_sizes_and_names(source: str, size: tuple[int, int] | None, message: str) -> None:
    with pytest.raises(InputError, match=message):
        load_images(source, size)


@pytest.mark.parametrize(("height", "width"), [(64, 8), (8, 64), (1, 1), (2, 1), (3, 40)])
def test_crops_of_any_shape_of_image(height: int, width: int) -> None:
    split = ImageSplit(np.zeros((4, height, width, 3), np.uint8), np.zeros(4, np.int64))
    batches = Batches(
        split, (0.0,) * 3, (1.0,) * 3, 2, torch.device("cpu"), augment="crop-flip", shuffle=True
    )
    assert [x.shape for x, _ in batches.epoch()] == [(2, 3, height, width)] * 2


def test_grey_among_colour_and_deep_grey_are_named(tmp_path: Path, cache: Path) -> None:
    classes = class_folder(tmp_path / "a")
    grey = Image.fromarray(pictures(1)[0]).convert("L")
    first = sorted(classes.rglob("*.png"))[-1]
    grey.save(first)
    with pytest.raises(
        InputError, match="has 1 channels, the first one 3; make all of them grey or all of them colour"
    ):
        load_images(str(classes), (8, 8))
    Image.fromarray(np.full((8, 8), 60_000, np.uint16)).save(first)
    with pytest.raises(InputError, match="has more than 8 bits a channel; convert it to 8 bits"):
        load_images(str(classes), (8, 8))
    assert list(cache.iterdir()) == []
