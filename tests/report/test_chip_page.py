"""The page of a network on a chip holds the numbers of `--json`, loads nothing, and stands up to odd text."""

from __future__ import annotations

import re
from dataclasses import replace
from functools import cache
from itertools import pairwise
from pathlib import Path

import pytest

from common.chips import chip
from common.reader import Page
from rankfold.chip.best import run_on_chip
from rankfold.chip.check import Check
from rankfold.chip.run import ChipRun
from rankfold.chip.study import ChipStudy
from rankfold.errors import InputError
from rankfold.machine import ChipSpec, load_chip
from rankfold.plan import uniform_plan
from rankfold.report.chip_page.floor import Floor
from rankfold.report.chip_page.floor_plan import floor_plan
from rankfold.report.chip_page.layers import residents
from rankfold.report.chip_page.page import render_chip_page, write_chip_page
from rankfold.workload import Network, zoo_network

HOSTILE = "</title></svg><script>alert('&amp;')</script>\"><img src=x onerror=alert(1)>"
ARRAYS = {"rram-22nm": 656, "sram-22nm": 213}


def on_chip(network: Network, described: ChipSpec, arrays: int | None = None) -> ChipRun:
    """Weights that stay on so many arrays; None: they are written."""
    study = ChipStudy(network, uniform_plan(network, described.hardware.array, bits=4), described)
    if arrays is None:
        return study.layer_by_layer("the network needs more arrays")
    return study.staying(arrays)


@cache
def staying(name: str) -> ChipRun:
    return on_chip(zoo_network("resnet8"), load_chip(name), ARRAYS[name])


@cache
def written() -> ChipRun:
    return on_chip(zoo_network("resnet20"), load_chip("sram-22nm"))


@cache
def source(name: str) -> str:
    return render_chip_page(written() if name == "written" else staying(name))


def table(page: Page, header: str) -> list[dict[str, str]]:
    """The table whose first columns' names hold these words."""
    (found,) = [rows for rows in page.tables if header in " | ".join(rows[0])]
    return [dict(zip(found[0], row, strict=True)) for row in found[1:]]


@pytest.mark.parametrize("name", ARRAYS)
def test_figures_are_those_of_json(name: str) -> None:
    content, page = staying(name).to_json(), Page(source(name))
    cards = " ".join(page.cards)
    for words in (
        f"{content['interval_us']:,.2f} µs between two images {content['images_per_second']:,.0f} images/s",
        f"{content['latency_us']:,.2f} µs latency",
        f"{content['energy_pj'] / 1000:,.1f} nJ",
        f"{content['area_mm2']:,.2f} mm²",
        f"{content['arrays_used']:,} of {content['arrays']:,} arrays in use",
        f"{content['buffer_bytes']['largest']:,.0f} bytes",
    ):
        assert words in cards.replace("\xa0", " ")
    energy = {row["part"]: row["nJ an image"] for row in table(page, "nJ an image")}
    for part, value in content["energy_by_part_pj"].items():
        assert energy[part] == f"{value / 1000:,.1f}"
    area = {row["part"]: row["mm²"] for row in table(page, "mm²")}
    assert area == {part: f"{value:.3f}" for part, value in content["area_by_part_mm2"].items()} | {
        "all": f"{content['area_mm2']:.3f}"
    }
    for row in table(page, "the busiest"):
        work = content["work_us"][row["part"]]
        assert (row["the busiest"], row["works, µs an image"]) == (work["where"], f"{work['time']:,.2f}")
    sent = {row["what is sent"]: row["bits an image, over each link"] for row in table(page, "what is sent")}
    assert sent == {what: f"{bits:,.0f}" for what, bits in content["sent_bits"].items()}


@pytest.mark.parametrize("name", ARRAYS)
def test_layers_and_joins_are_those_of_json(name: str) -> None:
    content, page = staying(name).to_json(), Page(source(name))
    rows = table(page, "layer or join")
    assert [row["layer or join"] for row in rows] == [task["name"] for task in content["tasks"]]
    for row, task in zip(rows, content["tasks"], strict=True):
        assert row["tiles"] == f"{task['tiles']:,}"
        assert row["copies"] == " ".join(str(number) for number in task["copies"])
        assert row["reads"] == ", ".join(task["reads"])
        assert row["begins, µs"] == f"{task['begins_us']:.2f}"
        assert row["ends, µs"] == f"{task['ends_us']:.2f}"
    for task in content["tasks"][1:]:
        # In the table, in the timeline, and a layer on arrays in the floor plan.
        assert source(name).count(task["name"]) >= 3


@pytest.mark.parametrize("name", ARRAYS)
def test_links_come_busiest_first_and_carry_what_was_counted(name: str) -> None:
    run = staying(name)
    assert run.pipeline is not None
    carried = run.pipeline.traffic.load
    bits = [
        int(row["bits an image"].replace(",", "")) for row in table(Page(source(name)), "bits an image | ")
    ]
    assert all(one >= other for one, other in pairwise(bits))
    assert len(bits) == len(carried)
    assert bits[0] == round(max(carried.values()))
    # Each link is drawn with its load.
    for load in carried.values():
        assert f"{load:,.0f} bits an image" in source(name)


