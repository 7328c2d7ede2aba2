"""Runs that version 0.1 left unfinished, each stopped after its first epoch, are taken up and finished.

`data/version-0.1/stopped` holds them: `little_network:net` on digits, two epochs of each training at batches
of 64, peak rates 0.2 and 0.05, in float32, 32x32 arrays. `train` trains the dense network; `baseline` was
stopped in the training of its dense network; `compress` (pairs with 4 entries) and `noise` (pairs on noisy
arrays) in fine-tuning.
"""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from common.little_network import net
from rankfold.errors import InputError
from rankfold.mapping import ArraySpec
from rankfold.models.load import load_model
from rankfold.plan import LowRank, Plan, uniform_plan
from rankfold.records.claim import Claim
from rankfold.runs.baseline import dense_weights
from rankfold.runs.energy_record import EnergyOptions
from rankfold.runs.folder import RunFolder, load_history
from rankfold.runs.run import run
from rankfold.runs.state import RunNotes, traced
from rankfold.runs.train import train_network
from rankfold.simulator import NonIdealities
from rankfold.training.data import load_images
from rankfold.training.recipe import Recipe

STOPPED = Path(__file__).parents[1] / "data" / "version-0.1" / "stopped"
MODEL = "little_network:net"
DENSE = Recipe(epochs=2, batch_size=64, peak_rate=0.2, precision="float32")
TUNING = Recipe(epochs=2, batch_size=64, peak_rate=0.05, precision="float32")
ARRAY = ArraySpec(32, 32)
CELLS = ArraySpec(32, 32, cell_bits=2, coding="offset", dac_bits=1, converts="columns")
NOISE = NonIdealities(adc_bits=6, program_noise=0.03)


@pytest.fixture
def stopped(tmp_path, monkeypatch):
    # The runs name their network by a module that is found from where tests share theirs.
    monkeypatch.syspath_prepend(Path(__file__).parents[1] / "common")

    def copy(name):
        return Path(shutil.copytree(STOPPED / name, tmp_path / name))

    return copy


def first_epoch(folder, name="checkpoint.pt"):
    """What the checkpoint of a stopped run says of the one epoch that it has."""
    (record,) = torch.load(folder / name, weights_only=True)["history"]
    return record


def go_on(folder, array=ARRAY, entries=None, noise=None):
    """The run of `folder` again, with the settings that it had under 0.1."""
    data = load_images("digits")
    model = load_model(MODEL, len(data.classes), 1)
    method = LowRank(rank="1/4", groups=2, entries=entries, force=True)
    plan = uniform_plan(traced(model, data, MODEL), array, method, bits=4)
    baseline = dense_weights(MODEL, data, None, DENSE)
    return run(
        model,
        data,
        plan,
        TUNING,
        out=folder,
        baseline=baseline,
        noise=noise,
        device="cpu",
        notes=RunNotes("rankfold compress"),
        resume=True,
    )


def check(folder, result, record):
    """The run is complete, and its history begins with the epoch that 0.1 trained."""
    assert json.loads((folder / "run.json").read_text())["run"] == result.run
    history = load_history(folder / "history.csv")
    assert [epoch.epoch for epoch in history] == [1, 2]
    for name in ("train_loss", "train_accuracy", "test_accuracy", "seconds"):
        assert getattr(history[0], name) == record[name]
    # Fine-tuning tests what it trains, which may be the arrays.
    trained = result.accuracy.arrays or result.accuracy.final
    assert trained == history[1].test_accuracy > 0.3
    assert not list(folder.glob("*.pt"))


def test_a_training(stopped):
    folder = stopped("train")
    record = first_epoch(folder)
    before = (folder / "plan.json").read_bytes()
    result = train_network(
        net(), load_images("digits"), DENSE, out=folder, name=MODEL, array=ARRAY, device="cpu", resume=True
    )
    check(folder, result, record)
    assert (folder / "plan.json").read_bytes() == before
    assert load_file(folder / "model.safetensors").keys() == net().state_dict().keys()


def test_a_run_that_was_training_its_dense_network(stopped):
    folder = stopped("baseline")
    record = first_epoch(folder, "baseline-checkpoint.pt")
    result = go_on(folder)
    assert result.accuracy.baseline > record["test_accuracy"]
    assert result.baseline == "trained for 2 epochs"
    assert not list(folder.glob("*.pt"))


def test_fine_tuning(stopped):
    folder = stopped("compress")
    record = first_epoch(folder)
    before = Plan.load(folder / "plan.json")
    result = go_on(folder, entries=4)
    check(folder, result, record)
    # The supports were chosen before the run was stopped, and came back with the checkpoint.
    supports = [layer.kind.known_support for layer in before.layers]
    assert [layer.kind.known_support for layer in Plan.load(folder / "plan.json").layers] == supports
    assert len([support for support in supports if support]) == 2


def test_fine_tuning_with_arrays_in_the_loop(stopped):
    folder = stopped("noise")
    record = first_epoch(folder)
    result = go_on(folder, CELLS, noise=NOISE)
    check(folder, result, record)
    assert result.accuracy.arrays is not None


def train_on(folder, shift=0.0, energy=None):
    """A training from the same weights each time, or from weights that are shifted."""
    data = load_images("digits")
    model = load_model(MODEL, len(data.classes), 1)
    with torch.no_grad():
        next(model.parameters()).add_(shift)
    return train_network(
        model,
        data,
        DENSE,
        out=folder,
        name=MODEL,
        array=ARRAY,
        energy=energy,
        device="cpu",
        resume=True,
    )


def test_a_training_is_known_by_its_first_weights_and_its_energy_by_its_components(stopped, tmp_path):
    folder = tmp_path / "new"
    first = train_on(folder)
    # Left where a process is killed when all is written.
    for name in ("checkpoint.pt", "baseline-checkpoint.pt"):
        (folder / name).write_bytes(b"left over")
    assert train_on(folder) == first
    assert not list(folder.glob("*.pt"))
    with pytest.raises(InputError, match=r"already holds a different run \(other weights\)"):
        train_on(folder, shift=0.5)
    with pytest.raises(InputError, match=r"already holds a different run \(other energy\)"):
        train_on(folder, energy=EnergyOptions("sram-22nm"))


def test_one_of_two_that_begin_together_gets_the_folder(tmp_path, monkeypatch):
    """Both saw no run in it; the other one wrote first."""
    folder = tmp_path / "run"
    taken = RunFolder.claim(folder, {"model": "a"}, resume=False)
    monkeypatch.setattr(Claim, "folder", lambda *_, **__: None)
    with pytest.raises(InputError, match="made by another process a moment ago"):
        RunFolder.claim(folder, {"model": "b"}, resume=False)
    monkeypatch.undo()
    assert RunFolder.claim(folder, {"model": "a"}, resume=True) == taken
