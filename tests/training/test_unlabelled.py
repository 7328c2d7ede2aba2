"""Data without labels: folders of images, arrays by name, and what networks are measured by on them."""

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from common.dense_outputs import maps
from rankfold.calibration.output_choice import output_loss
from rankfold.errors import InputError
from rankfold.training.data import load_images
from rankfold.training.load import load_data
from rankfold.training.scaling import Scaling
from rankfold.training.unlabelled import ArrayData, Likeness, labelled_by

CPU = torch.device("cpu")
PIXELS = np.random.default_rng(0).integers(0, 256, (11, 6, 5, 3), np.uint8)


def write(folder, images=PIXELS, suffix=".png"):
    folder.mkdir(parents=True, exist_ok=True)
    for number, image in enumerate(images):
        Image.fromarray(image).save(folder / f"{number:02d}{suffix}")
    return folder


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("RANKFOLD_CACHE", str(tmp_path / "cache"))


def test_a_folder_of_images_without_classes(tmp_path):
    data = load_images(write(tmp_path / "images"))
    assert not data.is_labelled and data.classes == ()
    assert np.array_equal(data.test.images, PIXELS[4::5])  # every fifth is held out
    assert np.array_equal(data.train.images, np.delete(PIXELS, [4, 9], 0))
    assert not data.train.labels.any() and data.input_size == (3, 6, 5)
    # Normalised by their own pixels, or as is said.
    own = torch.cat(list(data.calibration_batches(None, CPU)))
    assert own.mean().abs() < 0.01 and (own.std() - 1).abs() < 0.02
    scaled = data.scaled(Scaling.parse("none"))
    (given,) = scaled.calibration_batches(None, CPU)
    assert torch.allclose(given, torch.tensor(data.train.images).permute(0, 3, 1, 2) / 255, atol=1e-6)
    assert scaled.digest != data.digest and load_data(tmp_path / "images").digest == data.digest


def test_images_of_two_splits_stay_where_they_are(tmp_path):
    write(tmp_path / "images" / "train", PIXELS[:7])
    write(tmp_path / "images" / "val", PIXELS[7:])
    data = load_images(tmp_path / "images")
    assert not data.is_labelled
    assert np.array_equal(data.train.images, PIXELS[:7]) and np.array_equal(data.test.images, PIXELS[7:])


def test_folders_of_classes_have_labels_as_before(tmp_path):
    for split in ("train", "test"):
        for name in ("cat", "dog"):
            write(tmp_path / "images" / split / name, PIXELS[:2])
    data = load_images(tmp_path / "images")
    assert data.is_labelled and data.classes == ("cat", "dog")
    assert repr(data).startswith("<ImageData 4 and 4 images of 3x6x5 to train and test, ")


def test_what_images_are_refused(tmp_path):
    with pytest.raises(InputError, match="has one image; give 2 or more"):
        load_images(write(tmp_path / "one", PIXELS[:1]))
    write(tmp_path / "both" / "cat")
    with pytest.raises(InputError, match="images beside the folder cat"):
        load_images(write(tmp_path / "both"))
    folder = write(tmp_path / "sizes")
    Image.fromarray(PIXELS[0, :4]).save(folder / "03.png")
    with pytest.raises(
        InputError, match=r"03.png: image 0 is \(4, 5, 3\), the first one \(6, 5, 3\).*image_size"
    ):
        load_images(folder)
    assert load_images(folder, (4, 4)).input_size == (3, 4, 4)
    (folder / "03.png").write_bytes(b"no image")
    with pytest.raises(InputError, match=r"03\.png: image 0 cannot be read"):
        load_images(folder)
    Image.fromarray(np.full((6, 5), 40_000, np.uint16)).save(folder / "03.png")
    with pytest.raises(InputError, match="more than 8 bits a channel"):
        load_images(folder)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("0.5", "must be MEAN/DEVIATION"),
        ("a/b", "must be MEAN/DEVIATION"),
        ("0.5/0", "deviations above 0"),
        ("nan/1", "finite means"),
        ("0.5,0.5/0.2,0.2", r"is for 2 channels, and the images of .* have 3"),
    ],
)
def test_what_normalisation_is_refused(text, words, tmp_path):
    data = load_images(write(tmp_path / "images"))
    with pytest.raises(InputError, match=words):
        data.scaled(Scaling.parse(text))
    assert Scaling.parse("imagenet").mean == (0.485, 0.456, 0.406)
    assert Scaling.parse(str(Scaling.parse("0.25/0.5,0.5,1"))) == Scaling.parse("0.25/0.5,0.5,1")


def test_arrays_go_to_the_network_by_their_names(tmp_path):
    pixels, scale = np.random.default_rng(0).normal(size=(12, 3, 4, 4)), np.arange(12.0)[:, None]
    np.savez(tmp_path / "x.npz", pixels=pixels, scale=scale)
    data = load_data(tmp_path / "x.npz")
    assert isinstance(data, ArrayData) and not data.is_labelled
    ((inputs, _),) = data.calibration_batches(None, CPU)
    assert list(inputs) == ["pixels", "scale"] and inputs["pixels"].dtype == torch.float32
    kept = np.delete(np.arange(12), [4, 9])
    assert torch.equal(inputs["scale"], torch.from_numpy(scale[kept]).float())
    ((held_out, _),) = data.test_batches(CPU)
    assert held_out["scale"].flatten().tolist() == [4, 9]
    np.save(tmp_path / "x.npy", pixels)
    ((alone, _),) = load_data(tmp_path / "x.npy").test_batches(CPU)
    assert torch.equal(alone, held_out["pixels"])
    # Whatever machine they were written on.
    np.savez(tmp_path / "big.npz", pixels=pixels.astype(">f4"), scale=np.arange(12, dtype=">i4")[:, None])
    ((other, _),) = load_data(tmp_path / "big.npz").test_batches(CPU)
    assert torch.equal(other["pixels"], held_out["pixels"]) and other["scale"].flatten().tolist() == [4, 9]


