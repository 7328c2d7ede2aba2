"""The page holds the numbers of its runs, and loads nothing."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import cache

import matplotlib
import pytest

from common.reader import Page
from common.report_samples import BASELINE, history, run, three
from rankfold.cost.energy import ArrayAccuracy
from rankfold.errors import InputError
from rankfold.report import write_report
from rankfold.report.charts.energy import energy_chart, grouped
from rankfold.report.run_page.comparison import comparison
from rankfold.report.run_page.notes import energy_notes
from rankfold.report.run_page.on_arrays import HEADERS
from rankfold.report.run_page.page import render_report
from rankfold.report.runs import Run, float_baseline
from rankfold.report.summary import summary_table
from rankfold.runs.result import Accuracies

DENSE = ("best", "im2col")  # mappings that cards compare with


RUNS: dict[str, Callable[[], tuple[Run, ...]]] = {
    "one": lambda: (run(),),
    "three": three,
    "55 layers": lambda: (run("resnet56"),),
}


@cache
def drawn(runs: str) -> str:
    """The page of these runs, for all tests that only look at it."""
    return render_report(RUNS[runs]())


def one() -> Page:
    return Page(drawn("one"))


def compared() -> Page:
    return Page(drawn("three"))


def test_headline_of_one_run():
    page = one()
    result = run().result
    ratio, plain = (result.cycles[key] / result.planned_cycles for key in ("best", "im2col"))
    saved = 1 - result.parameters_after / result.parameters_before
    assert page.headline == (
        f"resnet20 on cifar10: 90.9 % at 4 bits, {ratio:.1f}× fewer cycles than the dense network under its "
        f"best mapping (under im2col: {plain:.1f}× fewer cycles) on 64×64 arrays, "
        f"{100 * saved:.0f} % fewer parameters"
    )


def test_cards_of_one_run():
    result = run().result
    cards = one().cards
    assert [card.split()[0] for card in cards] == [
        "90.91",
        "−0.96",
        f"{result.planned_cycles:,}",
        *(f"{result.cycles[key]:,}" for key in DENSE),
        "not",
        f"{1e-3 * result.energy.energy:,.0f}",
        f"{result.energy.arrays:,}",
        f"{result.energy.area:.2f}",
        f"{result.energy.latency:,.0f}",
        f"{int(1e6 / result.energy.interval):,}",
        f"{100 * result.utilisation:.1f}",
        f"{result.parameters_after:,}",
    ]
    assert "91.87 % before" in cards[0]
    assert f"{result.cycles['best'] / result.planned_cycles:.2f}× those of the plan" in cards[3]
    assert cards[5].startswith("not simulated")
    assert f"{result.parameters_before:,} before" in cards[-1]


def test_table_of_layers_has_every_layer_and_the_totals():
    result = run().result
    (table,) = [table for table in one().tables if "what was done, and why" in table[1]]
    head, body, foot = table[1], table[2:-1], table[-1]
    assert head[0] == "layer" and len(body) == len(result.layers) == 20
    for cells, layer in zip(body, result.layers, strict=True):
        found = dict(zip(head, cells, strict=True))
        assert found["layer"] == layer.name
        assert (
            layer.kind in found["what was done, and why"] and layer.reason in found["what was done, and why"]
        )
        assert found["planned"] == ("–" if layer.planned_cycles is None else f"{layer.planned_cycles:,}")
        assert found["SDK"] == ("–" if layer.cycles is None else f"{layer.cycles['sdk']:,}")
        assert found["setting"] == ("–" if layer.rank is None else f"g{layer.groups} r{layer.rank}")
        assert found["error"] == ("–" if layer.error is None else f"{100 * layer.error:.1f} %")
    wanted = [f"{result.cycles[key]:,}" for key in ("im2col", "sdk", "vw-sdk")] + [
        f"{result.planned_cycles:,}"
    ]
    assert foot[1:5] == wanted


@pytest.mark.usefixtures("undrawn")
def test_what_was_done_is_said_once():
    shown = run()
    older, *others = shown.result.layers
    older = replace(older, kind="dense", reason="dense: costs as much as dense; loses nothing")
    result = replace(shown.result, layers=(older, replace(others[0], reason=""), *others[1:]))
    table = Page(render_report([replace(shown, result=result)])).tables[-2]
    said = [row[1] for row in table[2:4]]
    assert said == ["dense: costs as much as dense; loses nothing", others[0].kind]


def test_says_how_to_get_the_numbers_again():
    result = run().result
    text = one().text
    for part in (
        result.command,
        result.data.digest,
        "50,000 training and 10,000 test images",
        result.device,
        "training in float32",
        "seed 7",
        "720 s, 831 images/s",
        "torch 2.13.0",
        "4 bits in 18 layers, 8 bits in 2 layers",
        result.baseline,
    ):
        assert part in text
    assert "array activations per image" in text and "fully connected layers are not counted" in text


def test_plan_is_there():
    page = one()
    assert "details" in page.tags
    assert [row[0] for row in page.tables[-1][1:]] == [layer.name for layer in run().plan.layers]


def test_several_runs_are_compared():
    runs = three()
    page = compared()
    head, *rows = page.tables[0][1:]
    assert [row[0] for row in rows] == [entry.label for entry in runs]
    for row, entry in zip(rows, runs, strict=True):
        found = dict(zip(head, row, strict=True))
        assert found["accuracy"] == f"{100 * entry.result.accuracy.final:.2f} %"
        assert found["points"] == f"{100 * (entry.result.accuracy.final - BASELINE):+.2f}".replace("-", "−")
        assert found["as planned"] == f"{entry.result.planned_cycles:,}"
        assert found["parameters"] == f"{entry.result.parameters_after:,}"
    for entry in runs:
        assert f"({entry.label})" in page.headline
        assert entry.result.command in page.text


def test_points_are_those_against_the_runs_own_baseline():
    """Of runs that started from other weights none has a line in common."""
    first, second = three()[:2]
    accuracy = replace(second.result.accuracy, baseline=0.5, final=0.45)
    other = replace(second, result=replace(second.result, accuracy=accuracy, dense_weights="others"))
    first = replace(first, result=replace(first.result, dense_weights="ones"))
    _, rows = comparison([first, other])
    own = 100 * (first.result.accuracy.final - BASELINE)
    assert [row[2] for row in rows] == [f"{own:+.2f}".replace("-", "−"), "−5.00"]
    assert float_baseline([first, other]) is None and float_baseline([first]) == BASELINE
    assert "(float baseline of each run its own)" in summary_table([first, other])


@pytest.mark.usefixtures("undrawn")
def test_several_runs_say_what_their_arrays_take_and_keep():
    first, second, third = three()
    kept = ArrayAccuracy(accuracy=0.901, ideal=0.905, images=1000, seed=0)
    known = replace(second.result.energy, accuracy_on_arrays=kept)
    runs = [
        first,
        replace(second, result=replace(second.result, energy=known)),
        replace(third, result=replace(third.result, energy=None)),
    ]
    page = Page(render_report(runs))
    head, *rows = page.tables[1]
    assert head == list(HEADERS) and [row[0] for row in rows] == [entry.label for entry in runs]
    for row, entry in zip(rows[:2], runs[:2], strict=True):
        energy = entry.result.energy
        found = dict(zip(head, row, strict=True))
        assert found["arrays"] == f"{energy.arrays:,}"
        assert found["area, mm²"] == f"{energy.area:.2f}"
        assert found["energy, nJ"] == f"{1e-3 * energy.energy:,.0f}"
        assert found["latency, µs"] == f"{energy.latency:,.0f}"
        assert found["images per second"] == f"{int(1e6 / energy.interval):,}"
    assert [row[1] for row in rows] == ["not simulated", "90.1 %", "–"]
    assert set(rows[2][1:]) == {"–"}
    assert f"All priced for {first.result.energy.conditions}." in page.text
    # Where the arrays are not the same, each row says which they are.
    older = replace(first.result.energy, conditions="rram-22nm, offset coding")
    mixed = Page(render_report([replace(first, result=replace(first.result, energy=older)), *runs[1:]]))
    head, *rows = mixed.tables[1]
    assert [row[head.index("priced for")] for row in rows] == [older.conditions, known.conditions, "–"]
    assert "All priced for" not in mixed.text and "priced for different arrays" in mixed.text
    # One run has cards for the same, and runs without energy have no such table.
    assert "On the arrays" not in Page(render_report([first])).text
    without = [replace(entry, result=replace(entry.result, energy=None)) for entry in runs]
    assert "On the arrays" not in Page(render_report(without)).text


@pytest.mark.usefixtures("undrawn")
def test_many_runs_get_a_short_headline():
    runs = [replace(run(), label=f"number {index}") for index in range(6)]
    assert "6 networks on 64×64 arrays" in Page(render_report(runs)).headline


def test_charts_name_their_points():
    text = compared().text
    for name in (
        "uncompressed, im2col",
        "uncompressed, best mapping",
        "plain low-rank, 90.1 %",
        "group low-rank, g = 4, 90.9 %",
    ):
        assert name in text


def test_mappings_of_equal_cycles_share_a_name(draw_only):
    draw_only("accuracy")
    result = run().result
    equal = replace(run(), result=replace(result, cycles=result.cycles | {"best": result.cycles["im2col"]}))
    assert "uncompressed, best mapping = im2col" in Page(render_report([equal])).text


@pytest.mark.parametrize("runs", RUNS)
def test_nothing_is_loaded_and_no_id_is_used_twice(runs):
    source = drawn(runs)
    page = Page(source)
    addresses = set(re.findall(r"https?://[^\"'\s<>]+", source))
    assert addresses <= {"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"}
    assert not {"script", "link", "img", "iframe", "object"} & set(page.tags)
    assert not [found for found in page.attributes if found[1] == "src" or found[1].startswith("on")]
    assert "@import" not in source
    ids = [value for _, name, value in page.attributes if name == "id"]
    assert len(ids) == len(set(ids))
    links = [value for _, name, value in page.attributes if name.endswith("href")]
    assert all(value.startswith(("#", "data:image/png;base64,")) for value in links)
    used = {value[1:] for value in links if value.startswith("#")} | set(
        re.findall(r"url\(#([^)]+)\)", source)
    )
    assert used <= set(ids)


def test_same_runs_give_the_same_bytes(tmp_path):
    written = drawn("three")
    with matplotlib.rc_context({"font.size": 20, "axes.facecolor": "black", "svg.fonttype": "path"}):
        before = dict(matplotlib.rcParams)
        write_report(tmp_path / "page.html", three())
        assert dict(matplotlib.rcParams) == before
    assert (tmp_path / "page.html").read_bytes() == written.encode()
    assert [path.name for path in tmp_path.iterdir()] == ["page.html"]


def test_no_epochs(draw_only):
    draw_only("training")
    sample = run(epochs=0)
    text = Page(render_report([sample])).text
    assert "No epoch was trained" in text and "training loss" not in text
    both = Page(render_report([replace(sample, label="untrained"), run()])).text
    assert "untrained: no epoch was trained." in both and "training loss" in both


def test_one_epoch_and_epochs_that_were_not_tested(draw_only):
    draw_only("training")
    for records in (
        history(1, 0.9),
        tuple(replace(record, test_accuracy=None) for record in history(3, 0.9)),
    ):
        assert "training loss" in Page(render_report([replace(run(), history=records)])).text


def test_dense_network_that_was_trained_here():
    sample = run(groups=None, rank=None, bits=None, label="dense")
    trained = replace(sample, result=replace(sample.result, accuracy=Accuracies(None, None, 0.92)))
    page = Page(render_report([trained]))
    assert "92.0 % in float" in page.headline and "parameters" not in page.headline
    assert "Decomposition error" not in page.text and "uncompressed" not in page.text
    assert "of the network trained here" in page.cards[0]


@pytest.mark.usefixtures("undrawn")
def test_more_cycles_than_before_are_called_so():
    sample = run()
    slow = replace(sample, result=replace(sample.result, planned_cycles=2 * sample.result.cycles["im2col"]))
    assert "(under im2col: 2.00× more cycles)" in Page(render_report([slow])).headline


@pytest.mark.usefixtures("undrawn")
def test_layers_left_alone_are_listed():
    sample = run()
    result = replace(sample.result, untouched=(("decoder.up", "ConvTranspose2d is left alone"),))
    text = Page(render_report([replace(sample, result=result)])).text
    assert "Layers left alone" in text and "decoder.up ConvTranspose2d is left alone" in text
    assert "Layers left alone" not in Page(render_report([sample])).text


@pytest.mark.usefixtures("undrawn")
def test_a_python_run_without_a_command():
    sample = run()
    assert (
        "Made from Python"
        in Page(render_report([replace(sample, result=replace(sample.result, command=""))])).text
    )


@pytest.mark.parametrize(
    ("change", "what"),
    [({"model": "vgg9"}, "network resnet20 is not vgg9"), ({"array": (32, 32)}, "array 64×64 is not 32×32")],
)
def test_runs_of_other_networks_are_refused(change, what):
    sample = run()
    other = replace(sample, label="other", result=replace(sample.result, **change))
    with pytest.raises(InputError, match=what):
        render_report([sample, other])


def test_import_is_light():
    code = "import sys, rankfold.report; print({'torch', 'matplotlib', 'jinja2', 'numpy'} & set(sys.modules))"
    assert (
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        ).stdout.strip()
        == "set()"
    )


def test_energy_is_stacked_by_component(draw_only):
    """One run layer by layer, several as a whole; results without energy have no such section."""
    layers, networks = energy_chart([run()]), energy_chart(three())
    assert layers is not None and networks is not None
    assert [key.text for key in layers.keys][:2] == ["dense, im2col", "ADCs"]
    assert "layer3.2.conv2" in layers.svg
    assert "group low-rank, g = 4" in networks.svg
    old = replace(run(), result=replace(run().result, energy=None, planned_conversions=None))
    assert energy_chart([old]) is None
    assert energy_chart([old, *three()]) is not None
    assert re.search("<h2[^>]*>Energy", drawn("one"))
    draw_only("energy")
    assert ">Energy</h2>" not in render_report([old])
    assert energy_notes([old]) == []
    (totals, conditions, source) = energy_notes([run()])
    assert "less than dense im2col" in totals and "ADC conversions" in totals
    assert "rram-22nm, 5-bit flash ADC" in conditions
    assert source.startswith("ADC: derived")


def test_parts_of_a_users_own_table_are_drawn_as_others():
    sums = grouped({"adc": 2.0, "row_drivers": 1.0, "dac": 0.5, "precharge": 4.0})
    assert (sums["ADCs"], sums["word lines, drivers, DACs"], sums["other parts"]) == (2.0, 1.5, 4.0)


def test_tables_and_charts_scroll_and_follow_the_colour_scheme():
    sample = run("resnet8")
    page = render_report([sample, replace(sample, label="another")])
    # Each stands in a container of its own, which the keyboard reaches, too.
    wide = len(re.findall(r"<table", page)) + len(re.findall(r'class="chart"', page))
    box = r'<div class="scroll" tabindex="0" role="region" aria-label="\w+">\s*'
    boxed = re.findall(box + r'(?:<table|<svg [^>]*class="chart")', page)
    assert len(boxed) == wide > 4
    css = page[page.index("<style>") : page.index("</style>")]
    light, dark = (
        set(re.findall(r"(--[a-z]+):", rules)) for rules in css.split("(prefers-color-scheme: dark)", 1)
    )
    assert dark == light