@pytest.mark.parametrize("name", ARRAYS)
def test_cores_hold_all_arrays(name: str) -> None:
    run = staying(name)
    assert run.pipeline is not None
    there = residents(run, run.pipeline)
    assert sum(core.arrays for core in there.cores.values()) == run.arrays_used
    assert all(core.arrays <= run.chip.cores.arrays for core in there.cores.values())
    assert sum(layer.arrays for layer in there.layers) == run.arrays_used
    held = {row["core"]: row["buffer holds, bytes"] for row in table(Page(source(name)), "buffer holds")}
    assert held == {str(core): f"{content.buffered:,.0f}" for core, content in there.cores.items()}
    # Every core is drawn once, and says what it is.
    drawn = re.findall(r"<title>core (\d+): ", source(name))
    assert sorted(drawn, key=int) == [str(core) for core in there.cores]


def test_what_is_written_is_that_of_json() -> None:
    content, page = written().to_json(), Page(source("written"))
    assert content["why_not_pipelined"] in page.text
    parts = {row["part"]: row["µs an image"] for row in table(page, "of the whole")}
    own = content["layer_by_layer"]
    for part, key in {
        "arrays": "arrays_us",
        "writing": "writing_us",
        "digital units and buffers": "digital_us",
        "interconnect": "interconnect_us",
        "off-chip memory": "memory_us",
    }.items():
        assert parts[part] == f"{own[key]:,.2f}"
    # Nothing is left out: these are the latency, the last two at the same time.
    assert own["arrays_us"] + own["writing_us"] + own["digital_us"] + max(
        own["interconnect_us"], own["memory_us"]
    ) == pytest.approx(content["latency_us"])
    amounts = {row["of an image"]: row["amount"] for row in table(page, "amount")}
    for what, key in {
        "tiles written for each image": "tiles_written",
        "cells written for each image": "cells_written",
        "bits between chip and memory": "memory_bits",
    }.items():
        assert amounts[what] == f"{content['layer_by_layer'][key]:,.0f}"
    assert {layer.name for layer in zoo_network("resnet20").layers} == {
        row["layer"] for row in table(page, "activations of each")
    }


@pytest.mark.parametrize("name", [*ARRAYS, "written"])
def test_nothing_is_loaded(name: str) -> None:
    page = Page(source(name))
    assert not re.findall(r"https?://", source(name))
    assert not {"link", "img", "iframe", "object"} & set(page.tags)
    assert page.tags.count("script") == 1  # its own
    assert not [found for found in page.attributes if found[1] == "src" or found[1].startswith("on")]
    assert all(value.startswith("#") for _, name, value in page.attributes if name == "href")
    assert "@import" not in source(name) and "url(" not in source(name)


def test_names_stay_text_and_warnings_are_told() -> None:
    network = zoo_network("resnet8")
    layers = tuple(replace(layer, name=f"{HOSTILE}{layer.name}") for layer in network.layers)
    hostile = replace(network, name=HOSTILE, layers=layers, flow=None)
    described = replace(load_chip("sram-22nm"), name=HOSTILE, warnings=(f"far off {HOSTILE}",))
    for arrays in (213, None):
        run = on_chip(hostile, described, arrays)
        text = render_chip_page(run, Check(1.0, 2.0, 3.0, 4.5, 0.0, 8) if arrays else None)
        page = Page(text)
        assert page.tags.count("script") == 1 and "<img" not in text
        assert f"far off {HOSTILE}" in page.text
        assert "each was taken to read the one before it" in page.text
        for layer in layers:
            assert any(layer.name in cell for rows in page.tables for row in rows for cell in row)
        if arrays:
            assert [row["ratio"] for row in table(page, "executed")] == ["2.00", "1.50"]


def test_large_chips_show_the_rows_in_use_or_a_table_alone() -> None:
    network = replace(zoo_network("resnet8"), flow=None)
    # A bus, as ways between so many cores of a mesh take long to find.
    for kind, cores, arrays, drawn in (("mesh", 10_000, 149, True), ("bus", 4_000, 1_700, False)):
        run = on_chip(network, chip(cores=cores, arrays=1, rows=64, kind=kind), arrays)
        assert run.pipeline is not None
        plan = floor_plan(Floor.of(run, run.pipeline))
        assert (plan is not None) == drawn
        page = render_chip_page(run)
        assert len(page) < 2_000_000
        assert ("a picture would not show them" in page) == (not drawn)


def test_a_page_replaces_pages_alone(tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    for _ in range(2):
        write_chip_page(path, staying("sram-22nm"))
        assert path.read_text(encoding="utf-8") == source("sram-22nm")
    other = tmp_path / "notes.txt"
    other.write_text("mine")
    with pytest.raises(InputError, match="only a page is replaced"):
        write_chip_page(other, staying("sram-22nm"))
    assert other.read_text() == "mine"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["notes.txt", "page.html"]


def test_rows_that_wait_in_other_cores_are_told_of() -> None:
    network, described = zoo_network("resnet8"), load_chip("rram-22nm")
    plan = uniform_plan(network, described.hardware.array, bits=4)
    needed = run_on_chip(network, plan, described)
    assert needed.pipeline is not None and not needed.pipeline.lodging_in_words
    size = int(0.8 * max(needed.pipeline.timing.buffers.values()))
    run = run_on_chip(network, plan, replace(described, buffer=replace(described.buffer, size=size)))
    assert run.pipeline is not None
    assert "lie in the buffers of" in run.pipeline.lodging_in_words
    page = render_chip_page(run)
    assert "Rows that only wait, of cores without room" in page
    assert "rows that wait in other cores" in page  # among what is sent
