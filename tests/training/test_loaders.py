"""Networks trained, and whole runs, on batches that the user makes."""

import json
import random

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, RandomSampler, TensorDataset

from rankfold.errors import InputError
from rankfold.mapping import ArraySpec
from rankfold.plan import LowRank, uniform_plan
from rankfold.planning.data import planning_data
from rankfold.progress import Silent
from rankfold.runs.evaluate import evaluate
from rankfold.runs.run import run
from rankfold.runs.state import traced
from rankfold.runs.train import train_network
from rankfold.surgery.saving import load_
from rankfold.training.checkpoint import Checkpoint
from rankfold.training.data import load_images
from rankfold.training.distillation import Distillation, Teacher
from rankfold.training.loaders import LoaderData
from rankfold.training.loop import train
from rankfold.training.recipe import Recipe

CPU = torch.device("cpu")
ARRAY = ArraySpec(32, 32)
TUNING = Recipe(epochs=2, peak_rate=0.05, batch_size=2000)  # larger than the data: it does not apply


def net():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Conv2d(8, 16, 3, padding=1, stride=2),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(16, 10),
    )


class TwoInputs(nn.Module):
    """Classifies by an image and a number."""

    def __init__(self):
        super().__init__()
        self.body = net()
        self.scale = nn.Linear(1, 10)

    def forward(self, image, number):
        return self.body(image) + self.scale(number)


@pytest.fixture(scope="module")
def digits(image_cache):
    return load_images("digits")


@pytest.fixture(scope="module")
def lists(digits):
    """The batches of the first epoch on the digits, without augmentation, and those of their test split."""
    batches = digits.training_batches(Recipe(batch_size=128, augment="none"), CPU)
    return list(batches.epoch(0)), list(digits.test_batches(CPU))


@pytest.fixture(scope="module")
def data(lists):
    return LoaderData(*lists)


@pytest.fixture(scope="module")
def plan(data):
    return uniform_plan(traced(net(), data, "little"), ARRAY, LowRank(rank="1/2", force=True), bits=4)


