"""Whole runs without labels: what is trained, measured, named and refused."""

import copy
import json
import shutil

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import nn

import rankfold as rf
from common.command_line import no_pages, refuse
from common.dense_outputs import maps, one_map
from common.small_network import net
from rankfold.calibration.moments import few_patches_in_words
from rankfold.cli.main import main
from rankfold.errors import InputError
from rankfold.models.load import apply_weights, read_weights
from rankfold.plan.methods import Windows
from rankfold.progress import Silent
from rankfold.report.runs import load_run, measured_in_full
from rankfold.report.summary import summary_table
from rankfold.runs.folder import load_history
from rankfold.training.data import load_images
from rankfold.training.distillation import Distillation
from rankfold.training.unlabelled import ArrayData

ARRAY = rf.ArraySpec(32, 32)
CPU = torch.device("cpu")
NAME = "common.small_network:net"
NOTHING = rf.Recipe(epochs=0)
FEW = rf.Recipe(epochs=2, batch_size=32, peak_rate=0.01, seed=1)


@pytest.fixture(scope="module")
def images(digits, tmp_path_factory):
    folder = tmp_path_factory.mktemp("images")
    for number, image in enumerate(digits.train.images[:150, :, :, 0]):
        Image.fromarray(image).save(folder / f"{number:03d}.png")
    return folder


@pytest.fixture
def dense(weights):
    model = net()
    apply_weights(model, read_weights(weights), str(weights))
    return model


def window_plan(model):
    return rf.uniform_plan(rf.trace(model, (1, 8, 8)), ARRAY, Windows(row_tiles=1), bits=4)


def command(images, weights, out, *options):
    given = ["compress", NAME, "--data", images, "--checkpoint", weights, "--array", "32x32", "--rank", "1/2"]
    given += ["--groups", "1", "--batch", "32", "--threads", "1", "--out", out, *options]
    return [str(one) for one in given]


def test_a_run_without_labels_says_what_it_measures(images, weights, tmp_path, capsys):
    out = tmp_path / "run"
    options = ["--classes", "10", "--reconstruct", "--steps", "3", "--epochs", "2"]
    assert main(command(images, weights, out, *options, "--distil-unlabelled")) == 0
    told = capsys.readouterr()
    assert "agreement" in told.out and "measured against it, by agreement on 30 held-out samples" in told.err
    result = json.loads((out / "result.json").read_text())
    assert "accuracy" not in result and result["agreement"]["baseline"] is None
    assert result["data"]["labelled"] is False and len(result["data"]["classes"]) == 10
    assert result["recipe"]["distillation_labels"] is False and result["recipe"]["peak_rate"] == 0.01
    run = load_run(out)
    assert measured_in_full(run.result) == "agreement with the dense network"
    history = load_history(out / "history.csv")
    assert history[-1].test_accuracy == run.result.accuracy.final and history[0].label_loss is None
    assert "train_agreement" in (out / "history.csv").read_text()
    page = (out / "report.html").read_text()
    assert "test accuracy</" not in page and "Agreement against cycles" in page
    assert "not known without labels" in summary_table([run])
    # The finished run on arrays: agreement with itself.
    assert (
        main(["simulate", str(out), "--model", NAME, "--data", str(images), "--json", "--threads", "1"]) == 0
    )
    assert json.loads(capsys.readouterr().out)["measured"] == "agreement"


def test_labels_change_nothing_and_nobody_looks_at_them(digits, dense, tmp_path):
    """The same images with other labels give the same network, to the last bit."""
    from dataclasses import replace

    shuffled = replace(digits.train, labels=digits.train.labels[::-1].copy())
    plan = window_plan(dense)
    states = []
    for number, data in enumerate((digits, replace(digits, train=shuffled))):
        out = tmp_path / str(number)
        with no_pages():
            rf.run(dense, data, plan, FEW, out=out, distillation=Distillation.unlabelled(images=96))
        states.append(read_weights(out / "model.safetensors"))
        assert len(load_history(out / "history.csv")) == 2
    assert all(torch.equal(value, states[1][name]) for name, value in states[0].items())
    with no_pages():
        rf.run(dense, digits, plan, replace(FEW, epochs=0), out=tmp_path / "before")
    before = read_weights(tmp_path / "before" / "model.safetensors")
    changed = {name for name, value in states[0].items() if not torch.equal(value, before[name])}
    # Batch norms keep the statistics that calibration gave them.
    assert any(name.endswith("weight") for name in changed)
    assert not any("running" in name for name in changed) and any("running" in name for name in before)


