"""The Pareto front as files: every point in the CSV, a page that needs nothing else, a picture, a table."""

import csv
import io
import json
import re
from dataclasses import dataclass, replace

import numpy as np
import pytest

from rankfold.cost.energy import load_table
from rankfold.errors import InputError
from rankfold.machine import load_hardware
from rankfold.mapping import ArraySpec
from rankfold.plan import LowRankLayer
from rankfold.planning.exact import ARRAYS, CYCLES, ENERGY, LOSS, Front, front, total
from rankfold.planning.exact.costing import Costing
from rankfold.planning.exact.slots import dense_network, layer_slots
from rankfold.planning.kinds.kind import layer_entries
from rankfold.report.kinds import families
from rankfold.report.pareto.figure import figure
from rankfold.report.pareto.table import write_points
from rankfold.report.pareto.view import MOST_POINTS, FrontView, loss_floor, loss_ticks
from rankfold.report.pareto.write import front_table, write_front
from rankfold.workload import zoo_network

ARRAY = ArraySpec(64, 64)
LAYERS = (
    "layer1.0.conv1",
    "layer2.0.conv1",
    "layer3.1.conv2",
)  # may change; the first convolution and the classifier stay


@pytest.fixture(scope="module")
def network():
    """Dense candidates and all others of five layers of ResNet-20, with real costs and made-up losses."""
    whole = zoo_network("resnet20")
    slots = layer_slots(whole, ARRAY, 4)
    costing = Costing.of(whole, dense_network(whole, ARRAY, slots), load_table("rram-22nm"))
    rng = np.random.default_rng(3)
    dense, choices = [], []
    for slot in slots:
        kept = costing.candidate(slot.entry, [ENERGY])
        if slot.entry.name not in LAYERS:
            if slot.entry.name in ("conv1", "fc"):
                dense.append(kept)
                choices.append((kept,))
            continue
        channels = slot.shape.in_channels
        ranks = np.argsort(rng.permuted(np.tile(np.arange(9), (channels, 1)), axis=1), axis=1)
        families = [{2: ranks < 2, 4: ranks < 4}, {2: np.tile(ranks[:1] < 2, (channels, 1))}]
        entries = [
            entry
            for entry in layer_entries(slot, families)
            if entry.mapping == "sdk" and entry.kind.changes_weight
        ]
        taken = [entries[index] for index in rng.choice(len(entries), 12, replace=False)] + entries[-1:]
        found = [costing.candidate(entry, [ENERGY]) for entry in taken]
        loss = [rng.uniform(0.5, 1) * (1 - candidate.weights / kept.weights) ** 2 for candidate in found]
        dense.append(kept)
        choices.append(
            (kept, *(replace(candidate, loss=lost) for candidate, lost in zip(found, loss, strict=True)))
        )
    return tuple(dense), tuple(choices)


def read(path):
    return list(csv.DictReader(io.StringIO(path.read_text(encoding="utf-8"))))


def without_scripts(page):
    return re.sub(r"<script.*?</script>", "", page, flags=re.DOTALL)


@pytest.mark.parametrize("quantity", [CYCLES, ENERGY])
def test_the_csv_file_holds_every_point(network, tmp_path, quantity):
    dense, choices = network
    found = front(choices, quantity)
    assert len(found) > 10
    hardware = load_hardware("sram-22nm").altered(adc_bits=6)
    files = write_front(tmp_path / "out", found, "resnet20", ARRAY, dense, hardware=hardware)
    assert files == tuple(tmp_path / "out" / name for name in ("front.csv", "front.html", "front.svg"))
    rows = read(files[0])
    assert list(rows[0]) == [
        "cycles",
        f"share_of_dense_{quantity}",
        "arrays",
        "energy_nj",
        "predicted_loss",
        "conv1",
        *LAYERS,
        "fc",
        "hardware",
    ]
    assert len(rows) == len(found)
    assert {row["hardware"] for row in rows} == {"sram-22nm with adc_bits 6"}
    assert "Hardware: sram-22nm with adc_bits 6." in without_scripts(files[1].read_text())
    for point, row in enumerate(rows):
        chosen = found.chosen(point)
        assert (int(row["cycles"]), int(row["arrays"])) == (total(chosen, CYCLES), total(chosen, ARRAYS))
        assert float(row["energy_nj"]) == pytest.approx(1e-3 * total(chosen, ENERGY), rel=1e-5)
        assert float(row["predicted_loss"]) == pytest.approx(total(chosen, LOSS), rel=1e-8)
        assert float(row[f"share_of_dense_{quantity}"]) == pytest.approx(
            total(chosen, quantity) / total(dense, quantity), rel=1e-5
        )
        for candidate in chosen:
            assert row[candidate.entry.name] == candidate.entry.kind.short()


