"""What notebooks show of objects, and what prompts do."""

from __future__ import annotations

from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest

import rankfold as rf
from rankfold.cost import planned_mapping
from rankfold.mapping import map_layer, map_low_rank
from rankfold.mapping.parts import PartsMapping
from rankfold.notebooks import LONGEST_LINE
from rankfold.plan import LayerPlan, LowRankLayer, coverage
from rankfold.planning import Planning
from rankfold.planning.exact import Candidate, Front, LayerChoices, front, solve, surface
from rankfold.report.rich import sheet_of
from rankfold.report.rich.sheet import MOST_ROWS
from rankfold.workload import ConvShape, Network

ARRAY = rf.ArraySpec(32, 32)
HOSTILE = "<script>alert(1)</script>&\n\"'"


def network(name: str = "net", layers: int = 2) -> Network:
    shapes = [
        ConvShape(f"{name}.{number}", 8, 8, (3, 3), (8, 8), padding=(1, 1, 1, 1)) for number in range(layers)
    ]
    return Network(name, (8, 8, 8), tuple(shapes))


def choices() -> tuple[LayerChoices, ...]:
    found = []
    for shape in network().layers:
        dense = Candidate(LayerPlan(shape.name), 64, 9, None, 576)
        pair = Candidate(LayerPlan(shape.name, LowRankLayer(1, 2)), 16, 3, None, 160, 0.5)
        found.append(LayerChoices(shape, dense, (dense, pair)))
    return tuple(found)


def shown_things(name: str = "net") -> list[object]:
    small = network(name)
    plan = rf.uniform_plan(small, ARRAY, rf.LowRank(groups=2, rank=2, force=True), bits=4)
    shape = small.layers[0]
    found = choices()
    candidates = [choice.candidates for choice in found]
    solution = solve(candidates, {"cycles": 90})
    planned = replace(plan, layers=tuple(candidate.entry for candidate in solution.chosen))
    dense = map_layer(shape, ARRAY, "sdk")
    return [
        small,
        plan,
        coverage(small, plan),
        rf.cycles(small, plan),
        rf.energy(small, plan),
        dense,
        map_low_rank(shape, ARRAY, 2, 2, "sdk"),
        PartsMapping((dense, dense)),
        front(candidates),
        surface(candidates, ("cycles", "arrays")),
        Planning(planned, found, solution, {"cycles": 90}),
    ]


NAMES = [type(thing).__name__ for thing in shown_things()]


class Tags(HTMLParser):
    """Tags that are open, and all that were seen."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: set[str] = set()

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.seen.add(tag)
        if tag != "img":
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.mark.parametrize("place", range(len(NAMES)), ids=NAMES)
def test_a_notebook_shows_a_table_that_is_well_formed(place: int) -> None:
    shown = shown_things()[place]
    page = shown._repr_html_()  # type: ignore[attr-defined]
    tags = Tags()
    tags.feed(page)
    assert not tags.open and "table" in tags.seen
    sheet = sheet_of(shown)
    assert all(len(row) == len(sheet.headers) for row in sheet.rows)


@pytest.mark.parametrize("place", range(len(NAMES)), ids=NAMES)
def test_a_prompt_shows_one_line(place: int) -> None:
    for name in ("net", HOSTILE, "n" * 200):
        line = repr(shown_things(name)[place])
        assert len(line) <= LONGEST_LINE and "\n" not in line
        assert line.startswith(f"<{NAMES[place]} ") and line.endswith(">")


def test_names_of_others_never_become_tags() -> None:
    for shown in shown_things(HOSTILE):
        page = shown._repr_html_()  # type: ignore[attr-defined]
        assert "<script" not in page


def test_numbers_are_those_of_the_objects() -> None:
    small = network()
    plan = rf.uniform_plan(small, ARRAY, bits=4)
    costs = rf.cycles(small, plan)
    rows = sheet_of(costs).rows
    *layers, total = [int(row[4].replace(",", "")) for row in rows]
    assert layers == [layer.chosen_cycles for layer in costs.layers]
    assert total == sum(layers) == costs.chosen_cycles
    energies = [float(row[1].replace(",", "")) for row in sheet_of(rf.energy(small, plan)).rows]
    assert energies[-1] == pytest.approx(sum(energies[:-1]), abs=0.02)


def test_a_mapping_is_drawn() -> None:
    mapping = planned_mapping(network().layers[0], ARRAY, LayerPlan("net.0"))
    sheet = sheet_of(mapping)
    assert "<svg" in sheet.picture and f"{mapping.cycles} cycles" in sheet.told
    assert sheet.rows[0][3] == str(mapping.cycles)
    assert "data:image/svg+xml;base64," in mapping._repr_html_()


def test_a_front_without_the_dense_network_has_no_picture() -> None:
    whole = front([choice.candidates for choice in choices()])
    changed = Front(
        whole.quantity,
        whole.costs[:1],
        whole.losses[:1],
        tuple((choice.candidates[1],) for choice in choices()),
        np.zeros((1, 2), int),
    )
    assert sheet_of(whole).picture and not sheet_of(changed).picture
    assert sheet_of(changed).rows[0][2] == "2 of 2"


def test_long_tables_are_cut_and_say_so() -> None:
    page = network(layers=MOST_ROWS + 7)._repr_html_()
    assert page.count("<tr>") == MOST_ROWS + 1
    assert "and 7 more" in page


def test_what_nobody_shows_is_refused() -> None:
    with pytest.raises(TypeError, match="nothing is known of how to show int"):
        sheet_of(3)
