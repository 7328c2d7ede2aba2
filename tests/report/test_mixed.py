"""One page of runs, plans, chips and simulations: what the table says is what their files say."""

import json
import re
from dataclasses import replace

import pytest

from common.reader import Page
from common.report_samples import run
from rankfold.chip.best import run_on_chip
from rankfold.chip.study import ChipStudy
from rankfold.cli.main import main
from rankfold.cli.words.chip_run import chip_run_to_json
from rankfold.machine import NonIdealities, load_chip
from rankfold.mapping import ArraySpec
from rankfold.plan import LowRank, uniform_plan
from rankfold.report.chip_page.floor import Floor, floor_from_json
from rankfold.report.chip_page.floor_plan import floor_plan
from rankfold.report.mixed.chips import chip_result, chip_section
from rankfold.report.mixed.page import render_mixed
from rankfold.report.mixed.plans import PlannedNetwork, plan_costs
from rankfold.runs.robustness import Point, write_points
from rankfold.runs.simulation import LayerErrors, Simulation
from rankfold.workload import zoo_network

HOSTILE = "</title><script>alert(1)</script>"


def small_plan():
    return uniform_plan(zoo_network("resnet8"), ArraySpec(64, 64), LowRank(groups=2, rank="1/4"), bits=4)


def simulated(images=100):
    layer = LayerErrors(
        name="conv1", activations=9, snr=None, own_snr=None, clipped=None, blame=0.25, alone=0.8
    )
    return Simulation(
        ideal=0.9,
        accuracies=(0.7, 0.8),
        layers=(layer,),
        layer_ideal=0.9,
        images=images,
        layer_images=50,
        array="64x64, whole weights, whole inputs",
        hardware=small_plan().machine,
        digital=(),
        saturated={},
        chosen=NonIdealities(),
        data="abc",
        seed=0,
        device="cpu",
        version="0.2.0",
    )


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A file of each sort, by what it is."""
    folder = tmp_path_factory.mktemp("things")
    small_plan().save(folder / "plan-a.json")
    plan = uniform_plan(zoo_network("resnet8"), load_chip("rram-22nm").hardware.array, bits=4)
    on_chip = run_on_chip(zoo_network("resnet8"), plan, load_chip("rram-22nm"), None)
    (folder / "chip-a.json").write_text(json.dumps(chip_run_to_json(on_chip, None)))
    content = json.loads(json.dumps(simulated().to_json()))
    (folder / "simulation-a.json").write_text(
        json.dumps({"_type": "rankfold.simulation", "_version": 1, "simulation": content})
    )
    (folder / "printed.json").write_text(json.dumps(content))
    points = [
        Point(
            run="a", varied="adc_bits", value=bits, ideal=0.9, mean=mean, deviation=None, chips=1, images=9,
            hardware="default",
        )
        for bits, mean in ((4, 0.5), (6, 0.85))
    ]  # fmt: skip
    write_points(folder / "sweep.csv", points)
    return {path.stem: path for path in folder.iterdir()}


ODD_SWEEP = (
    "run,varied,value,ideal,mean,deviation,chips,images,measured,hardware\n"
    "a,adc_bits,4,0.9,0.5,,1,9,luck,default\n"
)


def test_everything_stands_side_by_side(files, tmp_path, capsys):
    out = tmp_path / "page.html"
    assert main(["report", *map(str, files.values()), "--out", str(out)]) == 0
    assert f"report: {out}" in capsys.readouterr().out
    page = Page(out.read_text(encoding="utf-8"))
    rows = {row[0]: dict(zip(page.tables[0][0], row, strict=True)) for row in page.tables[0][1:]}
    costs = plan_costs(zoo_network("resnet8"), small_plan())
    assert rows["plan-a"]["cycles per image"] == f"{costs.cycles.chosen_cycles:,}"
    assert rows["plan-a"]["energy, nJ"] == f"{1e-3 * costs.energy.energy:,.0f}"
    chip = json.loads(files["chip-a"].read_text())
    assert rows["chip-a"]["latency, µs"] == f"{chip['latency_us']:,.1f}"
    assert rows["chip-a"]["accuracy on arrays"] == "not simulated"
    for name in ("simulation-a", "printed"):
        assert rows[name]["accuracy on arrays"] == "75.0 %"
        assert rows[name]["accuracy"] == "90.0 %"
    assert rows["sweep, a"]["accuracy on arrays"] == "50.0 % to 85.0 %"
    ids = [value for _, name, value in page.attributes if name == "id"]
    assert len(ids) == len(set(ids))


def test_a_chip_is_drawn_as_its_own_page_draws_it(files):
    """The floor plan of what was printed is that of the run, for meshes and buses."""
    for name, arrays in (("rram-22nm", 656), ("sram-22nm", 213)):
        described = load_chip(name)
        plan = uniform_plan(zoo_network("resnet8"), described.hardware.array, bits=4)
        found = ChipStudy(zoo_network("resnet8"), plan, described).staying(arrays)
        printed = json.loads(json.dumps(chip_run_to_json(found, None)))
        assert len(json.dumps(printed["floor"])) < 20_000
        again = floor_from_json(printed)
        drawn = floor_plan(Floor.of(found, found.pipeline))
        assert drawn is not None and floor_plan(again) == drawn
        section = chip_section(chip_result(files["chip-a"], printed, "a"))
        title, chart = section.charts[0]
        assert title == "Floor plan" and replace(chart, table=None) == drawn
        assert len(chart.table.rows) == len(again.there.cores)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda floor: floor["held"][0].update(core=10**5), "it names core 100000 of"),
        (lambda floor: floor["held"][0].update(layers=[[99, 1]]), "holds layer 99 of"),
        (lambda floor: floor["held"][0].update(layers=[[0, 999]]), "holds more arrays than it has"),
        (lambda floor: floor["links"].append({"from": 0, "to": 0, "bits": 1}), "which are no neighbours"),
        (lambda floor: floor["links"].append({"bits": 1}), "'from' is a required property"),
        (lambda floor: floor.update(held=[]), "held"),
    ],
)
def test_a_floor_that_cannot_be_is_refused(files, tmp_path, capsys, change, complaint):
    content = json.loads(files["chip-a"].read_text())
    change(content["floor"])
    path = tmp_path / "chip.json"
    path.write_text(json.dumps(content))
    assert main(["report", str(path), "--out", str(tmp_path / "page.html")]) == 2
    told = capsys.readouterr().err
    assert complaint in told and f"{path} is not what rankfold chip --json prints" in told
    assert not (tmp_path / "page.html").exists()


def test_runs_that_cannot_be_compared_have_sections_of_their_own(undrawn):
    """Those that can share one; ids of all are apart."""
    things = [run(), run(side=128, label="other array"), run(groups=1, label="plain")]
    source = render_mixed(things)
    page = Page(source)
    headings = re.findall(r"<h2[^>]*>(.*?)</h2>", source)
    assert headings == ["Side by side", "group low-rank, plain", "other array"]
    assert [row[0] for row in page.tables[0][1:]] == ["group low-rank", "other array", "plain"]
    # Contents lead to each.
    assert [value for _, name, value in page.attributes if name == "href"] == [
        "#content",
        "#section-1",
        "#section-2",
        "#section-3",
    ]


def test_a_plan_that_cannot_be_counted_says_why():
    page = render_mixed([PlannedNetwork(HOSTILE, small_plan(), None, "nobody knows its network")])
    assert "What it costs is not counted: nobody knows its network." in page
    assert HOSTILE not in page
    assert Page(page).tables[0][1][0] == HOSTILE


@pytest.mark.parametrize(
    ("name", "content", "complaint"),
    [
        ("a.json", "[]", "is no plan, no result of rankfold chip --json"),
        (
            "a.json",
            '{"network": "a", "chip": "b", "interval_us": 1}',
            "is not what rankfold chip --json prints",
        ),
        ("a.json", '{"_type": "rankfold.simulation"}', "is a simulation of another version"),
        (
            "a.json",
            '{"_type": "rankfold.simulation", "_version": 1}',
            "is an unfinished simulation; simulate to its end first",
        ),
        ("a.json", '{"ideal": 2, "accuracies": [], "chosen": {}}', "is not what rankfold simulate writes"),
        ("a.csv", "run,varied\na,b\n", "is no table of rankfold robustness"),
        ("a.csv", "run,varied\n", "it has no row"),
        ("a.csv", ODD_SWEEP, r"what was measured (=luck) must be accuracy or agreement"),
        ("a.txt", "", "a.txt is nothing that a report shows"),
    ],
)
def test_one_sentence_for_what_is_none_of_these(name, content, complaint, tmp_path, capsys):
    (tmp_path / name).write_text(content)
    out = tmp_path / "page.html"
    assert main(["report", str(tmp_path / name), "--out", str(out)]) == 2
    assert complaint in capsys.readouterr().err
    assert not out.exists()


def test_the_same_thing_twice_is_refused(files, tmp_path, capsys):
    twice = [str(files["sweep"]), str(files["sweep"])]
    assert main(["report", *twice, "--out", str(tmp_path / "a.html")]) == 2
    assert "sweep.csv is given twice; give it once" in capsys.readouterr().err


def test_an_agreement_is_called_so(files, tmp_path):
    """Of images without labels, in simulations, sweeps and results of chips."""
    sweep = files["sweep"].read_text().replace(",accuracy,", ",agreement,")
    (tmp_path / "sweep.csv").write_text(sweep)
    chip = json.loads(files["chip-a"].read_text())
    kept = {"accuracy": 0.9, "ideal": 1.0, "images": 10, "seed": 0, "measured": "agreement"}
    (tmp_path / "chip.json").write_text(json.dumps({**chip, "accuracy_on_arrays": kept}))
    content = {**json.loads(files["printed"].read_text()), "measured": "agreement"}
    (tmp_path / "simulation.json").write_text(json.dumps(content))
    things = [str(tmp_path / name) for name in ("sweep.csv", "chip.json", "simulation.json")]
    assert main(["report", *things, "--out", str(tmp_path / "page.html")]) == 0
    page = Page((tmp_path / "page.html").read_text(encoding="utf-8"))
    kept_by = [
        dict(zip(page.tables[0][0], row, strict=True))["accuracy on arrays"] for row in page.tables[0][1:]
    ]
    assert kept_by == ["50.0 % to 85.0 % agreement", "90.0 % agreement", "75.0 % agreement"]
    assert "agreement on these arrays" in page.text and "agreement on arrays, %" in page.text


def test_a_picture_needs_runs(files, tmp_path, capsys):
    command = ["report", str(files["sweep"]), "--out", str(tmp_path / "a.html"), "--picture", "a.svg"]
    assert main(command) == 2
    assert "--picture shows runs" in capsys.readouterr().err
