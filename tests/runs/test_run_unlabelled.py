"""Whole runs without labels: what is trained, measured, named and refused."""

import json

import numpy as np
import pytest
import torch
from torch import nn

import rankfold as rf
from common.command_line import no_pages, refuse
from common.dense_outputs import maps, one_map
from common.unlabelled import ARRAY, NAME, command
from rankfold.calibration.moments import few_patches_in_words
from rankfold.cli.main import main
from rankfold.models.load import read_weights
from rankfold.plan.methods import Windows
from rankfold.progress import Silent
from rankfold.report.runs import load_run, measured_in_full
from rankfold.report.summary import summary_table
from rankfold.runs.folder import load_history
from rankfold.training.distillation import Distillation
from rankfold.training.unlabelled import ArrayData

NOTHING = rf.Recipe(epochs=0)
FEW = rf.Recipe(epochs=2, batch_size=32, peak_rate=0.01, seed=1)


def window_plan(model):
    return rf.uniform_plan(rf.trace(model, (1, 8, 8)), ARRAY, Windows(row_tiles=1), bits=4)


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


def test_inputs_by_names_that_a_network_does_not_have(weights, tmp_path, capsys):
    np.savez(tmp_path / "x.npz", pixels=np.zeros((4, 1, 8, 8), np.float32))
    error = refuse(
        capsys, *command(tmp_path / "x.npz", weights, tmp_path / "run", "--classes", "10", "--epochs", "0")
    )
    assert "the data have inputs called pixels, and the network takes input; call them so" in error
