"""Images from every kind of source."""

from __future__ import annotations

import io
import shutil
from pathlib import Path

import datasets
import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from common.image_files import both, class_folder, pictures, png, shards
from common.real_data import data_folder, why_missing
from rankfold.errors import InputError
from rankfold.training import load as loading
from rankfold.training.data import ImageData, load_images
from rankfold.training.load import load_data

CIFAR10 = data_folder("cifar10")


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
