"""Runs that learn without labels before their fine-tuning, or instead of it."""

from dataclasses import replace

import pytest

from common.command_line import refuse
from common.small_network import net
from rankfold.cli.main import main
from rankfold.errors import InputError
from rankfold.machine import NonIdealities
from rankfold.mapping import ArraySpec
from rankfold.plan import LowRank, SkippedLayer, uniform_plan
from rankfold.progress import Silent
from rankfold.runs.evaluate import evaluate, load_run
from rankfold.runs.folder import RunFolder
from rankfold.runs.result import Result
from rankfold.runs.run import run
from rankfold.runs.train import train_network
from rankfold.training.data import load_images
from rankfold.training.recipe import Recipe
from rankfold.training.reconstruction_recipe import Reconstruction
from rankfold.workload import trace

pytestmark = pytest.mark.usefixtures("few_digits")
NO_EPOCH = Recipe(epochs=0, batch_size=64, precision="float32")
FEW = Reconstruction(images=64, steps=10)
FILES = "plan.json", "model.safetensors", "result.json", "history.csv", "run.json"


@pytest.fixture(scope="module")
def digits(few_digits):
    images = load_images("digits")
    return replace(images, train=images.train.sample(128, 0), test=images.test.sample(64, 0))


@pytest.fixture(scope="module")
def plan():
    array = ArraySpec(32, 32)
    return uniform_plan(trace(net(), (1, 8, 8), "net"), array, LowRank(rank="1/4", force=True), bits=3)


@pytest.fixture(scope="module")
def whole(digits, plan, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "whole"
    return folder, run(net(), digits, plan, NO_EPOCH, out=folder, reconstruction=FEW)


class StopsIn(Silent):
    """Breaks off in one part of the work."""

    def __init__(self, part):
        self.part = part

    def begin(self, what, total, unit="images"):
        if what == self.part:
            raise KeyboardInterrupt


def test_its_result_tells_of_it_and_nothing_else_is_left(whole):
    folder, result = whole
    told = result.reconstruction
    assert (told.images, told.steps, told.before) == (64, 10, result.accuracy.decomposed)
    assert told.after == result.accuracy.final  # as no epoch follows
    assert all(block.after <= block.before for block in told.blocks) and len(told.blocks) == 4
    assert any(block.after < block.before for block in told.blocks)
    assert Result.load(folder / "result.json") == result
    assert sorted(path.name for path in folder.iterdir()) == sorted(FILES)


def test_one_that_was_stopped_ends_like_one_that_was_not(digits, plan, whole, tmp_path):
    wanted, result = whole
    again = {"out": tmp_path / "run", "reconstruction": FEW}
    for resume, part in ((False, 2), (True, 4)):
        with pytest.raises(KeyboardInterrupt):
            stop = StopsIn(f"reconstruction {part}/4")
            run(net(), digits, plan, NO_EPOCH, **again, resume=resume, progress=stop)
        assert RunFolder(again["out"], "").reconstruction.exists()
    resumed = run(net(), digits, plan, NO_EPOCH, **again, resume=True)
    assert resumed.accuracy == result.accuracy
    assert (again["out"] / "model.safetensors").read_bytes() == (wanted / "model.safetensors").read_bytes()
    assert not RunFolder(again["out"], "").reconstruction.exists()
    with pytest.raises(InputError, match="different run"):
        run(net(), digits, plan, NO_EPOCH, out=again["out"], resume=True)


def test_what_cannot_be_is_refused_before_the_folder_is_there(digits, plan, tmp_path):
    out = tmp_path / "run"
    with pytest.raises(InputError, match=r"images \(=512\) of reconstruction must be 128 or fewer"):
        run(net(), digits, plan, NO_EPOCH, out=out, reconstruction=Reconstruction())
    with pytest.raises(InputError, match="noise-aware training has; omit one of the two"):
        noise = NonIdealities(program_noise=0.02)
        run(net(), digits, plan, NO_EPOCH, out=out, reconstruction=FEW, noise=noise)
    assert not out.exists()


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (["--steps", "9"], "--steps is of --reconstruct"),
        (["--images", "64"], "--calibration-images is of --reconstruct"),
        (["--reconstruct", "--steps", "0"], "steps (=0) must be 1 or more"),
        (["--reconstruct", "--images", "8"], "images (=8) must be 32 or more"),
        (["--reconstruct", "--noise-aware", "--adc-bits", "6"], "has no arrays in the loop"),
    ],
)
def test_the_command_line_refuses_it_too(capsys, tmp_path, given, words):
    out = tmp_path / "run"
    network = ["resnet8", "--data", "digits", "--array", "32x32"]
    assert words in refuse(capsys, "compress", *network, "--out", out, *given)
    assert not out.exists()


