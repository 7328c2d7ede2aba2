"""Fine-tuning towards a teacher: its loss, its training, and the command line."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from torch import nn

from rankfold.cli.main import main
from rankfold.errors import InputError
from rankfold.models.zoo import build
from rankfold.progress import Silent
from rankfold.runs.compress import compress
from rankfold.runs.folder import RunFolder, load_history
from rankfold.runs.result import Result
from rankfold.runs.settings import CompressSettings
from rankfold.simulator import ArrayNonIdealities
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


def test_without_weight_training_is_as_without_a_teacher(digits, expert):
    (alone, history), (other, beside) = (
        taught(digits, SHORT),
        taught(digits, SHORT, Teacher(expert, Distillation(0.0))),
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


def test_a_taught_step_may_be_in_bfloat16(digits, expert):
    (whole,), (half,) = (
        taught(digits, replace(SHORT, epochs=1, precision=precision), Teacher(expert, Distillation()))[1]
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


def test_a_resumed_training_ends_with_the_same_weights(digits, expert, tmp_path):
    whole, history = taught(digits, SHORT, Teacher(expert, Distillation()))
    checkpoint = Checkpoint(tmp_path / "checkpoint.pt", "run")
    with pytest.raises(Stop):
        taught(digits, SHORT, Teacher(expert, Distillation()), checkpoint=checkpoint, progress=StopsAfter(2))
    parts, again = taught(digits, SHORT, Teacher(expert, Distillation()), checkpoint=checkpoint)
    for name, value in whole.state_dict().items():
        assert torch.equal(value, parts.state_dict()[name]), name
    assert [record.teacher_loss for record in again] == [record.teacher_loss for record in history]


@pytest.fixture(scope="module")
def weights(expert, tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "resnet8.pt"
    torch.save(expert.state_dict(), path)
    return path


VARIANTS = {
    "low-rank": {"groups": 4, "rank": "1/4"},
    "pruned": {"method": "patdnn", "entries": 4},
    "noise-aware": {"groups": 4, "rank": "1/4", "noise": ArrayNonIdealities(program_noise=0.02)},
    "float": {"groups": 2, "rank": "1/8", "bits": None},
}


def settings(weights, out, **more):
    recipe = replace(SHORT, epochs=more.pop("epochs", 2))
    return CompressSettings("resnet8", "digits", out, checkpoint=weights, recipe=recipe, **more)


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_run_is_taught_and_resumes_to_the_same_numbers(weights, tmp_path, variant):
    chosen = settings(weights, tmp_path / "whole", distillation=Distillation(0.7, 3.0), **VARIANTS[variant])
    result = compress(chosen)
    assert result.recipe["distillation_weight"] == 0.7
    assert result.recipe["distillation_temperature"] == 3.0
    parts = replace(chosen, out=tmp_path / "parts")
    with pytest.raises(Stop):
        compress(parts, StopsAfter(1))
    assert compress(replace(parts, resume=True)).accuracy == result.accuracy
    folders = [RunFolder(tmp_path / name, "") for name in ("whole", "parts")]
    assert folders[0].weights.read_bytes() == folders[1].weights.read_bytes()
    histories = [load_history(folder.history) for folder in folders]
    assert [(r.train_loss, r.label_loss, r.teacher_loss) for r in histories[0]] == [
        (r.train_loss, r.label_loss, r.teacher_loss) for r in histories[1]
    ]
    for record in histories[0]:
        assert record.train_loss == pytest.approx(
            0.3 * record.label_loss + 0.7 * record.teacher_loss, rel=1e-6
        )


def test_how_a_run_is_taught_belongs_to_its_identity(weights, tmp_path):
    chosen = settings(weights, tmp_path / "run", distillation=Distillation(0.5), epochs=1)
    compress(chosen)
    for other in (Distillation(0.6), Distillation(0.5, 2.0), None):
        with pytest.raises(InputError, match=r"already holds a different run \(other distillation\)"):
            compress(replace(chosen, distillation=other, resume=True))
    # Neither without weight nor without training is anything taught.
    assert replace(chosen, distillation=Distillation(0.0)).teaching is None
    assert replace(chosen, recipe=replace(SHORT, epochs=0)).teaching is None


def test_older_histories_are_read(tmp_path):
    path = tmp_path / "history.csv"
    path.write_text(
        "epoch,rate,train_loss,train_accuracy,test_accuracy,seconds,images_per_second\n1,0.1,0.5,0.9,,2,3\n"
    )
    (record,) = load_history(path)
    assert (record.train_loss, record.label_loss, record.teacher_loss) == (0.5, None, None)


SMALL = [
    "compress",
    "resnet8",
    "--data",
    "digits",
    "--array",
    "32x32",
    "--batch",
    "256",
    "--epochs",
    "1",
    "--rank",
    "1/4",
]


@pytest.mark.parametrize(
    ("arguments", "weight"),
    [
        ([], 0.9),
        (["--distil"], 0.9),
        (["--distil", "0.5"], 0.5),
        (["--no-distil"], None),
        (["--distil", "0"], None),
    ],
)
def test_the_command_line(weights, tmp_path, capsys, arguments, weight):
    command = [*SMALL, "--checkpoint", str(weights), "--out", str(tmp_path / "run")]
    assert main([*command, *arguments]) == 0
    assert Result.load(tmp_path / "run" / "result.json").recipe.get("distillation_weight") == weight
    identity = json.loads((tmp_path / "run" / "run.json").read_text())["identity"]
    assert identity.get("distillation") == (
        None if weight is None else {"weight": weight, "temperature": 4.0}
    )
    assert ("distillation weight" in (tmp_path / "run" / "report.html").read_text()) == (weight is not None)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--distil", "1.5"], "weight (=1.5) must be a share from 0 to 1"),
        (["--distil", "nan"], "weight (=nan) must be a share from 0 to 1"),
        (["--distil", "much"], "weight (=much) must be a share from 0 to 1"),
        (["--distil", "0.5", "--no-distil"], "not allowed with argument"),
    ],
)
def test_wrong_input_is_one_sentence(tmp_path, capsys, arguments, message):
    with pytest.raises(SystemExit, match="2"):
        main([*SMALL, "--out", str(tmp_path / "run"), *arguments])
    error = capsys.readouterr().err.strip()
    assert message in error
    assert "\n" not in error
    assert list(tmp_path.iterdir()) == []


def test_an_onnx_file_is_not_taught(capsys, tmp_path):
    assert (
        main(
            ["compress", "x.onnx", "--epochs", "0", "--rank", "1/2", "--distil", "--out", str(tmp_path / "x")]
        )
        == 2
    )
    assert (
        "--distil says nothing where an ONNX file is decomposed without training" in capsys.readouterr().err
    )


@pytest.mark.parametrize(
    ("weight", "temperature"), [(-0.1, 4.0), (1.1, 4.0), (np.nan, 4.0), (0.5, 0.0), (0.5, np.inf)]
)
def test_wrong_numbers_are_refused(weight, temperature):
    with pytest.raises(InputError, match="of distillation"):
        Distillation(weight, temperature)
