"""`rankfold map`: its tables and JSON, and what it reads."""

import json
import subprocess
import sys

import pytest

from rankfold.cli.arguments.networks import find_network
from rankfold.cli.main import main
from rankfold.mapping import ArraySpec
from rankfold.plan import LayerPlan, Plan, SkippedLayer


def test_map_json_is_stable(capsys):
    assert main(["map", "resnet20", "--array", "64x64", "--groups", "4", "--rank", "1/8", "--json"]) == 0
    content = json.loads(capsys.readouterr().out)
    assert content["model"] == "resnet20"
    assert content["array"] == [64, 64]
    assert len(content["layers"]) == 19
    first, second = content["layers"][:2]
    promised = (
        "name in_channels out_channels kernel stride padding input macs cycles window tiles utilisation"
    )
    assert set(promised.split()) <= set(first)
    assert first["kernel"] == [3, 3]
    assert first["input"] == [32, 32]
    assert first["macs"] == 32 * 32 * 16 * 27
    assert {"im2col", "sdk", "vw-sdk", "low-rank-im2col", "low-rank-sdk"} <= set(first["cycles"])
    assert first["cycles"]["low-rank-sdk"] == first["cycles"]["sdk"]
    assert second["low_rank"]["rank"] == 2
    for key, total in content["total"]["cycles"].items():
        assert total == sum(layer["cycles"][key] for layer in content["layers"])
    assert content["total"]["cycles"]["im2col"] == 29824
    assert content["total"]["parameters"] == sum(layer["parameters"] for layer in content["layers"])