class Stopped(Silent):
    """Interrupts the second epoch."""

    def begin(self, what, total, unit="images"):
        if what == "distillation without labels 2/4":
            raise KeyboardInterrupt


class Notes(Silent):
    """Keeps what a run tells."""

    def __init__(self):
        self.told = []

    def note(self, text):
        self.told.append(text)


def arrays(tmp_path):
    path = tmp_path / "x.npy"
    np.save(path, np.random.default_rng(0).normal(size=(200, 1, 8, 8)))
    return ArrayData(path)


@pytest.mark.parametrize(("made", "rate"), [(one_map, 0.005), (maps, 0.0005)])
def test_values_are_distilled_in_units_of_their_variance_and_go_on(made, rate, tmp_path):
    """One tensor, and several in a dictionary."""
    data, model = arrays(tmp_path), made()
    plan = rf.uniform_plan(rf.trace(model, (1, 8, 8)), ARRAY, Windows(row_tiles=1), bits=4)
    options = {"distillation": Distillation.unlabelled(), "reconstruction": None}
    recipe = rf.Recipe(epochs=4, batch_size=32, peak_rate=rate)
    whole = rf.run(model, data, plan, recipe, out=tmp_path / "whole", **options)
    assert whole.accuracy.measured == "relative output error" and whole.data.classes == ()
    assert whole.accuracy.final < whole.accuracy.decomposed < 1
    assert load_history(tmp_path / "whole" / "history.csv")[0].train_accuracy is None
    with pytest.raises(KeyboardInterrupt):
        rf.run(model, data, plan, recipe, out=tmp_path / "part", progress=Stopped(), **options)
    part = rf.run(model, data, plan, recipe, out=tmp_path / "part", resume=True, **options)
    assert part.accuracy == whole.accuracy
    notes = Notes()
    high = rf.Recipe(epochs=1, batch_size=32, peak_rate=1.0)
    rf.run(model, data, plan, high, out=tmp_path / "high", progress=notes, **options)
    assert any("took the network further off: relative output error" in note for note in notes.told)
    # It can be read again, though it has no classes.
    loaded, _, result = rf.load_run(tmp_path / "whole", model=made())
    assert result.accuracy == whole.accuracy and isinstance(loaded, nn.Module)


def test_too_few_images_for_a_layer_are_told_with_how_many_it_needs(tmp_path):
    """Two images of 64 pixels show 128 patches, and the second layer reads 72 inputs, the third 144."""
    model = one_map()
    plan = rf.uniform_plan(rf.trace(model, (1, 8, 8)), ARRAY, Windows(row_tiles=1, window=(1, 1)), bits=None)
    few = torch.randn(2, 1, 8, 8)
    reports = {report.name: report.coverage for report in rf.compress_(model, plan, [few])}
    assert reports["body.2"] == pytest.approx(128 / 72) and reports["body.4"] == pytest.approx(128 / 144)
    assert few_patches_in_words(reports, 2) == (
        "2 images show layer body.4 fewer patches than they read inputs, so that a ridge settles what the "
        "images do not; 3 images would show enough"
    )
    assert few_patches_in_words(reports | {"body.4": 1.0}, 2) is None
    assert torch.isfinite(model(few)).all()
    np.save(tmp_path / "x.npy", torch.randn(3, 1, 8, 8).numpy())
    notes = Notes()
    with no_pages():
        rf.run(one_map(), ArrayData(tmp_path / "x.npy"), plan, NOTHING, out=tmp_path / "run", progress=notes)
    assert any("2 images show layer body.4 fewer patches" in note for note in notes.told)


