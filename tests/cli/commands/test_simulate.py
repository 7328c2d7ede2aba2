"""`rankfold simulate` and noise-aware `rankfold compress`, on a small run on digits."""

import copy
import csv
import json
from dataclasses import replace

import pytest

from common.command_line import no_pages
from rankfold.cli.main import main
from rankfold.cost import network_cycles
from rankfold.errors import InputError
from rankfold.models.zoo import build
from rankfold.plan import Plan
from rankfold.progress import Silent
from rankfold.runs.chips import LoadedRun
from rankfold.runs.evaluate import load_run
from rankfold.runs.evaluate_folder import evaluate_folder
from rankfold.runs.simulate import simulate_run
from rankfold.runs.simulation import SimulationOptions
from rankfold.simulator import NonIdealities
from rankfold.workload import trace

pytestmark = pytest.mark.usefixtures("few_digits")


def words(text):
    return text.split()


COMPRESS = words("compress resnet8 --data digits --array 32x32 --batch 64 --groups 4 --rank 1/4")
CELLS = words("--cell-bits 2 --dac-bits 2")
TRAIN = words("train resnet8 --data digits --batch 32 --epochs 8 --rate 0.1")


@pytest.fixture(scope="module")
def weights(tmp_path_factory, few_digits):
    """A network that knows its digits a little, so that errors show."""
    out = tmp_path_factory.mktemp("runs") / "float"
    with no_pages():
        assert main([*TRAIN, "--out", str(out)]) == 0
    return str(out / "model.safetensors")


@pytest.fixture(scope="module")
def finished(tmp_path_factory, weights):
    out = tmp_path_factory.mktemp("runs") / "run"
    with no_pages():
        assert main([*COMPRESS, "--epochs", "1", "--checkpoint", weights, "--out", str(out)]) == 0
    return out