def test_the_command_line_reconstructs(capsys, tmp_path):
    out = tmp_path / "run"
    command = ["compress", "resnet8", "--data", "digits", "--array", "32x32", "--out", str(out)]
    command += ["--epochs", "0"]
    more = ["--baseline-epochs", "0", "--reconstruct", "--images", "32", "--steps", "2", "--threads", "1"]
    assert main([*command, *more]) == 0
    told = Result.load(out / "result.json").reconstruction
    assert (told.images, told.steps) == (32, 2)
    assert [block.name for block in told.blocks] == ["conv1", "layer1.0", "layer2.0", "layer3.0", "fc"]
    assert "after reconstruction without labels: " in capsys.readouterr().err


def test_a_network_with_a_skipped_layer_has_a_result(digits, plan, tmp_path):
    layers = list(plan.layers)
    layers[1] = replace(layers[1], kind=SkippedLayer(), mapping="im2col", weight_bits=None, input_bits=None)
    result = run(
        net(), digits, replace(plan, layers=tuple(layers)), NO_EPOCH, out=tmp_path / "run", distillation=None
    )
    assert (result.layers[1].kind, result.layers[1].planned_cycles) == ("skipped", 0)
    assert Result.load(tmp_path / "run" / "result.json") == result
    assert main(["report", str(tmp_path / "run"), "--out", str(tmp_path / "page.html")]) == 0


def least_score(scores, classes):
    return float(scores.min())


def test_a_metric_is_measured_whenever_the_accuracy_is(digits, plan, whole, tmp_path):
    model, _, _ = load_run(whole[0], model=net())
    result = run(net(), digits, plan, NO_EPOCH, out=tmp_path / "run", reconstruction=FEW, metric=least_score)
    told = result.metric
    assert told.name == "least_score"
    assert told.baseline == evaluate(net(), digits, metric=least_score)
    assert told.final == told.reconstructed == evaluate(model, digits, metric=least_score)
    assert len({told.baseline, told.decomposed, told.final}) == 3
    assert Result.load(tmp_path / "run" / "result.json") == result
    # It is part of what a folder is known by.
    with pytest.raises(InputError, match=r"different run .other metric"):
        run(net(), digits, plan, NO_EPOCH, out=tmp_path / "run", reconstruction=FEW, resume=True)


class FailsAt:
    """A metric that gives no number from one measurement on."""

    def __init__(self, measured):
        self.left = measured

    def __call__(self, scores, classes):
        self.left -= 1
        return float("nan") if self.left < 0 else 1.0


@pytest.mark.parametrize("measured", [0, 1], ids=["baseline", "decomposed"])
def test_a_metric_that_fails_leaves_no_folder(digits, plan, measured, tmp_path):
    out = tmp_path / "run"
    with pytest.raises(InputError, match="metric FailsAt gave nan; it must give a finite number"):
        run(net(), digits, plan, NO_EPOCH, out=out, reconstruction=FEW, metric=FailsAt(measured))
    assert not out.exists()


def test_what_can_be_gone_on_from_is_kept_where_a_metric_fails(digits, plan, whole, tmp_path):
    out = tmp_path / "run"
    with pytest.raises(InputError, match="metric FailsAt gave nan"):
        run(net(), digits, plan, NO_EPOCH, out=out, reconstruction=FEW, metric=FailsAt(2))
    result = run(net(), digits, plan, NO_EPOCH, out=out, reconstruction=FEW, metric=FailsAt(9), resume=True)
    assert result.accuracy == whole[1].accuracy


def test_training_that_diverges_at_once_leaves_no_folder(digits, plan, tmp_path):
    wild = replace(NO_EPOCH, epochs=1, peak_rate=1e30)
    with pytest.raises(InputError, match=r"the loss became|diverged"):
        run(net(), digits, plan, wild, out=tmp_path / "run")
    with pytest.raises(InputError, match=r"the loss became|diverged"):
        train_network(net(), digits, wild, out=tmp_path / "dense", name="net", array=ArraySpec(32, 32))
    assert not any(tmp_path.iterdir())