def test_each_of_several_outputs_has_its_own_error(tmp_path):
    plan = rf.uniform_plan(rf.trace(maps(), (1, 8, 8)), ARRAY, Windows(row_tiles=1, window=(1, 1)), bits=4)
    np.save(tmp_path / "x.npy", np.random.default_rng(0).normal(size=(40, 1, 8, 8)).astype(np.float32))
    data, notes = ArrayData(tmp_path / "x.npy"), Notes()
    with no_pages():
        result = rf.run(maps(), data, plan, NOTHING, out=tmp_path / "run", progress=notes)
    model, _, loaded = rf.load_run(tmp_path / "run", model=maps())
    assert loaded == result and set(result.of_outputs) == {"output 'map'", "output 'numbers'"}
    assert result.accuracy.final == pytest.approx(np.mean(list(result.of_outputs.values())))
    assert any("relative output error in the end: output 'map' " in note for note in notes.told)
    ((shown, _),), ((held, _),) = data.train, data.test
    with torch.no_grad():
        before, wanted, found = (
            network(x)["numbers"] for network, x in ((maps(), shown), (maps(), held), (model, held))
        )
    error = (found - wanted).square().mean(0) / before.var(0, correction=0)
    assert result.of_outputs["output 'numbers'"] == pytest.approx(float(error.mean()), rel=1e-3)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--epochs", "1"], "how many classes common.small_network:net has; say --classes N"),
        (["--classes", "10", "--epochs", "1"], "fine-tuning needs labels, and data"),
        (["--classes", "10", "--epochs", "0", "--images", "40"], "--calibration-images is of --reconstruct"),
        (["--classes", "10", "--epochs", "0", "--metric", "math:dist"], "a metric needs targets, and data"),
        (
            ["--classes", "10", "--epochs", "1", "--distil-unlabelled", "500"],
            "images (=500) to learn from must be 120 or fewer",
        ),
        (
            ["--classes", "10", "--epochs", "1", "--distil-unlabelled", "0"],
            "images (=0) to learn from must be 2 or more",
        ),
        (
            ["--classes", "10", "--epochs", "0", "--distil-unlabelled"],
            "trains for --epochs epochs, and there are none",
        ),
        (["--classes", "10", "--epochs", "1", "--distil-unlabelled", "--distil", "1"], "omit --distil"),
        (
            ["--classes", "10", "--epochs", "1", "--distil-unlabelled", "--captured"],
            "captured steps needs labels",
        ),
        (
            ["--classes", "10", "--epochs", "0", "--normalise", "1"],
            "normalisation (=1) must be MEAN/DEVIATION",
        ),
    ],
)
def test_what_is_refused(images, weights, options, words, tmp_path, capsys):
    assert words in refuse(capsys, *command(images, weights, tmp_path / "run", *options))
    assert not (tmp_path / "run").exists()


def test_plans_lose_no_more_agreement_than_allowed(images, dense, weights, tmp_path, capsys):
    plan = ["plan", NAME, "--data", images, "--classes", "10", "--checkpoint", weights, "--array", "32x32"]
    options = ["--max-drop", "4", "--images", "60", "--kinds", "window", "--bits", "8", "--threads", "1"]
    assert main([str(one) for one in (*plan, *options, "--out", tmp_path / "plan.json")]) == 0
    assert "agreement" in capsys.readouterr().out
    data = load_images(images)
    planning = rf.best_plan(dense, data, ARRAY, max_drop=0.04, images=60, kinds=["window"], bits=8)
    assert planning.plan.layers == rf.Plan.load(tmp_path / "plan.json").layers
    drop = planning.drop
    assert drop.metric == "agreement" and 0.9 < drop.dense <= 1 and drop.amount <= 0.04
    assert any(layer.kind.changes_weight for layer in planning.plan.layers)
    # The same by hand: images that nothing was calibrated on, against the float network.
    held_out = data.train.sample(2000, 0, skip=60)
    assert len(held_out) == len(data.train) - 60
    made = copy.deepcopy(dense)
    rf.compress_(made, planning.plan, data, images=60)
    rf.quantise_(made, planning.plan, data, images=60, reference=dense)
    with torch.no_grad():
        same = total = 0
        for inputs, _ in data.batches_of(held_out, torch.device("cpu")):
            same += int((made(inputs).argmax(1) == dense.eval()(inputs).argmax(1)).sum())
            total += len(inputs)
    assert abs(same / total - drop.planned) <= 2 / total