def simulate(capsys, *arguments):
    capsys.readouterr()
    assert main(["simulate", *map(str, arguments), "--data", "digits", "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def refuse(capsys, *arguments):
    capsys.readouterr()
    try:
        code = main([str(argument) for argument in arguments])
    except SystemExit as exit_:
        code = exit_.code
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert code == 2 and error.startswith("rankfold: ")
    return error


def test_ideal_arrays_have_the_accuracy_of_the_run(finished, capsys):
    found = simulate(capsys, finished, *CELLS, "--layer-images", 20)
    assert found["ideal"] == evaluate_folder(finished, "digits").accuracy
    # float32 sums of torch may round an input to another level once in a million.
    assert found["accuracies"] == [pytest.approx(found["ideal"], abs=2 / found["images"])]
    assert found["seed"] == 0 and found["chosen"]["adc_bits"] is None and found["version"]
    assert found["deviation"] is None
    assert found["array"] == "32x32, 2-bit cells, differential coding, differences converted, 2-bit DACs"
    assert all(layer["own_snr"] is None or layer["own_snr"] > 60 for layer in found["layers"])


def test_activations_are_the_cycles_of_the_plan(finished, capsys):
    found = simulate(capsys, finished, *CELLS, "--layer-images", 10, "--images", 10)
    _, plan, result = load_run(finished)
    array = replace(plan.array, cell_bits=2, coding="differential", dac_bits=2)
    dense = build("resnet8", 10, 1)
    costs = network_cycles(trace(dense, result.input, "resnet8"), replace(plan, array=array))
    on_arrays = {layer["name"]: layer["activations"] for layer in found["layers"]}
    for layer in costs.layers:
        stages = [n for n in on_arrays if n == layer.shape.name or n.startswith(f"{layer.shape.name}.")]
        assert sum(on_arrays[name] for name in stages) == layer.array_cycles
    assert set(on_arrays) - {
        n for n in on_arrays for layer in costs.layers if n.startswith(layer.shape.name)
    } == {"fc"}


def test_noisy_chips_differ_and_every_layer_is_reported(finished, capsys):
    noise = "--adc-bits 6 --program-noise 0.1 --read-noise 0.01 --drift 1h --stuck 0.001 --ir-drop 1e-5"
    measured = "--repeats 3 --layer-images 20 --images 100 --digital fc"
    found = simulate(capsys, finished, *CELLS, *noise.split(), *measured.split())
    assert len(found["accuracies"]) == 3 and len(set(found["accuracies"])) > 1
    assert found["mean"] == pytest.approx(sum(found["accuracies"]) / 3) and found["deviation"] > 0
    assert found["digital"] == ["fc"]
    names = [layer["name"] for layer in found["layers"]]
    assert "conv1" in names and "layer1.0.conv1.reduce" in names and "fc" not in names
    for layer in found["layers"]:
        assert layer["snr"] < 60 and 0 < layer["blame"] < 10 and 0 <= layer["clipped"] <= 1
        # The errors of the layers before come on top of a layer's own.
        assert layer["snr"] < layer["own_snr"] + 3


def test_the_table_blames_the_worst_layer_first(finished, capsys):
    capsys.readouterr()
    arguments = words("--data digits --program-noise 0.05 --repeats 2 --layer-images 20 --images 50")
    assert main(["simulate", str(finished), *arguments]) == 0
    text = capsys.readouterr().out
    assert "on its arrays:" in text and "(2 chips)" in text
    rows = [line.split() for line in text.splitlines() if "dB" in line]
    assert len(rows) == 14  # first convolution, classifier, and two stages of six layers
    blames = [float(row[1]) for row in rows]
    assert blames == sorted(blames, reverse=True)


class Stopping(Silent):
    """Counts parts, and is interrupted in one of them."""

    def __init__(self, at=None):
        self.at, self.parts = at, []

    def begin(self, what, total, unit="images"):
        self.parts.append(what)
        if len(self.parts) == self.at:
            raise KeyboardInterrupt


NOISY = SimulationOptions(
    chosen=NonIdealities(adc_bits=6, program_noise=0.1, read_noise=0.05),
    changes={"cell_bits": 2},
    repeats=3,
    images=10,
    layer_images=5,
)


def test_a_stopped_simulation_resumes_to_the_same_numbers(finished, tmp_path):
    loaded = LoadedRun.load(finished, "digits", "cpu")
    out = tmp_path / "simulation.json"
    whole = Stopping()
    wanted = simulate_run(loaded, NOISY, out=tmp_path / "whole.json", progress=whole)
    with pytest.raises(KeyboardInterrupt):  # in the second chip
        simulate_run(loaded, NOISY, out=out, progress=Stopping(4))
    with pytest.raises(KeyboardInterrupt):  # in the layers: after ranges, two chips and the quantised network
        simulate_run(loaded, NOISY, out=out, resume=True, progress=Stopping(5))
    rest = Stopping()
    assert simulate_run(loaded, NOISY, out=out, resume=True, progress=rest) == wanted
    # Seen: the quantised network, the ADC ranges, three chips, ...; then the ranges again before the layers.
    assert rest.parts == ["ADC ranges", *whole.parts[6:]]
    saved = json.loads(out.read_text())
    assert saved["simulation"] == json.loads(json.dumps(wanted.to_json()))
    # Nothing is left to do.
    assert simulate_run(loaded, NOISY, out=out, resume=True, progress=Stopping(1)) == wanted


FEW_IMAGES = words("--data digits --images 8 --layer-images 0")
FEW = replace(NOISY, chosen=NonIdealities(), images=4, layer_images=4)


@pytest.fixture(scope="module")
def simulated(finished, tmp_path_factory):
    """The run, and what is written of its simulation with `FEW` images."""
    loaded = LoadedRun.load(finished, "digits", "cpu")
    out = tmp_path_factory.mktemp("simulated") / "simulation.json"
    simulate_run(loaded, FEW, out=out)
    return loaded, json.loads(out.read_text())


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        ("done/chip 1", "good", "at done/chip 1: 'good' is not of type 'number'"),
        ("done/ideal", 40, "at done/ideal: 40 is greater than the maximum of 1"),
        ("done/chip one", 0.5, "at done"),
        ("done", [], "at done: [] is not of type 'object'"),
        ("done/layers/conv1", {"activations": 3}, "at done/layers/conv1: "),
        ("done/layers/conv1/snr", "40 dB", "at done/layers/conv1/snr: "),
        ("done/layers", {}, "at done/layers: it has other layers"),
        ("done/only fc/blame", None, "at done/only fc/blame: "),
    ],
)
def test_parts_that_were_edited_are_refused_with_their_place(place, value, message, simulated, tmp_path):
    loaded, whole = simulated
    content = copy.deepcopy(whole)
    out = tmp_path / "simulation.json"
    *steps, last = place.split("/")
    part = content
    for step in steps:
        part = part[step]
    part[last] = value
    out.write_text(json.dumps(content))
    with pytest.raises(InputError) as refused:
        simulate_run(loaded, FEW, out=out, resume=True, progress=Stopping(1))
    assert str(refused.value).startswith(f"{out} is not a complete simulation: {message}")


