"""Static steps: on a processor the ordinary loop but for rounding, and never a value that a GPU waits for."""

import copy
from contextlib import nullcontext
from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from rankfold.mapping import ArraySpec
from rankfold.models.zoo import build
from rankfold.nn.low_rank import LowRankConv2d
from rankfold.nn.quantised import QuantConv2d
from rankfold.nn.quantisers import Quantiser
from rankfold.plan import LowRank, Pairs, SharedSupport, WindowLowRank, Windows, uniform_plan
from rankfold.progress import Silent
from rankfold.surgery.compress import compress_
from rankfold.surgery.quantise import quantise_
from rankfold.training import distillation, epochs
from rankfold.training.batches import Batches
from rankfold.training.checkpoint import Checkpoint
from rankfold.training.data import ImageData, ImageSplit, load_images
from rankfold.training.device import place_
from rankfold.training.distillation import Distillation, Teacher
from rankfold.training.loop import train
from rankfold.training.optimiser import optimiser
from rankfold.training.recipe import Recipe
from rankfold.training.resident import ResidentImages
from rankfold.training.static_sgd import StaticSGD
from rankfold.training.static_training import StaticTraining
from rankfold.training.stretch import Stretch
from rankfold.training.together import Pupil, train_together
from rankfold.workload import trace

CPU, META = torch.device("cpu"), torch.device("meta")
RECIPE = Recipe(epochs=2, batch_size=32, peak_rate=0.05, augment="crop-flip", precision="float32")


@pytest.fixture(scope="module")
def few(image_cache):
    """Some digits, with mirror images, whatever they mean."""
    digits = load_images("digits")
    return replace(digits, train=digits.train.sample(100, 0), test=digits.test.sample(20, 0), mirror=True)


@pytest.fixture(scope="module")
def quantised(few):
    """Low-rank with 4 bits, so that there are step sizes; and the dense network."""
    dense = build("resnet8", 10, 1)
    return compressed(dense, few, LowRank(rank="1/4", groups=2)), dense


def compressed(dense, images, method):
    model = copy.deepcopy(dense)
    plan = uniform_plan(trace(model, (1, 8, 8)), ArraySpec(32, 32), method, bits=4)
    batches = list(images.calibration_batches(64, CPU))
    compress_(model, plan, batches)
    quantise_(model, plan, batches)
    return model


def by_steps(model, data, recipe, **options):
    (trained,) = train_together([Pupil(model, data, recipe, **options)], CPU)
    assert trained.error is None
    return trained.history


def close(one, two, tolerance):
    known = two.state_dict()
    for name, value in one.state_dict().items():
        assert torch.allclose(value.double(), known[name].double(), rtol=tolerance, atol=tolerance), name


@pytest.mark.parametrize("augment", ["crop-flip", "crop", "none"])
def test_batches_are_those_of_the_ordinary_loop(augment):
    """To the last bit, of images of any shape, in odd and even epochs and from the middle of one."""
    random = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (50, 9, 17, 3), generator=random, dtype=torch.uint8).numpy()
    split = ImageSplit(pixels, torch.arange(50).numpy())
    data = ImageData(
        "made up", ("a",), split, split, (0.5, 0.4, 0.3), (0.2, 0.3, 0.1), mirror=True, digest=""
    )
    batches = Batches(split, data.mean, data.std, 8, CPU, augment=augment, seed=3, shuffle=True)
    stretch, images = Stretch(6, 8, CPU), ResidentImages(data, CPU)
    for epoch, first in ((0, 0), (1, 2)):
        rates = [0.1 * (number + 1) for number in range(6 - first)]
        stretch.fill_(batches, epoch, first, rates)
        for (x, y), rate in zip(batches.epoch(epoch, first), rates, strict=True):
            row = stretch.row()
            seen, labels = images.batch(row.places, row.offsets, row.mirrored)
            assert torch.equal(seen, x) and torch.equal(labels, y) and seen.stride() == x.stride()
            assert row.rate.item() == pytest.approx(rate)
            stretch.advance_()


