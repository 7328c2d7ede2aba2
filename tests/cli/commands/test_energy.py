"""`rankfold energy` and the energy that `rankfold map` shows."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
from pathlib import Path

import pytest

from rankfold.cli.main import main
from rankfold.cli.words.energy import comparison_in_words
from rankfold.cost.energy import SHARES, Comparison, dense_plan, load_table, network_energy, table_text
from rankfold.mapping import ArraySpec
from rankfold.models.pretrained import shipped
from rankfold.plan import uniform_plan
from rankfold.workload import zoo_network

PLAN = Path(__file__).parents[3] / "results" / "cifar10-resnet20" / "mixed" / "plan.json"


def printed(capsys, *arguments):
    assert main([str(argument) for argument in arguments]) == 0
    return capsys.readouterr().out


def test_json_csv_and_table_say_the_same(capsys):
    arguments = ("energy", "resnet20", "--groups", "4", "--rank", "1/8", "--bits", "4", "--array", "64x64")
    content = json.loads(printed(capsys, *arguments, "--json"))
    rows = list(csv.DictReader(io.StringIO(printed(capsys, *arguments, "--csv"))))
    text = printed(capsys, *arguments)
    total = content["total"]
    assert total["energy_pj"] == pytest.approx(sum(total["components_pj"].values()))
    assert total["energy_pj"] == pytest.approx(sum(layer["energy_pj"] for layer in content["layers"]))
    assert total["energy_pj"] == pytest.approx(sum(float(row["energy_pj"]) for row in rows), rel=1e-4)
    assert 1e6 * total["area_mm2"] == pytest.approx(sum(float(row["area_um2"]) for row in rows), rel=1e-4)
    assert total["conversions"] == sum(layer["conversions"] for layer in content["layers"])
    assert len(content["layers"][1]["stages"]) == 2
    assert f"energy {total['energy_pj'] / 1e3:,.1f} nJ per image" in text
    assert f"{total['conversions']:,} ADC conversions" in text
    assert "ADC: derived: 2^b - 1 sense amplifiers" in text
    assert "less where ADCs take 30% to 80%" in text
    assert f"{total['utilisation']:.1%} of their cells at work" in text
    assert content["assumed"] == ["2-bit cells, differential coding, differences converted", "1-bit DACs"]


def test_shipped_weights_are_a_run(capsys):
    """Their folder says what their plan is, and what they keep on arrays."""
    name = "resnet20-cifar10-4bit"
    by_name = json.loads(printed(capsys, "energy", name, "--json"))
    assert by_name == json.loads(printed(capsys, "energy", shipped(name).folder, "--json"))
    assert by_name["accuracy_on_arrays"]["accuracy"] == 0.909
    assert json.loads(printed(capsys, "map", name, "--json"))["energy"]["total"] == by_name["total"]
    for command in ("map", "energy"):
        for model, kept, of in ((name, "0.909", "accuracy"), ("resnet8", "not simulated", "")):
            rows = list(csv.DictReader(io.StringIO(printed(capsys, command, model, "--csv"))))
            assert {row["accuracy_on_arrays"] for row in rows} == {kept}
            assert {row["measured"] for row in rows} == {of}
    assert printed(capsys, "map", name, "--arrays", "400").count("accuracy on these arrays: 90.9%") == 2


def test_map_shows_the_totals_of_energy(capsys):
    arguments = ("resnet20", "--groups", "4", "--rank", "1/8", "--bits", "4")
    mapped = json.loads(printed(capsys, "map", *arguments, "--json"))
    priced = json.loads(printed(capsys, "energy", *arguments, "--json"))
    assert mapped["energy"]["total"] == priced["total"]
    assert mapped["total"]["conversions"]["im2col"] == 745_472
    assert mapped["total"]["planned_conversions"] == sum(
        layer["planned_conversions"] for layer in mapped["layers"]
    )
    rows = list(csv.DictReader(io.StringIO(printed(capsys, "map", *arguments, "--csv"))))
    assert sum(float(row["energy_pj"]) for row in rows) == pytest.approx(
        priced["total"]["energy_pj"], rel=1e-4
    )
    assert sum(int(row["array_conversions"]) for row in rows) == priced["total"]["conversions"]
    text = printed(capsys, "map", *arguments)
    assert "ADC conversions" in text
    assert "with rram-22nm, 5-bit flash ADC" in text


def test_map_goes_on_where_no_weight_fits(capsys):
    """An array too narrow for a weight spread over cells still has cycles; its energy is an error."""
    assert "energy not counted: array columns (=3) do not hold one weight" in printed(
        capsys, "map", "resnet20", "--array", "3x3"
    )
    content = json.loads(printed(capsys, "map", "resnet20", "--array", "3x3", "--json"))
    assert "do not hold one weight" in content["energy"]["not_counted"]
    assert main(["map", "resnet20", "--array", "3x3", "--technology", "sram-22nm"]) == 2


def test_a_plan_on_its_array_and_on_others(capsys):
    own = json.loads(printed(capsys, "energy", "resnet20", "--plan", PLAN, "--json"))
    assert (own["array"]["rows"], own["array"]["columns"]) == (64, 64)
    assert 0 < own["against_dense_im2col"]["saving"] < 1
    low, high = own["against_dense_im2col"]["band"]
    assert low <= high
    other = json.loads(
        printed(
            capsys, "energy", "resnet20", "--plan", PLAN, "--array", "128x64", "--cell-bits", "1", "--json"
        )
    )
    assert (other["array"]["rows"], other["array"]["columns"], other["array"]["cell_bits"]) == (128, 64, 1)
    assert other["assumed"] == ["1-bit DACs"]


def test_a_table_is_printed_to_be_copied(capsys, tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text(
        printed(capsys, "energy", "--show-table", "sram-32nm").replace("name: sram-32nm", "name: mine")
    )
    text = printed(capsys, "energy", "resnet8", "--technology", file)
    assert file.read_text().replace("name: mine", "name: sram-32nm") == table_text("sram-32nm")
    assert "with mine, 5-bit flash ADC" in text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "name a model, such as resnet20; or --show-table rram-22nm"),
        (["resnet20", "--technology", "pcm"], "technology (=pcm) must be one of rram-22nm"),
        (["resnet20", "--technology", "none.yaml"], "none.yaml: No such file or directory"),
        (
            ["resnet20", "--adc", "ramp"],
            "adc (=ramp) must be one of flash, sar, zigzag, which rram-22nm describes",
        ),
        (["resnet20", "--adc-bits", "0"], "adc bits (=0) must be a whole number from 1 to 16"),
        (
            ["resnet20", "--technology", "sram-22nm", "--cell-bits", "2", "--bits", "4"],
            "store at most 1; lower --cell-bits",
        ),
        (["resnet20", "--array", "64x4"], "array columns (=4) do not hold one weight of 8 bits"),
        (["resnet20", "--plan", str(PLAN), "--rank", "1/8"], "omit --rank, or edit"),
        (
            ["resnet20", "--cheapest", "--method", "sdk"],
            "--cheapest chooses the mappings itself; omit --mapping sdk",
        ),
        (["resnet8", "--plan", str(PLAN)], "the plan is for another network"),
        (["resnet20", "--show-table", "mine"], "technology (=mine) must be one of"),
        (
            ["--show-table", "zigzag"],
            "zigzag has no table to copy: zigzag-dse computes its figures for each array",
        ),
    ],
)
def test_wrong_input_is_one_sentence(capsys, arguments, message):
    assert main(["energy", *arguments]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_energy_does_not_import_torch():
    code = """if True:
        import sys
        from rankfold.cli.main import main
        main(["energy", "resnet20"])
        sys.exit("torch" in sys.modules)
    """
    assert subprocess.run([sys.executable, "-c", code], capture_output=True).returncode == 0


def test_the_share_at_which_a_saving_turns():
    """Where both need the same; and a network against itself saves nothing at any share."""
    network = zoo_network("resnet20")
    # Columns enough for windows of several pixels: half as many as differential coding takes.
    array = ArraySpec(64, 64, cell_bits=2, coding="offset", converts="columns")
    plan = uniform_plan(network, array, bits=4, mapping="best")
    table = load_table("rram-22nm")
    dense, best = network_energy(network, dense_plan(plan), table), network_energy(network, plan, table)
    found = Comparison.of(best, dense)
    assert found.saving == pytest.approx(1 - best.energy / dense.energy)
    assert found.flip is not None
    assert found.ratio(found.flip) == pytest.approx(1)
    assert found.band == (1 - found.ratio(SHARES[1]), 1 - found.ratio(SHARES[0]))
    # Dearer conversions, as a table with ten times the comparator energy has them, only move the share.
    dear = table.with_adc(bits=8)
    again = Comparison.of(best.with_table(dear), dense.with_table(dear))
    assert (again.adc, again.share > found.share) == (pytest.approx(found.adc), True)
    assert again.others == pytest.approx(found.others, rel=0.02)  # sums have more bits, which buses carry
    same = Comparison.of(dense, dense)
    assert (same.flip, same.band, same.flip_against(same)) == (None, (0, 0), None)
    crossing = same.flip_against(found)
    assert crossing == pytest.approx(found.flip)


@pytest.mark.parametrize(
    ("adc", "others", "band"),
    [(0.5, 0.4, "52% to 57% less"), (1.2, 0.8, "12% more to 8% less"), (1.2, 1.1, "18% to 13% more")],
)
def test_a_band_in_words(adc, others, band):
    """The ratios at shares of 30 % and 80 %, by hand: 0.43 and 0.48; 0.92 and 1.12; 1.13 and 1.18."""
    assert f"; {band} where ADCs take 30% to 80% of the latter (here 50%)" in comparison_in_words(
        Comparison(adc, others, 0.5)
    )


def test_free_adcs_are_compared_too(capsys, tmp_path):
    file = tmp_path / "free.yaml"
    text = table_text("rram-22nm")
    flash = text.index("formula: (2**adc_bits - 1)")
    file.write_text(text[:flash] + "formula: 0 *" + text[flash + len("formula:") :])
    content = json.loads(
        printed(capsys, "energy", "resnet8", "--rank", "1/4", "--technology", file, "--json")
    )
    assert content["total"]["components_pj"]["adc"] == 0
    found = content["against_dense_im2col"]
    assert (found["share"], found["saving"]) == (0, pytest.approx(1 - found["others"]))
    assert found["adc"] != 1
