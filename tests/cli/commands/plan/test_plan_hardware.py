"""`rankfold plan`: what its plans keep of the hardware, and later commands count on."""

import contextlib
import io
import json

import pytest

from rankfold.cli.main import main
from rankfold.cost.energy import table_text
from rankfold.plan import Plan

MODEL = "common.small_network:net"


def priced(network, plan, *options):
    """What `rankfold energy` prints of a plan."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        assert main(["energy", network, "--plan", str(plan), "--json", *options]) == 0
    content = json.loads(printed.getvalue())
    return {name: content[name] for name in content if name != "command"}


@pytest.mark.parametrize("way", ["losses", "--allocation", "--mappings-only"])
def test_plans_keep_hardware_of_single_options(way, weights, tmp_path):
    out = tmp_path / "plan.json"
    ways = {
        "losses": ["--max-energy", "70%", "--kinds", "low-rank", "--images", 64],
        "--allocation": ["--allocation", "alds", "--max-cycles", "60%"],
        "--mappings-only": ["--mappings-only", "--budget", "arrays=400"],
    }
    if way == "--mappings-only":
        command = ["plan", "resnet20", "--array", "32x32"]
    else:
        command = ["plan", MODEL, "--data", "digits", "--array", "32x32", "--checkpoint", weights]
    command += [*ways[way], "--out", out]
    assert main([*map(str, command)]) == 0
    assert Plan.load(out).hardware is None  # the default needs no words
    assert main([*map(str, command), "--technology", "sram-22nm", "--mux", "4"]) == 0
    kept = Plan.load(out).machine
    assert (kept.technology, kept.mux, kept.array.rows) == ("sram-22nm", 4, 32)
    # Later commands price it so, without being told again.
    network = "resnet20" if way == "--mappings-only" else MODEL
    assert priced(network, out) == priced(network, out, "--technology", "sram-22nm", "--mux", "4")
    assert priced(network, out) != priced(network, out, "--technology", "rram-22nm")


def test_plans_keep_what_is_priced_and_no_more(tmp_path, monkeypatch):
    out = tmp_path / "plan.json"
    command = ["plan", "resnet20", "--uniform", "--out", str(out)]

    def kept(*options):
        assert main([*command, *options]) == 0
        return Plan.load(out).machine

    # A simulation would read sums of whole weights with them, of which no energy is.
    assert kept("--adc-bits", "6").adc_bits is None
    assert kept("--adc-bits", "6", "--cell-bits", "2").adc_bits == 6
    # A table of one's own is found from everywhere.
    (tmp_path / "mine.yaml").write_text(table_text("sram-32nm"))
    monkeypatch.chdir(tmp_path)
    assert kept("--technology", "mine.yaml").technology == str(tmp_path / "mine.yaml")
    monkeypatch.chdir(tmp_path.parent)
    assert priced("resnet20", out)["total"] == priced("resnet20", out, "--technology", "sram-32nm")["total"]


def test_options_do_without_converters_of_the_plan_that_do_not_suit(tmp_path):
    out = tmp_path / "plan.json"
    wide = ["--adc", "sar", "--mux", "64", "--array", "64x64"]
    assert main(["plan", "resnet20", "--uniform", *wide, "--out", str(out)]) == 0
    assert Plan.load(out).machine.mux == 64
    assert priced("resnet20", out)["adc"]["kind"] == "sar"
    # Another technology has ADCs of its own, and a smaller array not so many columns.
    other = priced("resnet20", out, "--technology", "rram-32nm")
    assert other["adc"] == priced("resnet20", out, "--technology", "rram-32nm", "--adc", "flash")["adc"]
    assert priced("resnet20", out, "--array", "32x32")["adc"]["kind"] == "sar"