def test_metrics_are_given_the_targets_of_arrays(images, dense, weights, tmp_path):
    data = load_images(images)
    inputs = torch.cat(list(data.calibration_batches(None, torch.device("cpu"))))
    with torch.no_grad():
        classes = dense.eval()(inputs).argmax(1)
    np.savez(tmp_path / "x.npz", input=inputs.numpy(), targets=classes.numpy())
    given = ["--data", tmp_path / "x.npz", "--classes", "10", "--checkpoint", weights, "--threads", "1"]
    given += ["--metric", "common.metrics_of_targets:same_classes"]
    plan = [
        "plan",
        NAME,
        *given,
        "--array",
        "32x32",
        "--kinds",
        "window",
        "--images",
        "40",
        "--max-drop",
        "0.1",
    ]
    assert main([str(one) for one in (*plan, "--bits", "8", "--out", tmp_path / "plan.json")]) == 0
    run = [
        "compress",
        NAME,
        *given,
        "--plan",
        tmp_path / "plan.json",
        "--epochs",
        "0",
        "--out",
        tmp_path / "run",
    ]
    assert main([str(one) for one in run]) == 0
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    # What it is measured by is the dense network's own classes.
    assert result["metric"]["name"] == "same_classes" and result["metric"]["baseline"] == 1
    assert 0.8 < result["metric"]["final"] <= 1
    assert result["metric"]["final"] == pytest.approx(result["agreement"]["final"])


@pytest.fixture(scope="module")
def finished(images, weights, tmp_path_factory):
    """A run without labels and training."""
    out = tmp_path_factory.mktemp("runs") / "run"
    assert main(command(images, weights, out, "--classes", "10", "--epochs", "0")) == 0
    return out


def evaluate(*options):
    return ["evaluate", *map(str, options), "--threads", "1"]


