"""Every kind of page in headless Chromium: quiet, offline, as wide as its window, of use without a mouse."""

import json
from dataclasses import replace

import pytest

from common.browser import WIDTHS, Opened, chromium
from common.layer_sorts import ARRAY, every_sort, low_rank_plan
from common.made_up import random_choices
from common.report_samples import run
from rankfold.chip.best import run_on_chip
from rankfold.cli.words.chip_run import chip_run_to_json
from rankfold.machine import load_chip
from rankfold.mapping import map_layer
from rankfold.plan import LayerPlan, LowRankLayer, uniform_plan
from rankfold.planning.exact import CYCLES, ENERGY, front, surface
from rankfold.report import write_report
from rankfold.report.chip_page.page import write_chip_page
from rankfold.report.mapper.choices import network_choices
from rankfold.report.mapper.page import write_mapper
from rankfold.report.mixed.chips import chip_result
from rankfold.report.mixed.page import write_mixed
from rankfold.report.mixed.plans import PlannedNetwork, plan_costs
from rankfold.report.pareto.surface import write_surface
from rankfold.report.pareto.write import write_front
from rankfold.workload import zoo_network


@pytest.fixture(scope="module")
def browser():
    with chromium() as browser:
        yield browser


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """A page of every kind, by its name."""
    folder = tmp_path_factory.mktemp("pages")
    layers = list(network_choices(every_sort(), low_rank_plan(), {}))
    write_mapper(folder / "mapper.html", "net", ARRAY, layers, "body")
    write_report(folder / "runs.html", [run("resnet8"), run("resnet8", groups=1, label="another")])
    network = zoo_network("resnet8")
    plan = uniform_plan(network, load_chip("rram-22nm").hardware.array, bits=4)
    on_chip = run_on_chip(network, plan, load_chip("rram-22nm"), None)
    write_chip_page(folder / "chip.html", on_chip)
    found = surface(plan_choices(), (CYCLES, ENERGY))
    write_front(folder / "front", front(plan_choices()), "net", ARRAY, [layer[0] for layer in plan_choices()])
    write_surface(folder / "surface", found, "net", ARRAY, [layer[0] for layer in found.choices])
    planned = PlannedNetwork("plan", plan, plan_costs(network, plan))
    printed = json.loads(json.dumps(chip_run_to_json(on_chip, None)))
    chip = chip_result(folder / "chip.json", printed, "chip")
    write_mixed(folder / "mixed.html", [planned, chip])
    named = {path.stem: path for path in folder.glob("*.html")}
    return named | {name: folder / name / "front.html" for name in ("front", "surface")}


def plan_choices():
    """Layers that may become several things, of made-up costs."""
    choices = []
    for number, layer in enumerate(random_choices(3, candidates=9)):
        entry = LayerPlan(f"layer{number}", LowRankLayer(2, 4), weight_bits=4, input_bits=4)
        choices.append([replace(candidate, entry=entry) for candidate in layer])
    return choices


@pytest.fixture
def mapper(browser, pages):
    opened = Opened(browser, pages["mapper"])
    yield opened.page
    assert opened.complaints == []
    opened.close()


PAGES = ("runs", "mixed", "chip", "front", "surface", "mapper")


# Charts without a table in their section; the plans of a front have one in the next.
BARE = """
charts => charts.filter(chart => !(chart.closest("section").querySelector("table") ??
  (chart.closest(".front") && document.querySelector("section + section table")))).length
"""


@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_quiet_offline_and_fits_every_window(browser, pages, name):
    """Each chart has a table behind it, and all that scrolls or is a picture has a name."""
    opened = Opened(browser, pages[name])
    for width in WIDTHS:
        assert opened.overflow(width, "light") <= 0, width
    # Dark pages differ in colours alone, so that one width will do.
    assert opened.overflow(min(WIDTHS), "dark") <= 0
    charts = opened.page.locator("svg.chart, .front, canvas")
    assert charts.count() > 0
    assert charts.evaluate_all(BARE) == 0
    boxes = opened.page.locator("[tabindex='0']:not(g):not(svg)")
    assert boxes.evaluate_all("all => all.every(box => box.hasAttribute('aria-label') || box.id)")
    assert opened.page.locator("svg.chart:not([aria-label])").count() == 0
    assert opened.complaints == []
    assert opened.requests == []
    opened.close()


def told(page):
    """What the page says of a cell, by line."""
    names = page.locator("#told dt").all_text_contents()
    return dict(zip(names, page.locator("#told dd").all_text_contents(), strict=True))