def test_names_and_structures_that_a_spreadsheet_would_run_are_texts(network, tmp_path):
    dense, choices = network

    @dataclass(frozen=True)
    class Odd(LowRankLayer):
        def short(self):
            return '=g4, "r8"'

    def odd(candidate):
        kind = candidate.entry.kind
        if isinstance(kind, LowRankLayer):
            kind = Odd(kind.groups, kind.rank)
        return replace(candidate, entry=replace(candidate.entry, name="@" + candidate.entry.name, kind=kind))

    found = front([[odd(candidate) for candidate in layer] for layer in choices])
    write_points(tmp_path / "front.csv", FrontView(found, tuple(odd(candidate) for candidate in dense)))
    rows = read(tmp_path / "front.csv")
    assert len(rows) == len(found)
    assert "'@" + LAYERS[0] in rows[0]
    assert {row["'@" + name] for row in rows for name in LAYERS} & {'\'=g4, "r8"'}


def test_energy_that_was_not_counted_is_left_out(network, tmp_path):
    dense, choices = network
    bare = [[replace(candidate, energy=None) for candidate in layer] for layer in choices]
    found = front(bare)
    write_points(tmp_path / "front.csv", FrontView(found, dense))
    assert "energy_nj" not in read(tmp_path / "front.csv")[0]
    assert "energy" not in front_table(found, dense)
    assert "energy, nJ" in front_table(front(choices), dense)