@pytest.fixture(scope="module")
def finished(data, plan, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "whole"
    return folder, run(net(), data, plan, TUNING, out=folder, device="cpu")


@pytest.mark.parametrize("taught", [False, True])
def test_the_same_batches_train_the_same_network(digits, data, taught):
    recipe = Recipe(epochs=1, batch_size=128, augment="none")
    networks, histories = [], []
    for given in (digits, data):
        model = net()
        teacher = None
        if taught:
            teacher = Teacher(model, Distillation())
        (epoch,) = train(model, given, recipe, CPU, teacher=teacher)
        networks.append(model.state_dict())
        histories.append((epoch.train_loss, epoch.train_accuracy, epoch.test_accuracy))
    assert histories[0] == histories[1]
    for name, value in networks[0].items():
        assert torch.equal(value, networks[1][name]), name


def test_what_batches_tell_of_themselves(digits, data, lists):
    train_batches, test_batches = lists
    assert data.input_size == digits.input_size == (1, 8, 8)
    assert data.classes == digits.classes
    assert data.train_images == sum(len(target) for _, target in train_batches) == 1408
    assert data.test_images == len(digits.test)
    # Neither cut nor mirrored by a recipe, whatever its batch size.
    assert data.fitted(TUNING) == TUNING
    batches = data.training_batches(TUNING, CPU)
    assert len(batches) == 11 and batches.images == 1408
    for (given, _), (seen, target) in zip(train_batches, batches.epoch(3), strict=True):
        assert torch.equal(given, seen) and target.dtype == torch.int64
    assert LoaderData(*lists, classes=12).classes[-1] == "11"
    assert LoaderData([train_batches[0]], test_batches, classes=list("abcdefghij")).classes[0] == "a"


def test_the_digest_tells_first_batches_and_lengths(data, lists):
    train_batches, test_batches = lists
    assert LoaderData(*lists, classes=10).digest == data.digest
    changed = [(train_batches[0][0] + 1, train_batches[0][1]), *train_batches[1:]]
    others = [
        LoaderData(changed, test_batches),
        LoaderData(train_batches[:-1], test_batches),
        LoaderData(train_batches, train_batches),
    ]
    assert len({data.digest, *(other.digest for other in others)}) == 4
    assert LoaderData(changed, test_batches, digest="digits 1").digest == "digits 1"


def test_a_run_on_batches_leaves_a_complete_folder(data, plan, finished):
    folder, result = finished
    assert sorted(path.name for path in folder.iterdir()) == [
        "history.csv",
        "model.safetensors",
        "plan.json",
        "result.json",
        "run.json",
    ]
    written = json.loads((folder / "result.json").read_text())
    assert written["data"] == {
        "source": "loaders",
        "digest": data.digest,
        "classes": list(data.classes),
        "train_images": 1408,
        "test_images": data.test_images,
        "image_size": None,
    }
    assert written["input"] == [1, 8, 8]
    assert json.loads((folder / "run.json").read_text())["identity"]["recipe"]["batch_size"] == 2000
    fresh = net()
    load_(fresh, folder)
    assert evaluate(fresh, data) == evaluate(fresh, data.test) == result.accuracy.final


class Interrupted(Silent):
    """Is interrupted at the beginning of one part."""

    def begin(self, what, total, unit="images"):
        if what == "fine-tuning 2/2":
            raise KeyboardInterrupt


def test_a_run_on_batches_goes_on_where_it_stopped(data, lists, plan, finished, tmp_path):
    _, wanted = finished
    with pytest.raises(KeyboardInterrupt):
        run(net(), data, plan, TUNING, out=tmp_path, device="cpu", progress=Interrupted())
    with pytest.raises(InputError, match="already holds this run; give resume=True"):
        run(net(), data, plan, TUNING, out=tmp_path, device="cpu")
    with pytest.raises(InputError, match=r"a different run \(other data\)"):
        other = LoaderData(lists[0][1:], lists[1], classes=10)
        run(net(), other, plan, TUNING, out=tmp_path, device="cpu", resume=True)
    result = run(net(), data, plan, TUNING, out=tmp_path, device="cpu", resume=True)
    assert (result.run, result.accuracy, result.layers) == (wanted.run, wanted.accuracy, wanted.layers)


def test_a_dense_network_is_trained_on_batches(data, tmp_path):
    recipe = Recipe(epochs=5, peak_rate=0.2)
    result = train_network(net(), data, recipe, out=tmp_path, name="little", array=ARRAY, device="cpu")
    fresh = net()
    load_(fresh, tmp_path)
    assert evaluate(fresh, data) == result.accuracy.final > 0.5


class Counted(TensorDataset):
    """Counts how many samples were asked for."""

    asked = 0

    def __getitem__(self, index):
        self.asked += 1
        return super().__getitem__(index)


def test_a_data_loader(digits, lists):
    images = torch.cat([inputs for inputs, _ in lists[0]])
    target = torch.cat([target for _, target in lists[0]])

    def loaders(seed):
        samples = Counted(images, target)
        order = torch.Generator().manual_seed(seed)
        shuffled = DataLoader(samples, 100, shuffle=True, drop_last=True, generator=order)
        return samples, LoaderData(shuffled, DataLoader(samples, 100), classes=10)

    state = torch.get_rng_state()
    samples, data = loaders(1)
    # A loader says how long it is: nothing but the first batches is read.
    assert samples.asked == 200
    assert torch.equal(torch.get_rng_state(), state)
    assert (data.train_images, data.test_images) == (1400, 1408)
    assert data.digest == loaders(1)[1].digest != loaders(2)[1].digest
    model = net()
    history = train(model, data, Recipe(epochs=2, peak_rate=0.2), CPU)
    assert history[-1].train_loss < history[0].train_loss
    assert history[-1].test_accuracy == evaluate(model, data)
    # Although the loader draws another order each time.
    calibration = data.calibration_batches(150, CPU)
    first, second = list(calibration), list(calibration)
    assert [len(inputs) for inputs, _ in first] == [100, 50]
    assert all(torch.equal(one, two) for (one, _), (two, _) in zip(first, second, strict=True))


@pytest.mark.parametrize("by_name", [True, False])
def test_several_inputs(lists, tmp_path, by_name):
    parts = []
    for batches in lists:
        named = []
        for images, target in batches:
            inputs = {"image": images, "number": images.mean((1, 2, 3))[:, None]}
            if not by_name:
                inputs = tuple(inputs.values())
            named.append((inputs, target))
        parts.append(named)
    data = LoaderData(*parts)
    assert data.input_size == (1, 8, 8)
    plan = uniform_plan(traced(TwoInputs(), data, "two"), ARRAY, LowRank(rank="1/2", force=True), bits=4)
    result = run(TwoInputs(), data, plan, TUNING, out=tmp_path, device="cpu")
    fresh = TwoInputs()
    load_(fresh, tmp_path)
    assert evaluate(fresh, data) == result.accuracy.final
    with pytest.raises(InputError, match=r"gives an output of \(1, 10\) .* has 11 classes"):
        traced(TwoInputs(), LoaderData(*parts, classes=11), "two")


def test_plans_are_made_on_the_batches_to_train_on(data, lists):
    (first,) = planning_data(data, CPU).calibration(100, 0)
    assert torch.equal(first, lists[0][0][0][:100])


IMAGES, TARGET = torch.zeros(4, 1, 8, 8), torch.tensor([0, 1, 2, 1])
GOOD = [(IMAGES, TARGET)]


@pytest.mark.parametrize(
    ("batches", "message"),
    [
        ((pair for pair in GOOD), "train is a generator, which can be gone through only once; give a list"),
        (IMAGES, "train is a Tensor; give an iterable of batches, such as a list of batches"),
        (3, "train is a int; give an iterable of batches, such as a list of batches"),
        ([], "train is empty"),
        ([IMAGES], r"a batch to train on is a Tensor; give pairs \(inputs, target\)"),
        ([(IMAGES, None)], r"give pairs \(inputs, target\)"),
        ([(IMAGES, TARGET.float())], r"4 samples and a target of \(4,\) torch\.float32; give the number"),
        ([(IMAGES, TARGET[:3])], r"4 samples and a target of \(3,\)"),
        ([(IMAGES, TARGET - 1)], "has the class -1; classes count from 0"),
        ([(IMAGES, TARGET + 1)], "has the class 3; there are 3, from 0"),
    ],
)
def test_what_is_no_data_is_refused(batches, message):
    with pytest.raises(InputError, match=message):
        LoaderData(batches, GOOD, classes=3)
    if not isinstance(batches, list):
        with pytest.raises(InputError, match=message.replace("train", "test")):
            LoaderData(GOOD, batches, classes=3)


class Augmented(TensorDataset):
    """Draws from the generators of Python, NumPy and torch for every sample."""

    def __getitem__(self, index):
        image, target = super().__getitem__(index)
        drawn = random.random() + np.random.rand() + torch.rand(1)  # noqa: NPY002
        return image + drawn, target


def drawn(own):
    """Where a generator, torch, Python and NumPy are in what they draw."""
    numpy = np.random.get_state()  # noqa: NPY002
    return [own.get_state().tolist(), torch.get_rng_state().tolist(), random.getstate(), str(numpy)]


@pytest.mark.parametrize("sampled", [False, True])
def test_a_look_draws_nothing(sampled):
    samples = Augmented(IMAGES, TARGET)
    own = torch.Generator().manual_seed(3)
    loader = DataLoader(samples, 2, shuffle=True, generator=own)
    if sampled:
        loader = DataLoader(samples, 2, sampler=RandomSampler(samples, generator=own))
    before = drawn(own)
    LoaderData(loader, loader)
    assert drawn(own) == before
    list(loader)
    assert all(one != other for one, other in zip(drawn(own), before, strict=True))


def test_the_size_of_inputs_is_not_that_of_a_single_number():
    named = [({"scale": torch.tensor(2.0), "x": torch.zeros(4, 6)}, TARGET)]
    assert LoaderData(named, named).input_size == (1, 1, 6)


@pytest.mark.parametrize("classes", [0, True, "abc"])
def test_classes_are_a_number_or_names(classes):
    with pytest.raises(InputError, match=r"classes \(="):
        LoaderData(GOOD, GOOD, classes=classes)


@pytest.mark.parametrize(("now", "words"), [(1, "gave 1 batches, and 2"), (3, "gave more than 2 batches")])
def test_as_many_batches_in_every_epoch(now, words):
    batches = [*GOOD, *GOOD]
    data = LoaderData(batches, GOOD)
    batches[:] = GOOD * now
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 3))
    with pytest.raises(InputError, match=words):
        train(model, data, Recipe(epochs=1), CPU)


