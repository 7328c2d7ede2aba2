"""`rankfold plan`: budgets are kept, the plan is the best of its candidates, and it can be compressed."""

import ctypes
import itertools
import json
import math
from dataclasses import replace

import pytest
import torch
from safetensors.torch import save_file
from small_network import net
from torch.export import Dim

from rankfold.cli.main import main
from rankfold.cost import network_cycles
from rankfold.cost.energy import load_table, network_energy
from rankfold.errors import InputError
from rankfold.mapping import ArraySpec
from rankfold.models.load import apply_weights, read_weights
from rankfold.plan import Plan
from rankfold.planning.exact import ARRAYS, CYCLES, ENERGY, LOSS, total
from rankfold.planning.exact.budget import Budget
from rankfold.planning.problem import PlanSettings, best_plan, plan_network, planning_problem

MODEL = "small_network:net"


@pytest.fixture(scope="module")
def problem(weights):
    budgets = (Budget(CYCLES, 1.0, True), Budget(ENERGY, 1.0, True), Budget(ARRAYS, 1.0, True))
    return planning_problem(PlanSettings(MODEL, "digits", ArraySpec(32, 32), budgets, checkpoint=weights, device="cpu"))


def with_limits(problem, limits, max_drop=None):
    return replace(problem, budgets=limits, max_drop=max_drop)


def plan(weights, *arguments):
    command = ["plan", MODEL, "--data", "digits", "--checkpoint", str(weights), "--array", "32x32", "--threads", "1"]
    return main([*command, *map(str, arguments)])


def test_costs_of_candidates_are_those_of_their_plans(problem):
    """Every candidate of a layer alone in a dense network: cycles, arrays and energy as `map` and `energy` count them."""
    dense = [layer.dense for layer in problem.choices]
    table = load_table("rram-22nm")
    for number, layer in enumerate(problem.choices):
        for candidate in layer.candidates:
            chosen = [*dense[:number], candidate, *dense[number + 1 :]]
            whole = problem.plan(chosen)
            assert network_cycles(problem.network, whole).chosen_cycles == total(chosen, CYCLES)
            energy = network_energy(problem.network, whole, table)
            assert energy.energy == pytest.approx(total(chosen, ENERGY))
    assert all(candidate.loss == 0 for candidate in dense)


def test_a_plan_is_the_best_of_its_candidates(problem):
    dense = [layer.dense for layer in problem.choices]
    for share in (0.9, 0.7, 0.5):
        limits = {CYCLES: share * total(dense, CYCLES), ARRAYS: 1.2 * total(dense, ARRAYS)}
        found = best_plan(with_limits(problem, limits))
        allowed = [
            total(chosen, LOSS)
            for chosen in itertools.product(*problem.candidates)
            if all(total(chosen, quantity) <= limit for quantity, limit in limits.items())
        ]
        assert found.solution.total(LOSS) == pytest.approx(min(allowed), abs=1e-12)
        assert found.solution.gap == 0
        assert network_cycles(problem.network, found.plan).chosen_cycles <= limits[CYCLES]


def test_the_allowed_drop_is_measured(problem):
    dense = [layer.dense for layer in problem.choices]
    found = best_plan(with_limits(problem, {}, 0.03))
    assert found.drop.amount <= 0.03
    assert found.drop.planned == problem.accuracy(found.plan)
    assert found.solution.total(CYCLES) < total(dense, CYCLES)
    with pytest.raises(InputError, match="no plan within the budgets was found to lose at most 0 points"):
        best_plan(with_limits(problem, {CYCLES: 0.35 * total(dense, CYCLES)}, 0.0))


def test_from_the_command_line(weights, tmp_path, capsys):
    out, front = tmp_path / "plan.json", tmp_path / "front"
    assert plan(weights, "--max-cycles", "60%", "--max-energy", "90%", "--out", out, "--pareto", front) == 0
    told = capsys.readouterr().out
    assert "proven optimal" in told and f"plan: {out}" in told and "first convolution" in told
    assert sorted(file.name for file in front.iterdir()) == ["front.csv", "front.html", "front.svg"]
    chosen = Plan.load(out)
    assert all(layer.reason for layer in chosen.layers)
    run = tmp_path / "run"
    command = ["compress", MODEL, "--data", "digits", "--checkpoint", str(weights), "--plan", str(out), "--epochs", "0"]
    assert main([*command, "--threads", "1", "--out", str(run)]) == 0
    result = json.loads((run / "result.json").read_text())
    capsys.readouterr()
    assert plan(weights, "--max-cycles", "60%", "--max-energy", "90%", "--out", out, "--json") == 0
    content = json.loads(capsys.readouterr().out)["plan"]
    assert content["total"]["planned"]["cycles"] == result["planned_cycles"] <= content["total"]["budgets"]["cycles"]
    assert content["total"]["gap"] == 0
    assert Plan.load(out) == chosen  # the same seed, the same plan


