"""The page and tables of an exploration hold what was found, load nothing, and stand up to odd text."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import pytest

from common.reader import Page
from common.spaces import small_network, small_space
from rankfold.errors import InputError
from rankfold.explore import Exploration, explore
from rankfold.report.exploration import page as pages
from rankfold.report.exploration.page import exploration_page
from rankfold.report.exploration.rows import cells, front_table, reasons, thinned
from rankfold.report.exploration.write import write_exploration

HOSTILE = "</title></script><script>alert('&amp;')</script>\"><img src=x onerror=alert(1)>"
COSTS = ("energy", "latency", "area")


@pytest.fixture(scope="module")
def found() -> Exploration:
    space = small_space()
    # On some of the chips nothing can be written for each image.
    chips = (space.chips[0], replace(space.chips[0], name="alone", memory=None))
    return explore([small_network()], replace(space, chips=chips), objectives=COSTS)


def test_files_hold_every_point(found: Exploration, tmp_path: Path) -> None:
    written = write_exploration(tmp_path, found)
    assert [path.name for path in written] == ["points.csv", "front.csv", "front.html"]
    points = list(csv.DictReader((tmp_path / "points.csv").read_text().splitlines()))
    assert [int(row["point"]) for row in points] == sorted(found.outcomes)
    for row in points:
        outcome = found.outcomes[int(row["point"])]
        assert (row["why_not"] == "") == (outcome.figures is not None)
        if outcome.figures is not None:
            assert float(row["energy_pj"]) == outcome.figures.energy
            assert float(row["area_mm2"]) == outcome.figures.area
            assert row["predicted_loss_nats"] in ("", "0.0")
        assert row["buffer"] in ("size 1 KiB, energy 50, area 0.002", "size 32 KiB, energy 136, area 0.052")
    assert {row["chip"] for row in points} == {"rram-22nm", "alone"}
    front = list(csv.DictReader((tmp_path / "front.csv").read_text().splitlines()))
    assert [int(row["point"]) for row in front] == list(found.front)
    assert [row for row in points if row["on_front"] == "1"] == front


def test_the_page_shows_the_front(found: Exploration) -> None:
    source = exploration_page(found)
    assert source == exploration_page(found)
    page = Page(source)
    table = page.tables[0]
    assert table[1:] == [cells(found, number) for number in thinned(found, 10**6)]
    assert f"{len(found.front)} best trades among {found.runs} that run" in page.headline
    (least,) = [card for card in page.cards if "least energy" in card]
    best = min(found.outcomes[number].figures.energy for number in found.front)  # type: ignore[union-attr]
    assert f"{best / 1e3:,.1f}" in least
    assert page.tables[1][1:] == [[why, f"{count:,}"] for why, count in reasons(found, 10)]
    assert sum(count for _, count in reasons(found, 10**6)) == len(found.outcomes) - found.runs > 0
    for tag, name, value in page.attributes:
        if name in ("src", "href"):
            assert not value.startswith(("http", "//")), (tag, value)


def test_what_is_drawn_follows_the_rows_of_the_table(found: Exploration) -> None:
    """The script of the page finds points by their place in traces and table."""
    from rankfold.report.exploration.figure import figure

    points = thinned(found)
    drawn = figure(found, points, [])
    lines, others, front = drawn.data
    assert (lines.type, others.name, front.name) == ("parcoords", "other points", "front")
    for axis in lines.dimensions:
        assert len(axis["values"]) == len(points)
    energies = [found.outcomes[number].figures.energy / 1e3 for number in points]  # type: ignore[union-attr]
    assert list(front.x) == energies
    assert [text.partition("<br>")[0] for text in front.text] == [f"point: {number}" for number in points]


def test_many_points_are_thinned(found: Exploration, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pages, "MOST_LINES", 2)
    page = Page(exploration_page(found))
    assert len(page.tables[0]) == 3
    assert f"2 of {len(found.front)} are drawn, all are in front.csv" in page.text
    assert len(front_table(found, 3).splitlines()) == 2 + min(3, len(found.front))


def test_odd_names_stay_text() -> None:
    space = small_space(plans=[{"bits": 4, "name": HOSTILE}, {"bits": 8}], vary={"cores/count": [4, 8]})
    network = small_network(HOSTILE)
    page = exploration_page(explore([network], space, objectives=("energy", "area")))
    assert "<img src=x" not in page and "<script>alert" not in page
    # Two of plotly, the figure's own and the page's: none of them was ended early, none came in.
    assert Page(page).tags.count("script") == page.count("</script>")


def test_a_space_in_which_nothing_runs_has_a_page(tmp_path: Path) -> None:
    base = small_space(vary={"hardware/adc/mux": [64], "hardware/array": ["16x16"]})
    found = explore([small_network()], base, objectives=COSTS)
    assert found.runs == 0 and found.front == ()
    write_exploration(tmp_path, found)
    assert "No point runs" in Page((tmp_path / "front.html").read_text()).text


def test_nothing_but_a_page_is_replaced(found: Exploration, tmp_path: Path) -> None:
    (tmp_path / "front.html").write_text("mine")
    with pytest.raises(InputError, match="only a page is replaced"):
        write_exploration(tmp_path, found)
    assert not (tmp_path / "points.csv").exists()
    (tmp_path / "file").write_text("mine")
    with pytest.raises(InputError, match="give a folder"):
        write_exploration(tmp_path / "file", found)
