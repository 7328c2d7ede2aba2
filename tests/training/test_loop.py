"""The training loop."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from rankfold.errors import InputError
from rankfold.models.zoo import build
from rankfold.progress import Silent
from rankfold.training.accuracy import accuracy_on_split
from rankfold.training.checkpoint import Checkpoint
from rankfold.training.data import load_images
from rankfold.training.device import choose_device, resolve_precision
from rankfold.training.epoch_record import EpochRecord
from rankfold.training.loop import train
from rankfold.training.optimiser import optimiser
from rankfold.training.recipe import Recipe

CPU = torch.device("cpu")
SHORT = Recipe(epochs=2, batch_size=128, peak_rate=0.1, augment="crop")


@pytest.fixture(scope="module")
def digits(image_cache):
    return load_images("digits")


@pytest.fixture(scope="module")
def few(digits):
    """Some of them, for what does not depend on how many there are."""
    return replace(digits, train=digits.train.sample(512, 0), test=digits.test.sample(128, 0))


def trained(images, recipe, **options):
    model = build("resnet8", 10, 1, seed=recipe.seed)
    return model, train(model, images, recipe, CPU, **options)


def test_the_same_seed_gives_the_same_weights(few):
    state = torch.get_rng_state()
    (one, history), (two, again) = trained(few, SHORT), trained(few, SHORT)
    assert torch.equal(torch.get_rng_state(), state)
    assert [record.train_loss for record in history] == [record.train_loss for record in again]
    for name, value in one.state_dict().items():
        assert torch.equal(value, two.state_dict()[name]), name
    other, _ = trained(few, Recipe(epochs=2, batch_size=128, augment="crop", seed=1))
    assert not torch.equal(one.fc.weight, other.fc.weight)


def test_training_learns_digits(digits):
    model, history = trained(digits, Recipe(epochs=8, batch_size=64, peak_rate=0.2, augment="crop"))
    assert history[-1].test_accuracy == accuracy_on_split(model, digits.test, digits, CPU) > 0.9
    assert history[-1].train_loss < history[0].train_loss
    assert [record.epoch for record in history] == list(range(1, 9))


class _Stop(Exception):
    pass


class _StopAfter(Silent):
    """Keeps what it hears, and breaks off at the end of a part."""

    def __init__(self, part=None):
        self.part = part
        self.begun, self.counts, self.summaries = [], [], []

    def begin(self, what, total, unit="images"):
        self.begun.append((what, total, unit))
        self.counts.append(0)

    def advance(self, count=1, detail=""):
        self.counts[-1] += count

    def end(self, summary=""):
        self.summaries.append(summary)
        if self.begun[-1][0] == self.part:
            raise _Stop


def test_a_resumed_run_ends_with_the_same_weights(few, tmp_path):
    recipe = Recipe(epochs=3, batch_size=128, augment="crop")
    whole, _ = trained(few, recipe)
    checkpoint = Checkpoint(tmp_path / "checkpoint.pt", "run")
    with pytest.raises(_Stop):
        trained(few, recipe, checkpoint=checkpoint, progress=_StopAfter("training 2/3"))
    progress = _StopAfter()
    parts, history = trained(few, recipe, checkpoint=checkpoint, progress=progress)
    assert [what for what, *_ in progress.begun] == ["training 3/3"]
    assert len(history) == 3
    for name, value in whole.state_dict().items():
        assert torch.equal(value, parts.state_dict()[name]), name


def test_each_epoch_is_a_part_of_the_work(few):
    progress = _StopAfter()
    _, history = trained(few, SHORT, progress=progress, stage="fine-tuning")
    images = len(few.train) // 128 * 128
    assert progress.begun == [("fine-tuning 1/2", images, "images"), ("fine-tuning 2/2", images, "images")]
    assert progress.counts == [images, images]
    assert progress.summaries == [record.in_words("fine-tuning", 2) for record in history]


@pytest.mark.parametrize(
    ("tested", "seconds", "words"),
    [
        (0.9, 83.4, "fine-tuning 1/2: loss 0.1234, train 95.00%, test 90.00%, 630 images/s, 1:23 left"),
        (None, 5.0, "fine-tuning 1/2: loss 0.1234, train 95.00%, 630 images/s, 0:05 left"),
        (None, 7265.0, "fine-tuning 1/2: loss 0.1234, train 95.00%, 630 images/s, 2:01:05 left"),
    ],
)
def test_an_epoch_in_words(tested, seconds, words):
    record = EpochRecord(1, 0.1, 0.12341, 0.95, tested, seconds, images_per_second=630.2)
    assert record.in_words("fine-tuning", 2) == words


class _RuinedByStep(nn.Module):
    """A network whose weights become infinite in one step (from 1), as its next output would show."""

    def __init__(self, step):
        super().__init__()
        self.linear = nn.Linear(64, 10)
        self.register_buffer("never", torch.full((2,), -torch.inf))  # a constant that is meant to be infinite
        self.step, self.steps = step, 0
        self.linear.weight.register_hook(self._ruin)

    def _ruin(self, gradient):
        self.steps += 1
        return gradient * torch.inf if self.steps == self.step else gradient

    def forward(self, x):
        return self.linear(x.flatten(1))


def test_weights_that_the_last_step_ruins_are_refused(few, tmp_path):
    recipe = Recipe(epochs=2, batch_size=128, augment="none", precision="float32")
    steps = 2 * (len(few.train) // 128)
    checkpoint = Checkpoint(tmp_path / "checkpoint.pt", "run")
    with pytest.raises(
        InputError, match=r"training diverged: linear.weight is not finite after epoch 2; use a lower"
    ):
        train(_RuinedByStep(steps), few, recipe, CPU, checkpoint=checkpoint)
    assert len(checkpoint.parse(checkpoint.read(), CPU)["history"]) == 1
    assert len(train(_RuinedByStep(steps + 1), few, recipe, CPU)) == 2


def test_a_loss_that_explodes_is_one_sentence(digits):
    recipe = Recipe(epochs=2, batch_size=128, peak_rate=1e6, augment="none", precision="float32")
    progress = _StopAfter()
    with pytest.raises(
        InputError, match=r"the loss became (nan|inf) in epoch \d; use a lower peak rate than 1000000"
    ):
        trained(digits, recipe, progress=progress)
    # Every part that began has ended, the last one without a line worth keeping.
    assert len(progress.begun) == len(progress.summaries)
    assert progress.summaries[-1] == ""


def test_no_epochs_leave_the_weights(few):
    model, history = trained(few, Recipe(epochs=0))
    assert history == ()
    assert torch.equal(model.fc.weight, build("resnet8", 10, 1, seed=0).fc.weight)


def test_only_matrices_decay():
    model = build("resnet8", 10)
    decaying, free = optimiser(model, SHORT).param_groups
    assert decaying["weight_decay"] == SHORT.weight_decay
    assert free["weight_decay"] == 0
    assert {p.ndim for p in decaying["params"]} == {2, 4}
    assert {p.ndim for p in free["params"]} == {1}


def test_evaluation_keeps_the_mode(few):
    model = build("resnet8", 10, 1)
    model.train()
    accuracy_on_split(model, few.test, few, CPU)
    assert model.training


def test_devices_and_precisions():
    assert choose_device("cpu") == CPU
    with pytest.raises(InputError, match="device `abacus` is not available here"):
        choose_device("abacus")
    assert resolve_precision("float32", CPU) == "float32"
    assert resolve_precision("auto", CPU) in ("float32", "bfloat16")
