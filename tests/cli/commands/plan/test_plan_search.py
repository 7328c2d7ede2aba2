"""`rankfold plan --search nsga2`."""

import csv
import json
import sys

import pytest

from common.command_line import refuse
from rankfold.cli.main import main
from rankfold.cost import network_cycles
from rankfold.mapping import ArraySpec
from rankfold.plan import Plan
from rankfold.planning import PlanningOptions, planning_problem
from rankfold.planning.accuracy import MeasureSettings
from rankfold.planning.search.search import front_starts
from rankfold.simulator import NonIdealities

MODEL = "common.small_network:net"
ARRAYS = ["--array", "32x32", "--cell-bits", "2", "--adc-bits", "5", "--program-noise", "0.05"]
NAMED = "default with rows 32, columns 32, cell_bits 2, adc_bits 5, program_noise 0.05"
IMAGES, KINDS = 64, ["low-rank", "support"]
SEARCH = ["--search", "nsga2", "--trials", "20", "--search-images", "20", "--chips", "1"]


def plan(weights, *arguments):
    command = ["plan", MODEL, "--data", "digits", "--checkpoint", str(weights), "--threads", "1"]
    command += ["--images", str(IMAGES), "--kinds", ",".join(KINDS)]
    return main([*command, *map(str, arguments)])


def cycles_of(network, plan):
    return sum(layer.chosen_cycles for layer in network_cycles(network, plan).layers)


def test_from_the_command_line(weights, model, digits, tmp_path, capsys):
    study, out, folder = tmp_path / "study.log", tmp_path / "plan.json", tmp_path / "front"
    files = ["--study", study, "--out", out, "--pareto", folder]
    command = [*ARRAYS, *SEARCH, *files, "--max-cycles", "50%", "--json"]
    assert plan(weights, *command) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["files"] == [str(out), str(folder / "measured.csv")]
    assert found["measured"]["trials"] == 20

    problem = planning_problem(
        model, digits, ArraySpec(32, 32, cell_bits=2), options=PlanningOptions(images=IMAGES, kinds=KINDS)
    )
    noise = NonIdealities(adc_bits=5, program_noise=0.05)
    measured = problem.accuracy.under(MeasureSettings(20, 1, noise, calibrated=IMAGES))
    rows = list(csv.DictReader((folder / "measured.csv").read_text().splitlines()))
    assert [int(row["cycles"]) for row in rows] == [one["cycles"] for one in found["measured"]["front"]]
    assert {row["hardware"] for row in rows} == {NAMED}
    for row in rows:  # the files hold the plans whose numbers the table has
        loaded = Plan.load(folder / row["plan"])
        assert cycles_of(problem.network, loaded) == int(row["cycles"])
        assert measured(loaded) == pytest.approx(float(row["accuracy"]), abs=1e-6)
    budget = sum(layer.dense.cycles for layer in problem.choices) / 2
    chosen = Plan.load(out)
    share = measured(chosen)
    assert cycles_of(problem.network, chosen) <= budget
    assert share == found["measured"]["chosen"]["accuracy"]
    for start in front_starts(problem.front()):  # never worse than the exact planner
        if sum(one.cycles for one in start) <= budget:
            assert measured(problem.plan(start)) <= share

    before = study.read_bytes()
    assert plan(weights, *command) == 0
    assert json.loads(capsys.readouterr().out) == found
    assert study.read_bytes() == before  # nothing was left to try
    assert plan(weights, *command[:-1], "--trials", "22", "--max-drop", "100") == 2
    assert "must be at least 0 and below 100" in capsys.readouterr().err
    assert plan(weights, *command[:-1], "--trials", "22", "--max-drop", "90") == 0
    assert "22 trials; dense: " in (printed := capsys.readouterr().out)
    assert "exact planner" in printed
    assert plan(weights, *command, "--max-drop", "0", "--max-cycles", "27%") == 2
    assert "measured plans is within the budgets" in capsys.readouterr().err
    assert plan(weights, *command, "--max-cycles", "20%") == 2  # before anything is measured
    words = "no plan has at most 60 cycles: the fewest that these layers can reach is 80 cycles"
    assert words in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--trials", "5"], "--trials goes with --search nsga2; add that, or omit it"),
        (["--search-images", "5"], "--search-images goes with --search nsga2; add that, or omit it"),
        (
            ["--program-noise", "0.1"],
            "the noise of arrays goes with --search nsga2; the exact planner does not see it",
        ),
        (
            ["--search", "nsga2", "--max-arrays", "9"],
            "a search trades accuracy for cycles; omit --max-arrays",
        ),
        (["--search", "nsga2", "--max-latency", "9us"], "cycles; omit --max-latency"),
        (["--search", "nsga2", "--trials", "0"], "trials (=0) must be 1 or more"),
        (["--search", "nsga2", "--chips", "0"], "chips (=0) must be 1 or more"),
        (
            ["--search", "nsga2", "--bits", "float", "--adc-bits", "5"],
            "arrays compute with integers; give --bits, or omit their noise",
        ),
        (["--search", "nsga2", "--study", "."], ". is a folder; give a file for the study"),
    ],
)
def test_wrong_options_are_refused_before_any_work(tmp_path, capsys, arguments, message):
    assert plan(tmp_path / "missing", "--max-cycles", "50%", *arguments) == 2
    assert message in capsys.readouterr().err


def test_a_search_needs_optuna(tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    assert plan(tmp_path / "missing", "--max-cycles", "50%", "--search", "nsga2") == 2
    assert "pip install 'rankfold[search]'" in capsys.readouterr().err


@pytest.mark.parametrize(
    "content", ['{"_type": "mine", "values": [1, 2]}', "import os\n\nprint(os.name)\n", "one line\n"]
)
def test_a_search_refuses_a_file_that_is_no_study_before_any_work(tmp_path, capsys, content):
    file = tmp_path / "file"
    file.write_text(content)
    command = (
        "plan",
        "resnet8",
        "--data",
        tmp_path / "none",
        "--max-cycles",
        "50%",
        "--search",
        "nsga2",
        "--study",
        file,
    )
    assert "is not a study" in refuse(capsys, *command)
    assert file.read_text() == content
    assert list(tmp_path.iterdir()) == [file]