def test_noise_aware_training_ends_with_an_ordinary_run(weights, tmp_path, capsys):
    out = tmp_path / "noisy"
    noise = ["--noise-aware", "--program-noise", "0.05", "--adc-bits", "6", *CELLS]
    assert main([*COMPRESS, "--epochs", "1", "--checkpoint", weights, *noise, "--out", str(out)]) == 0
    content = json.loads((out / "result.json").read_text())
    assert content["accuracy"]["arrays"] is not None
    assert json.loads((out / "plan.json").read_text())["cells"] == {
        "cell_bits": 2,
        "coding": "differential",
        "dac_bits": 2,
        "converts": "differences",
    }
    assert evaluate_folder(out, "digits").accuracy == content["accuracy"]["final"]
    assert "on its arrays: " in capsys.readouterr().err
    error = refuse(
        capsys, *COMPRESS, "--epochs", 1, "--checkpoint", weights, *noise, "--read-noise", 0.1, "--out", out
    )
    assert error.startswith(f"rankfold: {out} already holds a different run (other noise)")
    # It was trained for noise, and is simulated with it only where that is said.
    capsys.readouterr()
    assert main(["simulate", str(out), *FEW_IMAGES]) == 0
    told = capsys.readouterr().out
    assert "adc_bits 6" in told and "every chip is the same" in told


def test_a_plan_brings_its_hardware_to_training_and_simulation_but_no_noise(weights, tmp_path, capsys):
    plan, out = tmp_path / "plan.json", tmp_path / "run"
    sram = ["--technology", "sram-22nm", "--mux", "32", "--array", "32x32"]
    planning = ["plan", "resnet8", "--uniform", "--input", "1x8x8", *sram, "--out", str(plan)]
    assert main(planning) == 0
    run = ["compress", "resnet8", "--data", "digits", "--checkpoint", weights, "--plan", str(plan)]
    noise = ["--noise-aware", "--program-noise", "0.3", "--adc-bits", "3"]
    assert main([*run, "--epochs", "0", "--threads", "1", *noise, "--out", str(out)]) == 0
    kept = Plan.load(out / "plan.json").machine
    assert (kept.technology, kept.mux) == ("sram-22nm", 32)
    assert kept.non_idealities.ideal
    # Arrays with fewer columns than share an ADC in the plan.
    assert main(["simulate", str(out), "--array", "16x16", *FEW_IMAGES]) == 0
    told = capsys.readouterr().out
    assert "technology sram-22nm" in told and "every chip is the same" in told