class _Stop(Exception):
    pass


class _StopAt(Silent):
    """Breaks off before so many images, all epochs together."""

    def __init__(self, images):
        self.left = images

    def advance(self, count=1, detail=""):
        self.left -= count
        if self.left <= 0:
            raise _Stop


@pytest.mark.parametrize("way", ["loader", "list"])
def test_every_sample_of_a_stopped_epoch_is_trained_on_once(tmp_path, way):
    inputs, target = torch.arange(40.0)[:, None], torch.arange(40) % 2
    seen = []

    def batches():
        loader = DataLoader(
            TensorDataset(inputs, target), 4, shuffle=True, generator=torch.Generator().manual_seed(0)
        )
        # New ones in each process: a generator that was drawn from does not outlive the first.
        return loader if way == "loader" else list(loader)

    def network():
        model = nn.Sequential(nn.BatchNorm1d(1, affine=False), nn.Linear(1, 2))
        model.register_forward_pre_hook(lambda _, given: seen.extend(given[0].flatten().tolist()))
        return model

    recipe = Recipe(epochs=2, peak_rate=0.01)
    checkpoint = Checkpoint(tmp_path / "checkpoint.pt", "run", images=8)
    test = [(inputs[:4], target[:4])]
    with pytest.raises(_Stop):
        train(
            network(),
            LoaderData(batches(), test, classes=2),
            recipe,
            CPU,
            checkpoint=checkpoint,
            progress=_StopAt(80 - 12),
        )
    state = torch.load(checkpoint.path, weights_only=True)
    done = state["within"]["batches"] * 4 if state["within"] else 0
    assert len(state["history"]) == 1 and done == (24 if way == "list" else 0)
    # Those of the first epoch, the four to test on after it, and what the checkpoint has of the second.
    kept = seen[44 : 44 + done]
    seen.clear()
    train(network(), LoaderData(batches(), test, classes=2), recipe, CPU, checkpoint=checkpoint)
    assert sorted(kept + seen[: 40 - done]) == inputs.flatten().tolist()