def test_updates_are_those_of_torch():
    """From no momentum on, with weight decay on some parameters, and one that has no gradient."""
    model = nn.Sequential(nn.Linear(4, 3), nn.Linear(3, 2))
    other = copy.deepcopy(model)
    recipe = Recipe(weight_decay=0.1)
    ours, theirs = optimiser(model, recipe), optimiser(other, recipe)
    random = torch.Generator().manual_seed(0)
    static = StaticSGD(ours)
    for rate in (0.3, 0.2, 0.1):
        for parameter, known in zip(static.parameters, optimiser_parameters(theirs), strict=True):
            known.grad = torch.randn(known.shape, generator=random)
            parameter.grad = known.grad.clone()
        other[1].bias.grad = None
        gradients = [p.grad if p is not model[1].bias else None for p in static.parameters]
        for group in theirs.param_groups:
            group["lr"] = rate
        static.step_(gradients, torch.tensor(rate))
        theirs.step()
    close(model, other, 1e-6)
    ours.load_state_dict(copy.deepcopy(theirs.state_dict()))


def optimiser_parameters(sgd):
    return [parameter for group in sgd.param_groups for parameter in group["params"]]


def test_training_is_the_ordinary_one_but_for_rounding(few, quantised):
    """Weights, step sizes, statistics and records; quantisers in their whole-tensor form, as on a GPU."""
    model, dense = quantised
    one, two = copy.deepcopy(model), copy.deepcopy(model)
    teacher = Teacher(dense, Distillation())
    known = train(one, few, RECIPE, CPU, teacher=teacher)
    history = by_steps(two, few, RECIPE, teacher=teacher)
    for ours, theirs in zip(history, known, strict=True):
        assert (ours.epoch, ours.rate) == (theirs.epoch, theirs.rate)
        for name in ("train_loss", "label_loss", "teacher_loss"):
            assert getattr(ours, name) == pytest.approx(getattr(theirs, name), rel=1e-5)
        assert ours.train_accuracy == theirs.train_accuracy
    close(two, one, 1e-4)


def test_steps_are_bounded_as_in_the_ordinary_loop(few, quantised):
    """By gradients that would end the network; evaluations after one or two updates change nothing."""
    recipe = replace(RECIPE, epochs=3, batch_size=50)
    one, two = copy.deepcopy(quantised[0]), copy.deepcopy(quantised[0])
    for model in (one, two):
        for module in model.modules():
            if isinstance(module, Quantiser):
                module.step.register_hook(lambda gradient: 30 * gradient)
    train(one, few, recipe, CPU)
    by_steps(two, few, recipe)
    close(two, one, 1e-4)


def test_either_loop_goes_on_from_the_checkpoints_of_the_other(few, quantised, tmp_path):
    """After an epoch and within one."""

    class Stop(Exception):
        pass

    class StopAt(Silent):
        def __init__(self, images):
            self.left = images

        def advance(self, count=1, detail=""):
            self.left -= count
            if self.left < 0:
                raise Stop

    whole = copy.deepcopy(quantised[0])
    known = train(whole, few, RECIPE, CPU)
    loops = {"ordinary": lambda *given, **named: train(*given, CPU, **named), "static": by_steps}
    for first, second in (("ordinary", "static"), ("static", "ordinary")):
        model = copy.deepcopy(quantised[0])
        checkpoint = Checkpoint(tmp_path / f"{first}.pt", "run", 32)
        with pytest.raises(Stop):
            loops[first](model, few, RECIPE, checkpoint=checkpoint, progress=StopAt(32 * 5))
        state = checkpoint.parse(checkpoint.read(), CPU)
        assert len(state["history"]) == 1 and state["within"]["batches"] >= 1
        model = copy.deepcopy(quantised[0])
        history = loops[second](model, few, RECIPE, checkpoint=checkpoint)
        close(model, whole, 1e-4)
        assert [record.rate for record in history] == [record.rate for record in known]
        assert history[-1].train_loss == pytest.approx(known[-1].train_loss, rel=1e-5)


class Unseen(TorchDispatchMode):
    """Refuses what a GPU would make its host wait for, and what a recording would take in as a constant."""

    WAITING = ("_local_scalar_dense", "nonzero", "masked_select", "unique", "equal", "is_nonzero", "item")

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.overloadpacket.__name__
        assert name not in self.WAITING and not name.startswith("unique"), name
        given = torch.utils._pytree.tree_leaves((args, kwargs))
        tensors = [value for value in given if isinstance(value, torch.Tensor)]
        assert all(value.device.type == "meta" for value in tensors), f"{name} takes values of the host"
        self.count = getattr(self, "count", 0) + 1
        return func(*args, **(kwargs or {}))


def small():
    """Two convolutions, of which a method changes the second."""
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1, bias=False),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        nn.Conv2d(16, 16, 3, padding=1, bias=False),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(16, 10),
    )