def test_targets_of_arrays_go_to_metrics_alone(tmp_path):
    values, boxes = np.arange(20.0).reshape(10, 2), np.arange(10)
    np.savez(tmp_path / "x.npz", x=values, targets=boxes)
    data = load_data(tmp_path / "x.npz")
    assert not data.is_labelled and data.has_targets
    ((inputs, known),) = data.test_batches(CPU)
    assert list(inputs) == ["x"] and known.tolist() == [4, 9]
    ((inputs, known),) = data.targeted_batches()
    assert torch.equal(inputs["x"][:, 0], 2.0 * known)
    np.savez(tmp_path / "y.npz", x=values, **{"targets.a": boxes, "targets.b": values})
    ((_, known),) = load_data(tmp_path / "y.npz").test_batches(CPU)
    assert list(known) == ["a", "b"] and known["b"][:, 0].tolist() == [8, 18]
    np.savez(tmp_path / "z.npz", x=values)
    with pytest.raises(InputError, match=r"z\.npz have none; give an array called targets, or several"):
        load_data(tmp_path / "z.npz").targeted_batches()


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"x": np.zeros((4, 3, 2, 2), np.uint8)}, "holds uint8; arrays are given to the network as they are"),
        ({"x": np.zeros((4, 2)), "y": np.zeros((5, 2))}, "different numbers of samples: x 4, y 5"),
        ({"x": np.zeros((1, 2))}, "has 1 samples; give 2 or more"),
        ({"x": np.zeros(4)}, r"of shape \(4,\) and type float64"),
        ({"x": np.array([["a"], ["b"]])}, "give numbers of shape"),
        ({"x": np.array([{}, {}], object)}, "cannot be read: Object arrays cannot be loaded"),
        (
            {"x": np.zeros((4, 2)), "targets": np.array(["a"] * 4)},
            "'targets' of data .* give numbers of shape",
        ),
        ({"x": np.zeros((4, 2)), "targets.a": np.zeros(3)}, "different numbers of samples: x 4, targets.a 3"),
        ({"x": np.zeros((4, 2)), "targets": np.zeros(4), "targets.a": np.zeros(4)}, "give one array, or"),
        ({"targets": np.zeros((4, 2))}, "holds no array; give one for each input"),
        ({}, "holds no array"),
    ],
)
def test_what_arrays_are_refused(arrays, words, tmp_path):
    np.savez(tmp_path / "x.npz", **arrays)
    with pytest.raises(InputError, match=words):
        load_data(tmp_path / "x.npz")
    (tmp_path / "y.npz").write_bytes(b"no archive")
    with pytest.raises(InputError, match=r"y\.npz cannot be read"):
        load_data(tmp_path / "y.npz")
    with pytest.raises(InputError, match=r"z\.npy does not exist"):
        load_data(tmp_path / "z.npy")


def test_agreement_is_accuracy_on_the_dense_networks_labels(tmp_path):
    torch.manual_seed(0)
    dense = nn.Sequential(nn.Flatten(), nn.Linear(90, 4))
    other = nn.Sequential(nn.Flatten(), nn.Linear(90, 4))
    data = load_images(write(tmp_path / "images", np.repeat(PIXELS, 3, 0)))
    likeness = Likeness(dense, output_loss(dense, data.calibration_batches(None, CPU)))
    found = likeness(other, data.test_batches(CPU))
    labels = labelled_by(data, dense, CPU).test.labels
    (batch,) = [x for x, _ in data.test_batches(CPU)]
    assert likeness.name == "agreement"
    assert found == pytest.approx((other(batch).argmax(1).numpy() == labels).mean())
    assert likeness(dense, data.test_batches(CPU)) == 1


def test_the_error_of_values_is_relative_to_how_they_vary():
    dense, batches = maps(), [(torch.randn(9, 1, 8, 8), None), (torch.randn(4, 1, 8, 8), None)]
    likeness = Likeness(dense, output_loss(dense, [x for x, _ in batches]))
    assert likeness.name == "relative output error" and likeness(dense, batches) == 0

    class Mean(nn.Module):
        def forward(self, x):
            every = dense(torch.cat([x for x, _ in batches]))
            return {name: value.mean(0).expand(len(x), *value.shape[1:]) for name, value in every.items()}

    assert likeness(Mean(), batches) == pytest.approx(1, rel=1e-5)


def test_what_is_no_array_is_not_taken_for_a_pickle(tmp_path):
    path = tmp_path / "x.npz"
    path.write_bytes(b"hello")
    with pytest.raises(InputError, match=r"x\.npz cannot be read: it is neither a \.npz nor a \.npy file"):
        ArrayData(path)
