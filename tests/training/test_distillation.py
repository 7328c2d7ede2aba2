"""Fine-tuning towards a teacher: its loss, and its training."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from torch import nn

from rankfold.errors import InputError
from rankfold.models.zoo import build
from rankfold.progress import Silent
from rankfold.training.checkpoint import Checkpoint
from rankfold.training.data import load_images
from rankfold.training.distillation import Distillation, Teacher
from rankfold.training.loop import train
from rankfold.training.recipe import Recipe

CPU = torch.device("cpu")
SHORT = Recipe(epochs=3, batch_size=128, augment="crop")
LOGITS = hnp.arrays(float, (3, 4), elements=st.floats(-8, 8))


@pytest.fixture(scope="module")
def digits(image_cache):
    return load_images("digits")


@pytest.fixture(scope="module")
def few(digits):
    """Some of them, for what does not depend on how many there are."""
    return replace(digits, train=digits.train.sample(512, 0), test=digits.test.sample(128, 0))


@pytest.fixture(scope="module")
def expert(digits):
    """A network that knows digits."""
    model = build("resnet8", 10, 1)
    train(model, digits, Recipe(epochs=6, batch_size=64, peak_rate=0.2, augment="crop"), CPU)
    return model


def probabilities(logits):
    raised = np.exp(logits - logits.max(1, keepdims=True))
    return raised / raised.sum(1, keepdims=True)


@given(LOGITS, LOGITS, st.floats(0, 1), st.floats(0.5, 8))
def test_loss_and_gradient_are_those_of_the_formula(logits, taught, weight, temperature):
    labels = np.arange(3)
    z = torch.tensor(logits, requires_grad=True)
    teacher = Teacher(nn.Identity(), Distillation(weight, temperature))
    hard = nn.functional.cross_entropy(z, torch.from_numpy(labels))
    total, same, soft = teacher.losses(torch.from_numpy(taught).double(), z, hard)
    assert same is hard
    total.backward()
    p, q = probabilities(logits / temperature), probabilities(taught / temperature)
    wanted = temperature**2 * np.mean(np.sum(q * (np.log(q) - np.log(p)), 1))
    # The teacher's outputs are float32, as those of a network are.
    np.testing.assert_allclose(soft.item(), wanted, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(
        total.item(), (1 - weight) * hard.item() + weight * wanted, rtol=1e-4, atol=1e-4
    )
    gradient = (1 - weight) * (probabilities(logits) - np.eye(4)[labels]) + weight * temperature * (p - q)
    np.testing.assert_allclose(z.grad.numpy(), gradient / 3, rtol=1e-4, atol=1e-5)


def test_a_teacher_of_the_same_opinion_teaches_nothing():
    logits = torch.randn(5, 10, generator=torch.Generator().manual_seed(0)).requires_grad_()
    Distillation().soft_loss(logits, logits.detach() + 3).backward()
    assert logits.grad.abs().max() < 1e-6


def taught(digits, recipe, teacher=None, **options):
    model = build("resnet8", 10, 1, seed=1)
    return model, train(model, digits, recipe, CPU, teacher=teacher, **options)


def test_without_weight_training_is_as_without_a_teacher(few, expert):
    (alone, history), (other, beside) = (
        taught(few, SHORT),
        taught(few, SHORT, Teacher(expert, Distillation(0.0))),
    )
    for name, value in alone.state_dict().items():
        assert torch.equal(value, other.state_dict()[name]), name
    assert [record.train_loss for record in history] == [record.train_loss for record in beside]
    assert all(record.teacher_loss is None and record.label_loss is None for record in history)
    assert all(record.label_loss == record.train_loss and record.teacher_loss > 0 for record in beside)


def test_a_teacher_alone_teaches_what_labels_do_not_say(digits, expert):
    """Under labels drawn at random, all that is learnt comes from the teacher, which stays as it was."""
    random = torch.randint(10, (len(digits.train),), generator=torch.Generator().manual_seed(0)).numpy()
    blind = replace(digits, train=replace(digits.train, labels=random))
    recipe = Recipe(epochs=6, batch_size=64, peak_rate=0.2, augment="crop")
    expert.train()
    expert.zero_grad()
    before = {name: value.clone() for name, value in expert.state_dict().items()}
    teacher = Teacher(expert, Distillation(1.0))
    _, history = taught(blind, recipe, teacher)
    assert history[-1].test_accuracy > 0.85
    assert taught(blind, recipe)[1][-1].test_accuracy < 0.4
    assert history[-1].teacher_loss == history[-1].train_loss < history[0].teacher_loss
    assert expert.training and not teacher.network.training
    assert all(parameter.grad is None and parameter.requires_grad for parameter in expert.parameters())
    assert not any(parameter.requires_grad for parameter in teacher.network.parameters())
    for held in (expert, teacher.network):
        assert all(torch.equal(value, before[name]) for name, value in held.state_dict().items())


def test_a_taught_step_may_be_in_bfloat16(few, expert):
    (whole,), (half,) = (
        taught(few, replace(SHORT, epochs=1, precision=precision), Teacher(expert, Distillation()))[1]
        for precision in ("float32", "bfloat16")
    )
    assert half.teacher_loss != whole.teacher_loss
    assert half.teacher_loss == pytest.approx(whole.teacher_loss, rel=0.05)


class Stop(Exception):
    pass


class StopsAfter(Silent):
    """Breaks off after some epochs."""

    def __init__(self, epochs):
        self.epochs = epochs

    def end(self, summary=""):
        self.epochs -= "train " in summary
        if not self.epochs:
            raise Stop


def test_a_resumed_training_ends_with_the_same_weights(few, expert, tmp_path):
    whole, history = taught(few, SHORT, Teacher(expert, Distillation()))
    checkpoint = Checkpoint(tmp_path / "checkpoint.pt", "run")
    with pytest.raises(Stop):
        taught(few, SHORT, Teacher(expert, Distillation()), checkpoint=checkpoint, progress=StopsAfter(2))
    parts, again = taught(few, SHORT, Teacher(expert, Distillation()), checkpoint=checkpoint)
    for name, value in whole.state_dict().items():
        assert torch.equal(value, parts.state_dict()[name]), name
    assert [record.teacher_loss for record in again] == [record.teacher_loss for record in history]


@pytest.mark.parametrize(
    ("weight", "temperature"), [(-0.1, 4.0), (1.1, 4.0), (np.nan, 4.0), (0.5, 0.0), (0.5, np.inf)]
)
def test_wrong_numbers_are_refused(weight, temperature):
    with pytest.raises(InputError, match="of distillation"):
        Distillation(weight, temperature)