def test_wrong_simulations_are_one_sentence(finished, tmp_path, capsys):
    data = ["--data", "digits"]
    assert "adc bits (=0) must be a whole number from 1 to 16" in refuse(
        capsys, "simulate", finished, *data, "--adc-bits", 0
    )
    assert "array cell_bits (=0) must be" in refuse(capsys, "simulate", finished, *data, "--cell-bits", 0)
    assert "noise (=loud) must be a number such as 0.03, or `pcm`" in refuse(
        capsys, "simulate", finished, *data, "--program-noise", "loud"
    )
    assert "drift (=5) must be a time such as 30s, 1h or 1d" in refuse(
        capsys, "simulate", finished, *data, "--drift", "5"
    )
    assert "ADC range (=wide) must be calibrated, full, or" in refuse(
        capsys, "simulate", finished, *data, "--adc-range", "wide"
    )
    assert "--chips (=0) must be 1 or more" in refuse(capsys, "simulate", finished, *data, "--repeats", 0)
    assert "has no layer conv9" in refuse(capsys, "simulate", finished, *data, "--digital", "conv9")
    assert "--resume needs the --out FILE" in refuse(capsys, "simulate", finished, *data, "--resume")
    other = tmp_path / "other.json"
    other.write_text("[]")
    assert "is not ours (rankfold.simulation), or of another version; give another file" in refuse(
        capsys, "simulate", finished, *data, "--out", other
    )
    assert f"{tmp_path} is a folder" in refuse(capsys, "simulate", finished, *data, "--out", tmp_path)
    out = tmp_path / "out.json"
    quick = ["simulate", finished, *data, "--layer-images", 0, "--images", 10, "--out", out]
    assert main([str(argument) for argument in quick]) == 0
    assert "already holds this work; give --resume to go on with it" in refuse(capsys, *quick)
    assert "holds other work of this kind, with other settings" in refuse(capsys, *quick, "--seed", 1)
    noisy = [*COMPRESS, "--out", tmp_path / "new"]
    assert "--adc-range says nothing without --adc-bits" in refuse(
        capsys, "simulate", finished, *data, "--adc-range", "full"
    )
    assert "--stuck-high says nothing without --stuck" in refuse(capsys, *noisy, "--stuck-high", 0.1)
    aware = words("compress resnet8 --data digits --noise-aware")
    for wrong, message in {
        "--bits float --adc-bits 6": "gives no layer bits",
        "--bits 1 --adc-bits 6": "has 1-bit weights",
        "--ir-drop 1e-4": "needs real cells",
        "--adc-bits 1": "must be 2 or more",
        "--array 32x3 --cell-bits 2 --adc-bits 6": "do not hold one weight of 4 bits",
    }.items():
        assert message in refuse(capsys, *aware, *wrong.split(), "--out", tmp_path / "new")
    assert "the noise of arrays goes with --noise-aware" in refuse(
        capsys, *noisy, "--adc-bits", 6, "--read-noise", 0.1
    )
    assert "--noise-aware needs arrays that are not ideal" in refuse(capsys, *noisy, "--noise-aware")
    assert "omit --compile" in refuse(capsys, *noisy, "--noise-aware", "--adc-bits", 6, "--compile")
    assert not (tmp_path / "new").exists()


def test_robustness_draws_runs_side_by_side(finished, tmp_path, capsys, monkeypatch):
    out = tmp_path / "robustness"
    vary = ["--vary", "adc-bits=4,8", "--vary", "program-noise=0.02,0.3"]
    measured = ["--repeats", "2", "--images", "60", "--out", str(out)]
    command = ["robustness", str(finished), "--data", "digits", *CELLS, *vary, *measured]
    assert main(command) == 0
    with (out / "robustness.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["varied"], float(row["value"]), row["chips"]) for row in rows] == [
        ("adc_bits", 4, "1"),
        ("adc_bits", 8, "1"),
        ("program_noise", 0.02, "2"),
        ("program_noise", 0.3, "2"),
    ]
    assert all(row["hardware"].startswith("default with ") for row in rows)
    accuracy = [float(row["mean"]) for row in rows]
    assert accuracy[0] <= accuracy[1] and accuracy[3] < accuracy[2]
    drawn = (out / "robustness.svg").read_text()
    assert "ADC bits" in drawn and "programming noise" in drawn and drawn.startswith("<svg")
    # What is done is not done again: nothing is left to make progress on.
    monkeypatch.setattr("rankfold.cli.words.progress.Bars", lambda: Stopping(1))
    assert main(command) == 0
    assert "must be an option and its values, such as adc-bits=4,6,8" in refuse(
        capsys, *command, "--vary", "adc-bits"
    )
    complaint = refuse(capsys, *command, "--vary", "adc-bit=1")
    assert (
        "--vary (=adc-bit=1) must name one of adc-bits," in complaint
        and "did you mean adc-bits?" in complaint
    )
    for value in ("4.5", "nan", "inf"):
        assert f"adc_bits (={value}) must be a whole number" in refuse(
            capsys, *command, "--vary", f"adc-bits={value}"
        )
