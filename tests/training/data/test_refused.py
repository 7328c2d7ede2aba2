"""Sources that cannot be used are refused in one sentence, which names the place."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
import torch
from PIL import Image

from common.image_files import both, class_folder, pictures, png, shards
from rankfold.errors import InputError
from rankfold.training.data import load_images
from rankfold.training.load import load_data


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
        list(load_data(str(root), **options, stream=True).test_batches(torch.device("cpu")))
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


@pytest.mark.parametrize(
    ("source", "size", "message"), [("digits", (0, 4), "must be at least 1x1"), (" ", None, "is empty")]
)
def test_impossible_sizes_and_names(source: str, size: tuple[int, int] | None, message: str) -> None:
    with pytest.raises(InputError, match=message):
        load_images(source, size)


def test_images_of_one_class_are_no_classes(tmp_path: Path, cache: Path) -> None:
    classes = class_folder(tmp_path / "pets")
    for split in ("train", "test"):
        shutil.rmtree(classes / split / "dog")
    with pytest.raises(InputError, match=r"pets has images of one class alone; give folders of two classes"):
        load_images(str(classes))
    assert list(cache.iterdir()) == []


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