def test_the_page_needs_nothing_else_and_shows_the_front(network, tmp_path):
    dense, choices = network
    found = front(choices)
    chosen = found.chosen(len(found) // 2)
    page = write_front(tmp_path, found, "<net>", ARRAY, dense, chosen)[1].read_text(encoding="utf-8")
    plain = without_scripts(page)
    assert "http" not in plain
    assert not re.search(
        r"<script[^>]*\ssrc=|<link|<img|\bhref=.[^#]|@import|url\(",
        plain + "".join(re.findall(r"<script[^>]*>", page)),
    )
    assert "&lt;net&gt; on 64×64 arrays at 4\u00a0bits" in plain and "<net>" not in plain
    assert f"{len(found):,} best plans" in plain
    assert "chosen plan" in plain
    assert len(page) > 1_000_000  # plotly itself is inside
    # The data in the script are those of the figure.
    assert json.dumps(figure(FrontView(found, dense, chosen)).data[0].y[3]) in page


def test_the_figure_says_what_each_layer_becomes(network):
    dense, choices = network
    found = front(choices)
    chosen = found.chosen(1)
    curve, kept, plan, layers = figure(FrontView(found, dense, chosen)).data
    assert list(curve.x) == found.costs.tolist()
    assert list(curve.y) == np.maximum(found.losses, loss_floor(found.losses)).tolist()
    for point in (0, len(found) // 2):
        text = curve.text[point].replace("\u00a0", " ")
        share = 100 * found.costs[point] / total(dense, CYCLES)
        assert f"{found.costs[point]:,.0f} cycles ({share:.1f} % of dense)" in text
        for candidate in found.chosen(point)[1:-1]:
            name, becomes = re.escape(candidate.entry.name), re.escape(candidate.entry.kind.short())
            assert re.search(rf"{name} +{becomes}(<br>|$)", text)
    assert list(kept.x) == [total(dense, CYCLES)] and "dense network" in kept.text[0]
    assert list(plan.x) == [total(chosen, CYCLES)] and "chosen plan" in plan.text[0]
    assert list(layers.y) == list(LAYERS)
    assert len(layers.x) == len(found) + 1 and list(layers.x) == sorted(layers.x)
    assert all(left <= at <= right for left, at, right in zip(layers.x, curve.x, layers.x[1:], strict=False))
    for row, index in zip(layers.z, (1, 2, 3), strict=True):
        costs = [found.chosen(point)[index].cycles for point in range(len(found))]
        assert list(row) == [cost / dense[index].cycles for cost in costs]


def test_the_same_front_gives_the_same_bytes(network, tmp_path):
    dense, choices = network
    one, two = (
        [path.read_bytes() for path in write_front(tmp_path / name, front(choices), "resnet20", ARRAY, dense)]
        for name in "ab"
    )
    assert one == two


def test_the_picture_shows_dense_and_chosen(network, tmp_path):
    dense, choices = network
    found = front(choices)
    alone = write_front(tmp_path, found, "resnet20", ARRAY, dense)[2].read_text(encoding="utf-8")
    assert "dense network, no loss" in alone and "chosen plan" not in alone
    both = write_front(tmp_path, found, "resnet20", ARRAY, dense, found.chosen(0))[2].read_text(
        encoding="utf-8"
    )
    assert "chosen plan, +" in both
    assert f"{total(dense, CYCLES):,.0f} cycles" in both
    assert "predicted increase of the loss" in both


def test_the_table_is_thinned_and_counts_layers(network):
    dense, choices = network
    found = front(choices)
    lines = front_table(found, dense, most=7).splitlines()
    assert 4 <= len(lines) - 2 <= 7
    for line, point in ((lines[2], 0), (lines[-1], len(found) - 1)):
        assert line.split()[0] == f"{found.costs[point]:,.0f}"
        assert f"{found.losses[point]:.4f}" in line
    assert lines[-1].split()[-1] == "5"  # all are dense
    counted = FrontView(found, dense).families(found.chosen(0))
    assert sum(counted) == 5
    words = [candidate.entry.kind.short() for candidate in found.chosen(0)]
    of_family = dict(zip(families(), counted, strict=True))
    assert of_family == {
        **dict.fromkeys(families(), 0),
        "dense": words.count("dense"),
        "low-rank": sum("r" in word and "g" in word and "e" not in word for word in words),
        "support": sum(word.startswith("e") for word in words),
        "both": sum("g" in word and " e" in word for word in words),
    }


def test_a_front_of_one_point(network, tmp_path):
    """Of a network in which nothing can change."""
    dense, _ = network
    found = front([[candidate] for candidate in dense])
    files = write_front(tmp_path, found, "resnet20", ARRAY, dense, dense)
    # One heading stands over the columns of all families.
    assert f'colspan="{len(families())}"' in files[1].read_text(encoding="utf-8")
    assert len(read(files[0])) == 1
    assert f"no plan is better than that of {total(dense, CYCLES):,.0f} cycles" in files[1].read_text(
        encoding="utf-8"
    )
    assert len(front_table(found, dense).splitlines()) == 3
    assert len(figure(FrontView(found, dense)).data) == 2


def test_a_long_front_is_thinned_in_the_page_alone(network, tmp_path):
    dense, choices = network
    points = 5000
    rng = np.random.default_rng(0)
    picks = np.stack([rng.integers(0, len(layer), points) for layer in choices], axis=1)
    long = Front(CYCLES, 100.0 + np.arange(points), np.geomspace(9, 1e-9, points), choices, picks)
    view = FrontView(long, dense)
    write_points(tmp_path / "front.csv", view)
    assert len(read(tmp_path / "front.csv")) == points
    drawn = figure(view)
    assert 100 < len(drawn.data[0].x) <= MOST_POINTS
    assert min(drawn.data[0].y) == pytest.approx(9e-5)  # five decades are drawn, no more


def test_many_layers_stand_side_by_side(network):
    dense, choices = network

    def named(candidate, name):
        return replace(candidate, entry=replace(candidate.entry, name=name))

    names = [f"block{number}.conv" for number in range(60)]
    many = [tuple(named(candidate, name) for candidate in choices[1][:3]) for name in names]
    kept = tuple(named(dense[1], name) for name in names)
    found = front([(layer[0], *layer[1:]) for layer in many])
    text = figure(FrontView(found, kept)).data[0].text[0]
    assert text.count("<br>") < 30
    assert all(re.search(rf"\b{re.escape(name)}\b", text) for name in names)


def test_what_cannot_be_drawn_is_refused(network, tmp_path):
    dense, choices = network
    free = Front(CYCLES, np.zeros(1), np.zeros(1), choices, np.zeros((1, len(choices)), np.int32))
    with pytest.raises(InputError, match="costs no cycles"):
        write_front(tmp_path / "out", free, "resnet20", ARRAY, dense)
    assert not (tmp_path / "out").exists()
    with pytest.raises(ValueError, match="same layers"):
        front_table(front(choices), dense[::-1])


def test_supports_in_words_come_with_a_star_where_they_are_shared(network):
    _, choices = network
    words = {word for layer in FrontView(front(choices), network[0]).structures for word in layer}
    assert any(word.endswith("e2*") for word in words)
    assert any(re.search(r"e[24]$", word) for word in words)


def test_ticks_of_losses():
    assert loss_ticks(0.004, 30) == [0.01, 0.1, 1, 10]
    assert loss_ticks(0.3, 0.9) == pytest.approx([0.3, 0.5, 0.7])
    assert loss_floor(np.array([5.0, 1e-9, 0.0])) == pytest.approx(5e-5)
    assert loss_floor(np.array([5.0, 0.5, 0.0])) == 0.5
    assert loss_floor(np.zeros(1)) > 0