def test_map_shows_every_layer_and_compares(capsys):
    assert main(["map", "resnet20", "--method", "vw-sdk"]) == 0
    table = capsys.readouterr().out
    assert table.count("layer") > 18
    assert "14,592" in table
    assert main(["map", "wrn16-4", "--compare", "--array", "128x128"]) == 0
    assert "layer1.0.shortcut" in capsys.readouterr().out
    assert main(["map", "resnet8", "--csv"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith(
        "name,in_channels,out_channels,kernel,input,stride,padding,dilation,groups,macs,im2col,sdk"
    )
    assert len(lines) == 8


def test_map_counts_the_weights_that_are_stored(tmp_path, capsys):
    """Utilisation, bound and multiply-accumulates are of what runs; those of the dense network beside."""
    plan = tmp_path / "plan.json"
    setting = ["--method", "window", "--row-tiles", "1", "--array", "64x64", "--bits", "float"]
    assert main(["plan", "resnet8", "--uniform", *setting, "--out", str(plan)]) == 0
    capsys.readouterr()
    assert main(["map", "resnet8", "--plan", str(plan), "--json"]) == 0
    content = json.loads(capsys.readouterr().out)
    total = content["total"]
    macs = round(total["utilisation"] * 64 * 64 * total["planned_cycles"])
    # One tile of weights, each of them used, for every window of the window layers.
    tiles = [layer for layer in content["layers"] if "window_layer" in layer]
    assert len(tiles) > 3
    for layer in tiles:
        assert layer["utilisation"] == 1 and layer["macs"] > 64 * 64 * layer["lower_bound"]
    assert main(["map", "resnet8", "--plan", str(plan)]) == 0
    summary = f"{macs:,} multiply-accumulates ({total['macs']:,} of the dense network)"
    assert summary in capsys.readouterr().out


def test_map_json_says_where_every_cycle_is(capsys):
    """The regions of the chosen mapping add up to its cycles; every method is a key; the bound is below all
    of them.
    """
    assert main(["map", "resnet18", "--array", "512x512", "--method", "best", "--json"]) == 0
    content = json.loads(capsys.readouterr().out)
    assert set(content["total"]["cycles"]) == {"im2col", "sdk", "vw-sdk", "tetris-sdk", "best"}
    for layer in content["layers"]:
        assert (
            sum(region["cycles"] for region in layer["regions"])
            == layer["cycles"]["best"]
            >= layer["lower_bound"]
        )
        assert layer["array_cycles"] is None
    assert max(len(layer["regions"]) for layer in content["layers"]) > 1
    assert content["total"]["lower_bound"] == sum(layer["lower_bound"] for layer in content["layers"])


def test_map_counts_as_tables_without_padding_do(capsys, tmp_path):
    """The first layer of VGG-13 in Rhe et al. (2022): a 224x224 plane without padding, 512x512 array."""
    table = tmp_path / "vgg13.csv"
    table.write_text("name,in_channels,out_channels,kernel,input,padding\nconv1,3,64,3,224,1\n")
    found = {}
    for arguments in ([], ["--padding", "0"]):
        assert main(["map", str(table), "--array", "512x512", "--json", *arguments]) == 0
        found[len(arguments)] = json.loads(capsys.readouterr().out)["total"]["cycles"]["im2col"]
    assert found == {0: 224 * 224, 2: 49284}


def test_map_counts_real_array_cycles(capsys):
    """By hand: a 4-bit weight in 1-bit cells takes 3 columns of 64 for a positive magnitude, and 3 for a
    negative one; 4-bit inputs, 4 cycles each.
    """
    precision = ["--bits", "4", "--cell-bits", "1", "--dac-bits", "1"]
    assert main(["map", "resnet20", "--method", "im2col", *precision, "--json"]) == 0
    content = json.loads(capsys.readouterr().out)
    layer = next(layer for layer in content["layers"] if layer["name"] == "layer3.1.conv1")
    assert layer["cycles"]["im2col"] == 64 * 9
    assert (
        layer["array_cycles"] == 64 * 9 * 7 * 4
    )  # 64 channels in 10 weights a row of columns: 7 column tiles
    assert content["total"]["array_cycles"] == sum(layer["array_cycles"] for layer in content["layers"])
    assert main(["map", "resnet20", *precision]) == 0
    assert (
        "array cycles with 1-bit cells, differential coding, differences converted and 1-bit DACs"
        in capsys.readouterr().out
    )
    # No sign is known of a network that no data was seen of: every input counts as one of either sign.
    precision += ["--input-coding", "differential"]
    assert main(["map", "resnet20", *precision]) == 0
    assert "and 1-bit DACs, differential inputs: " in capsys.readouterr().out
    assert main(["map", "resnet20", "--method", "im2col", *precision, "--json"]) == 0
    content = json.loads(capsys.readouterr().out)
    layer = next(layer for layer in content["layers"] if layer["name"] == "layer3.1.conv1")
    assert layer["array_cycles"] == 64 * 9 * 7 * 6  # two passes of three bits


OFFSET = ["--bits", "4", "--cell-bits", "2", "--coding", "offset", "--dac-bits", "1"]


def test_map_runs_a_chip(capsys):
    arguments = ["map", "resnet20", "--array", "128x128", "--method", "im2col", *OFFSET]
    found = {}
    for arrays in ("1", "80", "500"):
        assert main([*arguments, "--arrays", arrays, "--json"]) == 0
        content = json.loads(capsys.readouterr().out)
        found[content["chip"]["case"]] = content["chip"]
        assert (
            content["chip"]["arrays_needed_at_least"]
            <= content["chip"]["arrays_needed"]
            <= content["chip"]["tiles"]
        )
    assert set(found) == {"rewrite", "shared", "copies"}
    # Tiles are those that energy counts, and one array does all that its arrays do, beside being written.
    total = content["energy"]["total"]
    assert {chip["tiles"] for chip in found.values()} == {total["arrays"]}
    alone = found["rewrite"]["rewriting"]
    cycle = found["rewrite"]["cycle_us"]
    assert alone["latency_us"] - alone["writing_us"] == pytest.approx(total["reads"] * cycle)
    assert alone["writing_pj"] > total["energy_pj"]
    assert found["copies"]["interval"] < found["shared"]["interval"]
    for arrays, words in (("1", "too small"), ("80", "take turns"), ("500", "spare arrays hold copies")):
        assert main([*arguments, "--arrays", arrays]) == 0
        assert words in capsys.readouterr().out


def test_map_keeps_within_arrays(capsys):
    network = ["map", "resnet20", *OFFSET]
    assert main([*network, "--max-arrays", "300", "--json"]) == 0
    chosen = json.loads(capsys.readouterr().out)["on_arrays"]["planned"]
    assert main([*network, "--method", "im2col", "--json"]) == 0
    plain = json.loads(capsys.readouterr().out)["on_arrays"]["planned"]
    assert plain["arrays"] <= chosen["arrays"] <= 300
    assert chosen["array_cycles"] < plain["array_cycles"]
    assert main([*network, "--max-arrays", "200"]) == 2
    assert "no plan has at most 200 arrays: the fewest that these layers can reach is 226 arrays" in (
        capsys.readouterr().err
    )
    assert main([*network, "--max-arrays", "300", "--method", "best"]) == 2
    assert "--max-arrays chooses the mappings itself; omit --mapping best" in capsys.readouterr().err


def test_map_says_that_fewer_arrays_are_faster(capsys):
    arguments = ["map", "resnet50", "--array", "256x256", "--input", "3x112x112", *OFFSET]
    assert main([*arguments, "--method", "best"]) == 0
    assert "note: vw-sdk needs " in capsys.readouterr().out
    assert main([*arguments, "--method", "vw-sdk"]) == 0
    assert "note: " not in capsys.readouterr().out


def test_map_reads_tables_and_factories(capsys, tmp_path, monkeypatch):
    table = tmp_path / "net.csv"
    table.write_text(
        "name,in_channels,out_channels,kernel,input,padding\na,3,16,3,34,0\nb,16,16,3x3,34x34,1x2\n"
    )
    assert main(["map", str(table), "--json"]) == 0
    layers = json.loads(capsys.readouterr().out)["layers"]
    assert [layer["padding"] for layer in layers] == [[0, 0, 0, 0], [1, 1, 2, 2]]
    (tmp_path / "net.yaml").write_text(
        "- {name: a, in_channels: 3, out_channels: 16, kernel: [3, 5], input: 34}\n"
    )
    assert main(["map", str(tmp_path / "net.yaml"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["layers"][0]["kernel"] == [3, 5]
    factory = "from torch import nn\ndef make(): return nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU())\n"
    (tmp_path / "factory_of_net.py").write_text(factory)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    assert main(["map", "factory_of_net:make", "--input", "1x8x9", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["layers"][0]["input"] == [8, 9]


def test_map_does_not_import_torch():
    code = "import sys; from rankfold.cli.main import main; main(['map', 'resnet20', '--rank', '1/8'])"
    code += "; import rankfold; assert 'torch' not in sys.modules and 'matplotlib' not in sys.modules"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""


def test_csv_has_no_room_for_all_mappings(capsys):
    for more in (["--arrays", "100"], ["--coverage"]):
        assert main(["map", "resnet8", "--csv", *more]) == 2
        assert f"--csv has the layers alone; omit {more[0]}" in capsys.readouterr().err
    assert main(["map", "resnet8", "--csv", "--compare"]) == 2
    assert "--csv has one mapping of each layer; omit --compare" in capsys.readouterr().err


def test_a_network_of_which_nothing_is_stored_is_mapped(capsys, tmp_path):
    table, path = tmp_path / "net.csv", tmp_path / "plan.json"
    table.write_text("name,in_channels,out_channels,kernel,input\na,3,16,3,34\nb,16,16,3,32\n")
    network = find_network(str(table), None)
    layers = tuple(LayerPlan(shape.name, SkippedLayer()) for shape in network.layers)
    Plan(network.name, network.input, ArraySpec(64, 64), layers).save(path)
    assert main(["map", str(table), "--plan", str(path)]) == 0
    assert "nothing is stored" in capsys.readouterr().out
    assert main(["energy", str(table), "--plan", str(path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["total"]["energy_pj"] == 0
    assert main(["map", str(table), "--plan", str(path), "--arrays", "100"]) == 2
    assert "the plan leaves no layer on arrays" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "counted"),
    [((), "convolutions"), (("--linear",), "convolutions and fully connected layers")],
)
def test_what_is_summed_is_said(capsys, arguments, counted):
    assert main(["map", "resnet8", *arguments]) == 0
    assert f"cycles per image (array activations of all {counted})" in capsys.readouterr().out