METHODS = [
    LowRank(rank="1/4", groups=2, force=True),
    Windows(row_tiles=1),
    WindowLowRank(rank="1/4", row_tiles=2),
    Pairs(entries=4),
    SharedSupport(entries=4),
]


def unseen_steps(dense, model, few, monkeypatch):
    """Three steps on the device that has shapes and no numbers, where whatever looks at one fails: operations
    that they do.
    """
    for module in (epochs, distillation):
        monkeypatch.setattr(module, "bfloat16_steps", lambda *given: nullcontext())
    monkeypatch.setattr(epochs, "_not_finite", lambda model: [])  # before the first step
    teacher = Teacher(dense, Distillation())
    teacher.losses(torch.zeros(2, 1, 8, 8), torch.zeros(2, 10), torch.zeros(()))
    model.to(META)
    training = StaticTraining(
        model, few, RECIPE, ResidentImages(few, META), teacher=None, progress=Silent(), every=None
    )
    training._teacher = teacher
    teacher._folded.to(META)
    training._static = training._made()
    with Unseen() as seen:
        for _ in range(3):
            training._update()
    return seen.count


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_a_step_asks_for_no_value_and_has_no_shape_that_depends_on_one(few, method, monkeypatch):
    dense = small()
    model = compressed(dense, few, method)
    assert not isinstance(model[3], QuantConv2d) or model[3].mask is not None
    assert unseen_steps(dense, model, few, monkeypatch) > 100


def test_nor_does_one_of_a_residual_network(few, monkeypatch):
    dense = build("resnet8", 10, 1)
    model = compressed(dense, few, LowRank(rank="1/4", groups=2))
    assert unseen_steps(dense, model, few, monkeypatch) > 100


def addresses(model):
    return [value.data_ptr() for value in (*model.parameters(), *model.buffers())]


def test_a_network_that_is_placed_again_keeps_its_memory():
    """Weights (m, 1, 1, 1) too, whose layout is ambiguous; those of torch's channels last are all others."""
    conv = LowRankConv2d(nn.Conv2d(1, 16, 3), groups=1, rank=1)
    model = nn.Sequential(conv, nn.Conv2d(16, 16, 1), nn.Conv2d(16, 16, 3, groups=16))
    known = copy.deepcopy(model).to(memory_format=torch.channels_last)
    place_(model, CPU)
    for ours, theirs in zip(model.parameters(), known.parameters(), strict=True):
        assert torch.equal(ours, theirs) and ours.stride() == theirs.stride()
    first = addresses(model)
    place_(model, CPU)
    assert addresses(model) == first
    assert any(value.shape[1:] == (1, 1, 1) for value in model.parameters())


def test_a_recording_on_memory_that_moved_is_forgotten(few):
    model = build("resnet8", 10, 1)
    training = StaticTraining(
        model, few, RECIPE, ResidentImages(few, CPU), teacher=None, progress=Silent(), every=None
    )
    captured = training._captured
    captured._graph, captured._recorded_on = object(), training._addresses()
    captured.forget_what_moved()
    assert captured.is_recorded
    model.conv1.weight.data = model.conv1.weight.data.clone()
    captured.forget_what_moved()
    assert not captured.is_recorded


def test_a_device_that_is_full_ends_one_training_with_a_sentence(few, monkeypatch):
    made = StaticTraining._made
    full = build("resnet8", 10, 1)

    def first_is_full(self):
        if self._model is full:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return made(self)

    monkeypatch.setattr(StaticTraining, "_made", first_is_full)
    recipe = replace(RECIPE, epochs=1)
    pupils = [Pupil(full, few, recipe), Pupil(build("resnet8", 10, 1), few, recipe)]
    first, second = train_together(pupils, CPU)
    assert "train fewer networks together" in str(first.error) and not first.history
    assert second.error is None and len(second.history) == 1


def test_a_teacher_has_pupils_of_one_precision(few):
    """The second is refused, and the first learns."""
    dense = build("resnet8", 10, 1)
    teacher = Teacher(dense, Distillation())
    recipe = replace(RECIPE, epochs=1)
    pupils = []
    for own in (recipe, replace(recipe, precision="bfloat16")):
        pupils.append(Pupil(copy.deepcopy(dense), few, own, teacher=teacher))
    first, second = train_together(pupils, CPU)
    assert first.error is None and len(first.history) == 1
    assert "one teacher has pupils of different precision" in str(second.error)
