"""The table that compares runs, names of methods, colours, and where names are put."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from common.report_samples import run, three
from rankfold.errors import InputError
from rankfold.report import method_name, summary_rows, summary_table
from rankfold.report.charts.placement import Box, place_names, spread
from rankfold.report.methods import colours
from rankfold.report.palette import BLUE, GREEN, GREY, VERMILION
from rankfold.report.run_page.comparison import comparison
from rankfold.report.runs import dense_best, speed_up
from rankfold.report.summary import SUMMARY_HEADERS, summary_headers
from rankfold.runs.result import MetricResult, Result


def test_summary_has_the_numbers():
    runs = three()
    for row, entry in zip(summary_rows(runs), runs, strict=True):
        found = dict(zip(SUMMARY_HEADERS, row, strict=True))
        result = entry.result
        assert found["network"] == entry.label
        assert found["as planned"] == f"{result.planned_cycles:,}"
        assert found["vs dense best"] == f"{result.cycles['best'] / result.planned_cycles:.2f}x"
        assert found["vs im2col"] == f"{result.cycles['im2col'] / result.planned_cycles:.2f}x"
        assert found["VW-SDK"] == (f"{result.cycles['vw-sdk']:,}" if entry.label == "dense" else "-")
    text = summary_table(runs)
    assert "64x64 arrays" in text and "float baseline 91.87%" in text


def test_metrics_of_users_have_columns_beside_accuracy():
    dense, plain, group = three()
    found = MetricResult("F1 of <boxes>", 0.9, 0.5, 0.8123)
    runs = [
        replace(plain, result=replace(plain.result, metric=found)),
        replace(group, result=replace(group.result, metric=replace(found, name="energy, nJ", final=3.0))),
        dense,
    ]
    headers = summary_headers(runs)
    # A name that another column has is told apart.
    assert headers[:4] == ("network", "accuracy", "F1 of <boxes>", "metric energy, nJ")
    rows = [dict(zip(headers, row, strict=True)) for row in summary_rows(runs)]
    assert [row["F1 of <boxes>"] for row in rows] == ["0.8123", "-", "-"]
    assert [row["metric energy, nJ"] for row in rows] == ["-", "3", "-"]
    titles, cells = comparison(runs)
    assert titles[3] == "F1 of <boxes>" and cells[0][3] == "0.8123"


def test_methods_have_names_and_colours():
    dense, plain, group = (entry.result for entry in three())
    mixed = replace(
        group,
        layers=tuple(
            replace(layer, becomes={**layer.becomes, "groups": 2}) if n == 3 else layer
            for n, layer in enumerate(group.layers)
        ),
    )
    assert [method_name(result) for result in (dense, plain, group, mixed)] == [
        "dense",
        "plain low-rank",
        "group low-rank, g = 4",
        "mixed plan",
    ]
    assert colours([dense, plain, group, mixed]) == tuple(
        shades[0] for shades in (GREY, VERMILION, BLUE, GREEN)
    )
    assert len(set(colours([group] * 4))) == 4
    assert run().result == group


@given(st.lists(st.floats(0, 100), max_size=7))
def test_spread_keeps_order_and_distance(wanted):
    heights = spread(wanted, 10.0, 0.0, 100.0)
    ordered = [heights[index] for index in sorted(range(len(wanted)), key=lambda index: wanted[index])]
    assert all(second - first >= 10 - 1e-9 for first, second in pairwise(ordered))
    assert all(-1e-9 <= height <= 100 + 1e-9 for height in heights)


@example([(50.0, 50.0), (96.0, 60.0), (99.0, 51.0), (97.5, 62.0)])
@given(st.lists(st.tuples(st.floats(50, 550), st.floats(50, 250)), min_size=1, max_size=6))
def test_names_cover_neither_each_other_nor_the_edge(points):
    boxes = place_names(points, [(90.0, 12.0)] * len(points), Box(0.0, 0.0, 600.0, 300.0))
    for number, (left, bottom, right, top) in enumerate(boxes):
        assert left >= 0 and bottom >= 0 and right <= 600 and top <= 300
        for other in boxes[:number]:
            assert min(right, other[2]) <= max(left, other[0]) or min(top, other[3]) <= max(bottom, other[1])


def test_results_keep_energy_and_older_ones_load_without(tmp_path):
    result = run().result
    result.save(tmp_path / "new.json")
    assert Result.load(tmp_path / "new.json") == result
    content = json.loads((tmp_path / "new.json").read_text())
    del content["energy"], content["planned_conversions"]
    (tmp_path / "old.json").write_text(json.dumps(content))
    old = Result.load(tmp_path / "old.json")
    assert (old.energy, old.planned_conversions) == (None, None)
    assert summary_rows([replace(run(), result=old)])[0][8:10] == ["-", "-"]
    content["energy"] = {"conditions": "none"}
    (tmp_path / "odd.json").write_text(json.dumps(content))
    with pytest.raises(InputError, match=r"odd\.json is not a complete result"):
        Result.load(tmp_path / "odd.json")


def test_old_results_have_the_best_mapping_too():
    """Version 0.1 did not write it: layers are mapped anew, or the best mapping that it wrote is taken."""
    found = run().result
    assert found.cycles["best"] < min(found.cycles[key] for key in ("im2col", "sdk", "vw-sdk"))
    old = replace(found, cycles={key: value for key, value in found.cycles.items() if key != "best"})
    assert dense_best(old) == dense_best(found) == found.cycles["best"]
    layers = tuple(replace(layer, shape=None) for layer in old.layers)
    oldest = replace(old, layers=layers)
    assert dense_best(oldest) == found.cycles["best"]
    # Another network of that name, and one that is not built in: the fewest of what is written there.
    assert dense_best(replace(oldest, input=(3, 64, 64))) == found.cycles["vw-sdk"]
    assert dense_best(replace(oldest, model="mine")) == found.cycles["vw-sdk"]
    assert speed_up(old) == found.cycles["best"] / found.planned_cycles