def test_finished_runs_are_compared_with_the_original_again(finished, images, weights, tmp_path, capsys):
    given = [finished, "--model", NAME, "--data", images]
    assert main([*evaluate(*given, "--checkpoint", weights), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["metric"] == "agreement" and found["images"] == 30 and found["same_data"]
    assert found["accuracy"] == found["reported"] and 0 < found["reported"] < 1
    assert main(evaluate(*given, "--checkpoint", weights)) == 0
    assert capsys.readouterr().out.startswith("agreement 0.")
    # The same images as arrays, of which every fifth is measured on, too.
    pixels = torch.cat([x for x, _ in load_images(images).batches_of(load_images(images).test, CPU)])
    np.save(tmp_path / "x.npy", pixels.repeat_interleave(5, 0).numpy())
    arrays = [finished, "--model", NAME, "--data", tmp_path / "x.npy", "--checkpoint", weights]
    assert main([*evaluate(*arrays), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["accuracy"] == found["accuracy"]
    error = refuse(capsys, *evaluate(*given))
    assert "compared with the original, whose weights it does not hold; give them (--checkpoint)" in error
    other = tmp_path / "other.safetensors"
    save_file({name: value + 1 for name, value in read_weights(weights).items()}, other)
    error = refuse(capsys, *evaluate(*given, "--checkpoint", other))
    assert "has other weights than the network of" in error
    error = refuse(capsys, *evaluate(finished, "--model", NAME, "--data", "digits", "--checkpoint", weights))
    assert "compare networks without labels and a metric; omit them" in error
    error = refuse(capsys, *evaluate(*arrays, "--shift", "1"))
    assert "a shift moves images, and data" in error


def test_finished_runs_are_measured_by_targets_beside_images(finished, images, tmp_path, capsys):
    folder = tmp_path / "images"
    shutil.copytree(images, folder)
    for image in folder.glob("*.png"):
        image.with_suffix(".json").write_text("3")
    given = [finished, "--model", NAME, "--data", folder, "--metric", "common.metrics_of_targets:threes"]
    assert main([*evaluate(*given), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    model, _, _ = rf.load_run(finished, model=net())
    data = load_images(images)
    with torch.no_grad():
        classes = torch.cat([model(x).argmax(1) for x, _ in data.batches_of(data.test, CPU)])
    assert found["accuracy"] == float((classes == 3).float().mean()) and found["metric"] == "threes"
    (folder / "004.json").unlink()
    assert "004.png has no targets beside it" in refuse(capsys, *evaluate(*given))


def test_searches_measure_agreement(images, dense, weights, tmp_path, capsys):
    pytest.importorskip("optuna")
    plan = ["plan", NAME, "--data", images, "--classes", "10", "--checkpoint", weights, "--array", "32x32"]
    search = ["--search", "nsga2", "--trials", "6", "--search-images", "20", "--images", "60", "--bits", "8"]
    options = ["--kinds", "window", "--max-cycles", "80%", "--threads", "1", "--json"]
    assert main([str(one) for one in (*plan, *search, *options, "--out", tmp_path / "plan.json")]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["measured"]["metric"] == "agreement"
    chosen = rf.Plan.load(tmp_path / "plan.json")
    data = load_images(images)
    held_out = data.train.sample(20, 0, skip=60)
    made = copy.deepcopy(dense)
    rf.compress_(made, chosen, data, images=60)
    rf.quantise_(made, chosen, data, images=60, reference=dense)
    (inputs, _), *_ = data.batches_of(held_out, CPU)
    with torch.no_grad():
        same = (made.eval()(inputs).argmax(1) == dense.eval()(inputs).argmax(1)).float().mean()
    assert abs(float(same) - found["measured"]["chosen"]["accuracy"]) <= 1.01 / 20
    values = ["--outputs", "values", "--max-cycles", "80%", *search]
    error = refuse(capsys, *plan, *values, "--out", tmp_path / "other.json")
    assert "the network's outputs are values; give targets and a metric" in error


def test_outputs_that_are_values_do_not_agree():
    given = [torch.randn(30, 1, 8, 8, generator=torch.Generator().manual_seed(0))]
    with pytest.raises(InputError, match="the network's outputs are values; give targets and a metric"):
        rf.best_plan(maps(), given, ARRAY, max_drop=0.01, images=10, kinds=["window"])


def test_inputs_by_names_that_a_network_does_not_have(weights, tmp_path, capsys):
    np.savez(tmp_path / "x.npz", pixels=np.zeros((4, 1, 8, 8), np.float32))
    error = refuse(
        capsys, *command(tmp_path / "x.npz", weights, tmp_path / "run", "--classes", "10", "--epochs", "0")
    )
    assert "the data have inputs called pixels, and the network takes input; call them so" in error


def test_commands_that_need_labels_say_so(images, weights, tmp_path, capsys):
    error = refuse(capsys, "train", NAME, "--data", images, "--out", tmp_path / "run")
    assert "training needs labels, and data" in error and "give images by split and class" in error
    plan = ["plan", NAME, "--data", images, "--classes", "10", "--checkpoint", weights, "--array", "32x32"]
    out = ("--out", tmp_path / "plan.json")
    error = refuse(capsys, *plan, "--max-drop", "1", "--metric", "math:dist", *out)
    assert "a metric needs targets, and data" in error and "targets.NAME, in a .npz" in error
    error = refuse(capsys, *plan, "--max-drop", "1", *out)
    assert "none is left to measure plans on: calibrate on fewer (images=, --calibration-images)" in error
    options = ["--max-cycles", "80%", "--images", "32", "--kinds", "window", "--threads", "1"]
    assert main([str(one) for one in (*plan, *options, "--out", tmp_path / "plan.json")]) == 0
    error = refuse(capsys, "plan", NAME, "--data", "digits", "--classes", "10", "--max-cycles", "80%")
    assert "--classes is for data without labels, and digits has labels" in error