def test_cells_are_told_by_mouse_and_keys(mapper):
    """Layer, mapping, window and activation by the page's controls; the cell's weight, input and output."""
    mapper.select_option("#layer", label="body")
    mapper.select_option("#mapping", label="one window…")
    mapper.select_option("#window", label="2 × 2")
    shape = every_sort().layers[1]
    mapping = map_layer(shape, ARRAY, "2x2")
    assert f"of {mapping.cycles:,}" in mapper.text_content("#step")
    for _ in range(mapping.tile_count + 1):
        mapper.click("#next")
    (region,) = mapping.regions
    tile = list(region.tiles())[1]
    (origin,) = region.origins()[1]
    box = mapper.locator("#array").bounding_box()
    cell = box["width"] / ARRAY.columns

    def expected(row, column):
        index = int(tile.weight_index[row, column])
        weight = "zero: this output does not read this input"
        if index >= 0:
            output, rest = divmod(index, shape.n)
            channel, position = divmod(rest, 9)
            weight = f"W[{output}, {channel}, {position // 3}, {position % 3}]"
        y, x = (int(origin[axis] - 1 + (tile.row_y, tile.row_x)[axis][row]) for axis in (0, 1))
        padding = ", padding: zero" if min(y, x) < 0 else ""
        v, u = (int(origin[axis] + (tile.col_y, tile.col_x)[axis][column]) for axis in (0, 1))
        return {
            "cell": f"row {row}, column {column}",
            "weight": weight,
            "input": f"x[{tile.row_channel[row]}, {y}, {x}]{padding}",
            "output": f"y[{tile.col_channel[column]}, {v}, {u}]",
        }

    mapper.mouse.move(box["x"] + 7.5 * cell, box["y"] + 5.5 * cell)
    assert told(mapper) == expected(5, 7)
    mapper.focus("#array")
    for key in ("ArrowDown", "ArrowDown", "ArrowLeft", "Shift+ArrowRight"):
        mapper.keyboard.press(key)
    assert told(mapper) == expected(7, 16)
    mapper.keyboard.press("PageUp")
    assert f"activation {mapping.tile_count + 1} of" in mapper.text_content("#step")
    mapper.keyboard.press("Home")
    assert told(mapper)["cell"] == "row 7, column 0"


def test_cells_are_told_by_touch(browser, pages):
    """On a telephone: a cell that is tapped, and a step by the button."""
    opened = Opened(browser, pages["mapper"], WIDTHS[0], touch=True)
    opened.page.select_option("#layer", label="body")
    array = opened.page.locator("#array")
    array.scroll_into_view_if_needed()
    box = array.bounding_box()
    cell = box["width"] / ARRAY.columns
    for row, column in ((5, 7), (2, 20)):
        opened.page.touchscreen.tap(box["x"] + (column + 0.5) * cell, box["y"] + (row + 0.5) * cell)
        assert told(opened.page)["cell"] == f"row {row}, column {column}"
    opened.page.tap("#next")
    assert "activation 2 of" in opened.page.text_content("#step")
    assert opened.complaints == []
    opened.close()


def test_stages_tables_and_the_last_activation(mapper):
    """Both matrices of a pair, each with its table."""
    mapper.select_option("#layer", label="body")
    assert mapper.is_visible("#stage")
    assert told(mapper)["input"].startswith("x[0, ") and told(mapper)["output"] == "z[0, 0, 0]"
    mapper.select_option("#stage", label="stage 2, L")
    mapper.click("#last")
    assert mapper.is_disabled("#next") and not mapper.is_disabled("#back")
    assert told(mapper)["weight"].startswith(("L[", "zero"))
    assert told(mapper)["input"].startswith("z[")
    mapper.click("#table summary")
    mapper.wait_for_selector("#rows tbody tr")  # filled once it is open
    rows = mapper.locator("#rows tbody tr").count()
    assert f"{rows} rows driven" in mapper.text_content("#of-array")
    assert mapper.locator("#columns tbody tr").first.text_content().startswith("0y[")
    mapper.select_option("#mapping", label="im2col")
    assert not mapper.is_visible("#stage") and not mapper.is_visible("#window")


def test_everything_is_reached_by_the_tab_key(mapper):
    """In the order of reading, and what is reached is seen to be."""
    reached = []
    # The first, which has no name, leads past the top of the page.
    wanted = ["", "layer", "mapping", "stage", "next", "last", "play", "cycle", "array"]
    for _ in wanted:
        mapper.keyboard.press("Tab")
        reached.append(mapper.evaluate("document.activeElement.id"))
        outline = mapper.evaluate("getComputedStyle(document.activeElement).outlineStyle")
        assert outline == "solid", reached[-1]
    assert reached == wanted
