"""The front in three quantities as files: every point in the CSV, a page that needs nothing else."""

import csv
import io
import re
from dataclasses import replace

import pytest

from common.made_up import random_choices
from rankfold.mapping import ArraySpec
from rankfold.plan import DenseLayer, LayerPlan, LowRankLayer
from rankfold.planning.exact import ARRAYS, CYCLES, ENERGY, LOSS, surface, total
from rankfold.report.pareto.surface import surface_table, write_surface


@pytest.fixture(scope="module")
def found():
    choices = []
    for number, layer in enumerate(random_choices(3, candidates=9)):
        entry = LayerPlan(
            f"layer{number}", LowRankLayer(2, 4), mapping="4x8+2x2", weight_bits=4, input_bits=4
        )
        choices.append([replace(candidate, entry=entry) for candidate in layer])
    return surface(choices, (CYCLES, ENERGY))


def test_the_csv_file_holds_every_point(found, tmp_path):
    dense = [layer[0] for layer in found.choices]
    files = write_surface(tmp_path / "out", found, "net", ArraySpec(64, 64), dense)
    assert files == (tmp_path / "out" / "front.csv", tmp_path / "out" / "front.html")
    rows = list(csv.DictReader(io.StringIO(files[0].read_text(encoding="utf-8"))))
    layers = ["layer0", "layer1", "layer2"]
    assert list(rows[0]) == ["cycles", "energy_nj", "arrays", "predicted_loss", *layers, "hardware"]
    assert len(rows) == len(found) > 10
    for point, row in enumerate(rows):
        chosen = found.chosen(point)
        assert (int(row["cycles"]), int(row["arrays"])) == (total(chosen, CYCLES), total(chosen, ARRAYS))
        assert float(row["energy_nj"]) == pytest.approx(1e-3 * total(chosen, ENERGY), rel=1e-5)
        assert float(row["predicted_loss"]) == pytest.approx(total(chosen, LOSS), rel=1e-8)
        assert row["layer0"] == "g2 r4 4x8+2x2"


def test_bits_tell_plans_apart(found, tmp_path):
    """Two candidates of each layer that differ in their bits alone."""
    choices = []
    for number in range(2):
        entry = LayerPlan(f"layer{number}", DenseLayer(), mapping="sdk", weight_bits=4, input_bits=4)
        first = replace(found.choices[0][0], entry=entry, cycles=10, energy=5.0, loss=0.0)
        fewer = replace(entry, weight_bits=3)
        choices.append([first, replace(first, entry=fewer, energy=3.0, loss=0.1)])
    front = surface(choices, (CYCLES, ENERGY))
    files = write_surface(tmp_path, front, "net", ArraySpec(64, 64), [layer[0] for layer in choices])
    rows = list(csv.DictReader(io.StringIO(files[0].read_text(encoding="utf-8"))))
    assert {row["layer0"] for row in rows} == {"dense sdk", "dense 3/4b sdk"}
    text = files[1].read_text(encoding="utf-8").replace("\\u002f", "/")  # as scripts have it
    assert "layer1: dense 3/4b sdk" in text and "layer1: dense sdk" not in text


def test_the_page_says_how_exact_it_is_and_asks_no_server(found, tmp_path):
    dense = [layer[0] for layer in found.choices]
    _, page = write_surface(tmp_path, replace(found, epsilon=(12.0, 3e4)), "<net>", ArraySpec(64, 64), dense)
    text = page.read_text(encoding="utf-8")
    shown = re.sub(r"<script.*?</script>", "", text, flags=re.DOTALL)
    assert "at most 12 cycles and 30.0 nJ more" in shown
    assert "&lt;net&gt; on 64×64 arrays" in shown and "<net>" not in shown
    assert "http" not in shown and 'getElementById("front")' in text


def test_a_table_has_few_of_many_points(found):
    lines = surface_table(found, 6).splitlines()
    assert lines[0].split("  ")[0].strip() == "cycles" and "energy, nJ" in lines[0]
    assert 4 <= len(lines) - 2 <= 6 < len(found)
