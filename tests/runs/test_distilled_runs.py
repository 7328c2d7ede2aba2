"""Runs whose fine-tuning is taught by the dense network, as objects and from the command line."""

import json
from dataclasses import replace

import pytest
import torch

from common.small_network import net
from rankfold.cli.main import main
from rankfold.errors import InputError
from rankfold.mapping import ArraySpec
from rankfold.models.zoo import build
from rankfold.plan import LowRank, PatDNN, uniform_plan
from rankfold.progress import Silent
from rankfold.runs.folder import RunFolder, load_history
from rankfold.runs.recipes import effective
from rankfold.runs.result import Result
from rankfold.runs.run import run
from rankfold.simulator import NonIdealities
from rankfold.training.data import load_images
from rankfold.training.distillation import Distillation
from rankfold.training.loop import train
from rankfold.training.recipe import Recipe
from rankfold.workload import trace

pytestmark = pytest.mark.usefixtures("few_digits")
SHORT = Recipe(epochs=2, batch_size=64, augment="crop")


@pytest.fixture(scope="module")
def digits(few_digits):
    """Some of them: a resumed run is the same run on few images as on many."""
    images = load_images("digits")
    return replace(images, train=images.train.sample(256, 0), test=images.test.sample(64, 0))


@pytest.fixture(scope="module")
def expert(digits):
    """A network that knows digits."""
    model = net()
    recipe = Recipe(epochs=4, batch_size=64, peak_rate=0.2, augment="crop")
    train(model, digits, recipe, torch.device("cpu"))
    return model


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


def planned(expert, method, bits=4):
    array = ArraySpec(32, 32)
    return uniform_plan(trace(expert, (1, 8, 8), "net"), array, method, bits=bits)


VARIANTS = {
    "low-rank": (LowRank(groups=4, rank="1/4", force=True), 4, None),
    "pruned": (PatDNN(entries=4), 4, None),
    "noise-aware": (LowRank(groups=4, rank="1/4", force=True), 4, NonIdealities(program_noise=0.02)),
    "float": (LowRank(groups=2, rank="1/8", force=True), None, None),
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_run_is_taught_and_resumes_to_the_same_numbers(digits, expert, tmp_path, variant):
    method, bits, noise = VARIANTS[variant]
    plan = planned(expert, method, bits)
    chosen = {"distillation": Distillation(0.7, 3.0), "noise": noise}
    result = run(expert, digits, plan, SHORT, out=tmp_path / "whole", **chosen)
    assert result.recipe["distillation_weight"] == 0.7
    assert result.recipe["distillation_temperature"] == 3.0
    parts = tmp_path / "parts"
    with pytest.raises(Stop):
        run(expert, digits, plan, SHORT, out=parts, progress=StopsAfter(1), **chosen)
    resumed = run(expert, digits, plan, SHORT, out=parts, resume=True, **chosen)
    assert resumed.accuracy == result.accuracy
    folders = [RunFolder(tmp_path / name, "") for name in ("whole", "parts")]
    assert folders[0].weights.read_bytes() == folders[1].weights.read_bytes()
    histories = [load_history(folder.history) for folder in folders]
    assert [(r.train_loss, r.label_loss, r.teacher_loss) for r in histories[0]] == [
        (r.train_loss, r.label_loss, r.teacher_loss) for r in histories[1]
    ]
    for record in histories[0]:
        weighed = 0.3 * record.label_loss + 0.7 * record.teacher_loss
        assert record.train_loss == pytest.approx(weighed, rel=1e-6)


def test_how_a_run_is_taught_belongs_to_its_identity(digits, expert, tmp_path):
    plan = planned(expert, LowRank(groups=4, rank="1/4", force=True))
    short = replace(SHORT, epochs=1)
    run(expert, digits, plan, short, out=tmp_path / "run", distillation=Distillation(0.5))
    for other in (Distillation(0.6), Distillation(0.5, 2.0), None):
        with pytest.raises(InputError, match=r"already holds a different run \(other distillation\)"):
            run(expert, digits, plan, short, out=tmp_path / "run", distillation=other, resume=True)
    # Neither without weight nor without training is anything taught.
    assert effective(Distillation(0.0), short) is None
    assert effective(Distillation(0.5), replace(SHORT, epochs=0)) is None


def test_older_histories_are_read(tmp_path):
    path = tmp_path / "history.csv"
    path.write_text(
        "epoch,rate,train_loss,train_accuracy,test_accuracy,seconds,images_per_second\n1,0.1,0.5,0.9,,2,3\n"
    )
    (record,) = load_history(path)
    assert (record.train_loss, record.label_loss, record.teacher_loss) == (0.5, None, None)


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "resnet8.pt"
    torch.save(build("resnet8", 10, 1).state_dict(), path)
    return path


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
    # What is done before training says nothing of how it is taught.
    quick = ["--bits", "float", "--decomposition", "svd"]
    command = [*SMALL, *quick, "--checkpoint", str(weights), "--out", str(tmp_path / "run")]
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