def test_nothing_but_json_on_standard_output(weights, tmp_path, monkeypatch, capfd):
    """The solver prints lines of its own for some problems."""

    def noisy(*arguments):
        ctypes.CDLL(None).printf(b"HighsMipSolverData::transformNewIntegerFeasibleSolution tmpSolver.run();\n")
        return best_plan(*arguments)

    monkeypatch.setattr("rankfold.planning.problem.best_plan", noisy)
    out = tmp_path / "plan.json"
    assert plan(weights, "--max-cycles", "60%", "--images", "32", "--out", out, "--json") == 0
    ctypes.CDLL(None).fflush(None)
    assert json.loads(capfd.readouterr().out)["files"] == [str(out)]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "give a budget (--max-cycles, "),
        (["--max-cycles", "0"], "budget of cycles (=0) must be a positive amount such as 5000 or 40%"),
        (["--max-cycles", "10nJ"], "budget of cycles (=10nJ) must be"),
        (["--max-energy", "10"], "budget of energy (=10) must be a positive amount such as 300nJ or 40%"),
        (["--max-drop", "-1"], "max drop (=-1 points) must be at least 0"),
        (["--max-cycles", "3"], "no plan has at most 3 cycles: the fewest that these layers can reach is "),
        (["--pareto", "front", "--out", "plan.json"], "--out is for one plan, which needs a budget"),
        (["--max-cycles", "50%", "--images", "0"], "images (=0) must be 1 or more"),
        (["--max-cycles", "50%", "--seed", "-1"], "seed (=-1) must be between 0 and 2147483647"),
    ],
)
def test_wrong_arguments(weights, arguments, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert plan(weights, *arguments) == 2
    assert message in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_front_that_fails_leaves_no_plan(weights, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("mine")
    assert plan(weights, "--max-cycles", "60%", "--pareto", "file") == 2
    assert "file is a file; give a folder for the front" in capsys.readouterr().err

    def refuse(*_):
        raise InputError("the front is too large")

    monkeypatch.setattr("rankfold.report.pareto.write.write_front", refuse)
    assert plan(weights, "--max-cycles", "60%", "--images", "32", "--pareto", "front") == 2
    assert "the front is too large" in capsys.readouterr().err
    assert [file.name for file in tmp_path.iterdir()] == ["file"]


def test_of_plans_with_equal_cycles_the_one_of_least_loss_is_measured(problem):
    """The cheapest plan of all has the least loss of those that are as cheap."""
    found = best_plan(with_limits(problem, {}, 0.99))
    fewest = min(total(chosen, CYCLES) for chosen in itertools.product(*problem.candidates))
    as_cheap = [chosen for chosen in itertools.product(*problem.candidates) if total(chosen, CYCLES) == fewest]
    assert found.solution.total(CYCLES) == fewest == found.solution.value
    assert found.solution.total(LOSS) == pytest.approx(min(total(chosen, LOSS) for chosen in as_cheap), abs=1e-12)


def test_an_exported_network_brings_its_weights(weights, tmp_path):
    model, file = net(), tmp_path / "net.pt2"
    apply_weights(model, read_weights(weights), str(weights))
    images = Dim("images", min=1, max=4096)
    torch.export.save(torch.export.export(model.eval(), (torch.zeros(2, 1, 8, 8),), dynamic_shapes=({0: images},)), file)
    asked = PlanSettings(str(file), "digits", budgets=(Budget(CYCLES, 0.7, True),), images=64, device="cpu")
    problem = planning_problem(asked)
    images = torch.randn(3, 1, 8, 8)
    torch.testing.assert_close(problem.model(images), model(images))
    found = best_plan(problem).solution
    assert found.total(CYCLES) <= 0.7 * total([layer.dense for layer in problem.choices], CYCLES)
    assert found.total(LOSS) > 0
    with pytest.raises(InputError, match=r"a plan needs gradients, which net\.onnx does not give; export the network"):
        PlanSettings("net.onnx", "digits")


def test_damaged_weights(weights, tmp_path):
    broken = {name: value.clone() for name, value in read_weights(weights).items()}
    broken["2.weight"][0, 0, 0, 0] = math.nan
    save_file(broken, tmp_path / "model.safetensors")
    budgets = (Budget(CYCLES, 0.7, True),)
    with pytest.raises(InputError, match="outputs on the calibration data are not finite; its weights may be damaged"):
        plan_network(PlanSettings(MODEL, "digits", budgets=budgets, checkpoint=tmp_path / "model.safetensors", device="cpu"))


def test_without_weights_or_budget(image_cache):
    with pytest.raises(InputError, match="a plan needs the trained weights of resnet8"):
        plan_network(PlanSettings("resnet8", "digits", budgets=(Budget(CYCLES, 0.5, True),)))
    with pytest.raises(InputError, match="a plan needs a budget"):
        plan_network(PlanSettings("resnet8", "digits"))
    with pytest.raises(InputError, match="two budgets of cycles"):
        PlanSettings("resnet8", "digits", budgets=(Budget(CYCLES, 0.5, True), Budget(CYCLES, 9)))
