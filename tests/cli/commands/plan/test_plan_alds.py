"""`rankfold plan --allocation alds`: what it prints, writes and refuses."""

import json

import pytest
from safetensors.torch import save_file

from common.small_network import net
from rankfold.cli.main import main
from rankfold.plan import Plan


@pytest.fixture
def weights(tmp_path_factory):
    """A file of weights, which need not be trained ones: the allocation looks at nothing else."""
    path = tmp_path_factory.mktemp("weights") / "model.safetensors"
    save_file(net().state_dict(), path)
    return path


def plan(weights, *arguments):
    command = ["plan", "common.small_network:net", "--data", "digits", "--array", "32x32", "--threads", "1"]
    command += ["--checkpoint", str(weights), "--allocation", "alds"]
    return main([*command, *map(str, arguments)])


def test_a_plan_is_written_and_told(weights, tmp_path, capsys):
    out = tmp_path / "plan.json"
    assert plan(weights, "--max-cycles", "80%", "--out", out) == 0
    told = capsys.readouterr().out
    assert f"plan: {out}" in told and "the least of all groups and ranks within the budget" in told
    chosen = Plan.load(out)
    assert chosen.changed
    assert plan(weights, "--max-cycles", "80%", "--out", out, "--json") == 0
    content = json.loads(capsys.readouterr().out)
    assert content["cycles"] <= 0.8 * content["dense_cycles"]
    assert content["largest_error"] == max(content["errors"].values()) < 1
    assert Plan.load(out) == chosen


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "--allocation alds needs a budget of cycles, such as --max-cycles 60%"),
        (["--max-drop", "1"], "--allocation alds knows cycles and weights alone; omit --max-drop"),
        (["--max-cycles", "60%", "--kinds", "support"], "weights alone; omit --kinds"),
        (["--max-cycles", "60%", "--max-latency", "1us"], "weights alone; omit --max-latency"),
        (["--max-cycles", "60%", "--max-interval", "1us"], "weights alone; omit --max-interval"),
        (["--max-cycles", "60%", "--program-noise", "0.03"], "weights alone; omit the noise of arrays"),
        (["--max-cycles", "60%", "--ir-drop", "1e-4", "--hardware", "rram-32nm"], "omit the noise of arrays"),
        (["--max-cycles", "1"], "no groups and ranks need 1 cycles or fewer; the least that any need is"),
    ],
)
def test_what_is_refused(weights, tmp_path, monkeypatch, capsys, arguments, message):
    monkeypatch.chdir(tmp_path)
    assert plan(weights, *arguments) == 2
    assert message in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_one_setting_for_all_layers_has_no_allocation(weights, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    command = ["plan", "resnet8", "--uniform", "--rank", "1/8", "--allocation", "alds", "--array", "32x32"]
    assert main(command) == 2
    assert "omit --allocation" in capsys.readouterr().err
