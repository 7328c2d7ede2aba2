"""Headlines come from measured points alone; seeds are averaged and counted."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.measurement import ROW
from rankfold.errors import InputError
from rankfold.planning.search.result import not_dominated
from rankfold.reproduce.figure import figure
from rankfold.reproduce.headline import ROW_SPARSE, Comparison, Point, average, headline
from rankfold.reproduce.measure import read_table, write_table
from rankfold.reproduce.summary import headline_tables, headlines, headlines_to_json
from rankfold.reproduce.tables import energy_table, low_rank_tables, support_table


def point(accuracy, cycles, **changes):
    return Point(replace(ROW, accuracy=accuracy, cycles=cycles, **changes), accuracy, cycles, 1)


def theirs(accuracy, cycles, **changes):
    return point(
        accuracy, cycles, **{"method": "patdnn", "groups": None, "rank": None, "entries": 4, **changes}
    )


def test_low_rank_with_fewer_positions_is_a_method_of_its_own():
    plain, sparse = point(0.90, 800), point(0.89, 500, entries=4)
    alone = point(0.90, 600, method="support", groups=None, rank=None, entries=4)
    pairs = theirs(0.88, 1000, method="pairs")
    assert (sparse.method, sparse.label) == (
        "row-sparse low-rank",
        "row-sparse low-rank, g = 4, r = 1/8, e = 4, 4 bits",
    )
    assert (alone.method, alone.label) == ("support", "shared support, e = 4, 4 bits")
    everything = [plain, sparse, alone, pairs]
    found = headlines(everything)["64x64"]
    assert (
        found["PAIRS (free), SDK"].fewer.ours == plain
        and found["PAIRS (free), SDK"].fewer.ratio == 1000 / 800
    )
    assert found["shared support, SDK"].fewer.theirs == alone
    assert "low-rank, SDK" not in found
    found = headlines(everything, ROW_SPARSE)["64x64"]
    assert (found["PAIRS (free), SDK"].fewer.ours, found["PAIRS (free), SDK"].fewer.ratio) == (sparse, 2.0)
    assert found["low-rank, SDK"].fewer is None and found["low-rank, SDK"].better.theirs == plain
    assert "| row-sparse low-rank against |" in headline_tables({"64x64": found}, ROW_SPARSE)
    assert "500" not in low_rank_tables(everything)
    lines = support_table(everything).splitlines()
    assert lines[0] == "| setting | accuracy | cycles, 64x64 |"
    assert lines[2:] == [f"| {sparse.label} | 89.00 % | 500 |", f"| {alone.label} | 90.00 % | 600 |"]
    assert support_table([plain, pairs]) == ""
    drawn = figure(everything, "title")
    assert "row-sparse low-rank + SDK" in drawn and "shared support, SDK" in drawn


def test_by_hand():
    """At 0.90 ours needs 800 of their 2,000 cycles; their 900 cycles at 0.85 leave us 5 points."""
    ours = [point(0.90, 800), point(0.80, 500)]
    others = [theirs(0.89, 2000), theirs(0.85, 900), theirs(0.91, 2500), theirs(0.70, 400)]
    found = headline(ours, others)
    assert found.fewer.ratio == 2.5
    assert (found.fewer.ours, found.fewer.theirs) == (ours[0], others[0])
    assert found.better.gain == pytest.approx(0.05)
    assert (found.better.ours, found.better.theirs) == (ours[0], others[1])
    # 0.91 at 2,500 cycles is out of reach: a line between points would have given a ratio of 3 or so.
    assert headline(ours, [others[2]]).fewer is None
    assert headline(ours, [others[3]]).better is None


def test_plans_with_bits_of_each_layer_say_what_the_others_have():
    """Of two that may have 2 to 8 bits, one of them 8 else, both have a row."""
    plan = {"method": "planned", "groups": None, "rank": None, "energy": 3e5}
    four, eight = (
        point(0.9, 800, bits=bits, others=(("max_energy", "40%"), ("layer_bits", "2-8")), **plan)
        for bits in (4, 8)
    )
    assert four.label == "plan, energy = 40%, bits = 2-8, 4 bits and others"
    lines = energy_table([replace(four, energy=3e5), replace(eight, energy=6e5)], "sdk").splitlines()
    assert lines[2:4] == [f"| {four.label} | 90.00 % | 300 |", f"| {eight.label} | 90.00 % | 600 |"]


def test_settings_are_read_in_one_order_whatever_the_columns(tmp_path):
    first = replace(ROW, method="planned", others=(("max_energy", "40%"), ("layer_bits", "2-8")))
    second = replace(first, others=(("max_cycles", 300), *first.others))
    write_table(tmp_path / "cells.csv", [first, second])
    assert read_table(tmp_path / "cells.csv") == (first, second)


@pytest.mark.parametrize("setting", [{"bits": 8}, {"distil": 0.9}, {"others": (("layer_bits", "2-8"),)}])
def test_networks_of_other_bits_or_without_the_teacher_are_no_pairs(setting):
    """Ours of 4 bits against theirs of 4 alone, though ours of 8 would win more."""
    ours = [point(0.88, 800), point(0.95, 400, **setting)]
    others = [theirs(0.87, 1000), theirs(0.94, 500, **setting)]
    assert headline(ours, others).fewer.ratio == 1.25
    assert headline(ours, others[:1]).fewer.ratio == 1.25
    assert "PatDNN, SDK" not in headlines([ours[0], others[1]]).get("64x64", {})


def test_low_rank_tables_have_every_width():
    first, second = point(0.90, 800), point(0.80, 800, bits=8)
    written = low_rank_tables([first, second])
    for width, accuracy in (("4 bits", "90.00 %"), ("8 bits", "80.00 %")):
        assert f"by groups g and rank r, {width}" in written and accuracy in written
    assert "bits" not in low_rank_tables([first])
    # Of each width the points of least distillation, whatever other widths have.
    taught = low_rank_tables([point(0.90, 800, distil=0.9), second])
    assert "90.00 %" in taught and "80.00 %" in taught


def test_windows_and_plans_have_headlines_of_their_own():
    """Held against low-rank and each other as well as against what low-rank is held against."""
    plan = point(0.88, 400, method="planned", groups=None, rank=None)
    windows = point(0.86, 500, method="window", groups=None, rank=None)
    everything = [point(0.90, 800), windows, plan, theirs(0.85, 1000)]
    assert {"PatDNN, SDK", "window layers, SDK", "plan, SDK"} == set(headlines(everything)["64x64"])
    found = headlines(everything, "planned")["64x64"]
    assert set(found) == {"PatDNN, SDK", "low-rank, SDK", "window layers, SDK"}
    assert (found["PatDNN, SDK"].fewer.ratio, found["window layers, SDK"].fewer.ratio) == (2.5, 1.25)
    assert found["low-rank, SDK"].fewer is None
    assert headlines(everything, "window")["64x64"]["plan, SDK"].better is None


POINTS = st.lists(st.builds(point, st.sampled_from([0.5, 0.7, 0.8, 0.9]), st.integers(1, 30)), max_size=6)


@given(POINTS, POINTS)
def test_a_headline_is_a_pair_of_points_that_no_pair_beats(ours, others):
    found = headline(ours, others)
    pairs = [Comparison(one, other) for one in ours for other in others]
    fair = [pair.ratio for pair in pairs if pair.ours.accuracy >= pair.theirs.accuracy]
    assert (found.fewer is None) == (not fair)
    if found.fewer is not None:
        assert found.fewer in pairs
        assert found.fewer.gain >= 0 and found.fewer.ratio == max(fair)
    equal = [pair.gain for pair in pairs if pair.ours.cycles <= pair.theirs.cycles]
    assert (found.better is None) == (not equal)
    if found.better is not None:
        assert found.better in pairs
        assert found.better.ratio >= 1 and found.better.gain == max(equal)


@given(POINTS)
def test_the_front_beats_all_other_points(points):
    front = not_dominated(points)
    assert set(front) <= set(points)
    for one in points:
        assert any(other.cycles <= one.cycles and other.accuracy >= one.accuracy for other in front)
    for one in front:
        as_good = [other for other in points if other.cycles <= one.cycles and other.accuracy >= one.accuracy]
        assert all((other.cycles, other.accuracy) == (one.cycles, one.accuracy) for other in as_good)


def test_seeds_are_averaged_and_counted():
    rows = [replace(ROW, seed=seed, accuracy=accuracy) for seed, accuracy in enumerate((0.90, 0.91, 0.95))]
    other = replace(ROW, array="32x32", cycles=3000)
    longer = replace(ROW, epochs=10)
    points = average([*rows, other, longer])
    assert [(round(found.accuracy, 6), found.cycles, found.seeds) for found in points] == [
        (0.92, 800, 3),
        (0.9, 3000, 1),
        (0.9, 800, 1),
    ]
    assert points[0].spread == pytest.approx(0.0264575)  # sqrt((0.02^2 + 0.01^2 + 0.03^2) / 2)
    assert points[1].spread is None


def test_tables_compare_alike_with_alike():
    """Their best mapping is held against our best, and only networks of as many bits."""
    ours = [point(0.9, 800), point(0.9, 700, mapping="best"), point(0.85, 400, rank="1/16")]
    pruned = [
        theirs(0.88, 1600),
        theirs(0.88, 1400, mapping="best"),
        theirs(0.88, 300, steering="ideal"),
    ]
    dense = theirs(0.91, 2000, method="quantise", entries=None)
    one_bit = theirs(0.5, 2000, method="quantise", entries=None, bits=1)
    points = [*ours, *pruned, dense, one_bit]
    found = headlines(points)["64x64"]
    assert list(found) == ["PatDNN, SDK", "PatDNN, best", "PatDNN, SDK, ideal steering", "dense, SDK"]
    assert found["PatDNN, SDK"].fewer.ratio == 2
    assert found["PatDNN, best"].fewer.ratio == 2
    assert found["PatDNN, SDK, ideal steering"].fewer.ratio == 0.375
    assert found["PatDNN, SDK, ideal steering"].better is None
    assert found["dense, SDK"].fewer is None
    assert found["dense, SDK"].better.gain == pytest.approx(-0.01)
    text = headline_tables({"64x64": found})
    setting = "low-rank, g = 4, r = 1/8, 4 bits (90.00 %, 800 cycles, 1 seed)"
    assert f"| PatDNN, SDK | 2.00x | {setting} against PatDNN, e = 4" in text
    assert "| dense, SDK | – | no such pair | -1.00 |" in text
    content = headlines_to_json({"64x64": found})["64x64"]["PatDNN, SDK"]["fewer_cycles"]
    assert (
        content["ratio"] == 2
        and content["ours"]["seeds"] == 1
        and content["theirs"]["setting"] == "PatDNN, e = 4, 4 bits"
    )
    assert "| 4 | 90.00 % | 85.00 % |" in low_rank_tables(points)
    assert low_rank_tables(points[3:]) == ""


def test_the_table_is_read_as_it_was_written(tmp_path):
    rows = (
        ROW,
        replace(ROW, method="channel", groups=None, rank=None, ratio=0.5, bits=None, steering="ideal"),
    )
    write_table(tmp_path / "cells.csv", rows)
    assert read_table(tmp_path / "cells.csv") == rows
    cut = (tmp_path / "cells.csv").read_text().rpartition(",")[0]  # the hardware of the last row
    (tmp_path / "cut.csv").write_text(cut)
    with pytest.raises(InputError, match="a row is cut off before column"):
        read_table(tmp_path / "cut.csv")
    (tmp_path / "other.csv").write_text("a,b\n1,2\n")
    with pytest.raises(InputError, match="is not a table of cells"):
        read_table(tmp_path / "other.csv")
    with pytest.raises(InputError, match="cannot read"):
        read_table(tmp_path / "none.csv")


def test_the_figure_shows_every_array_and_says_its_points():
    points = [
        point(0.9, 800),
        point(0.8, 400, rank="1/16"),
        theirs(0.88, 1600),
        theirs(0.88, 300, steering="ideal"),
        point(0.9, 99, array="128x128"),
    ]
    drawn = figure(points, "A title")
    assert drawn == figure(points, "A title")
    for words in (
        "64x64 arrays",
        "128x128 arrays",
        "A title",
        "group low-rank + SDK",
        "PatDNN, SDK, ideal steering",
    ):
        assert words in drawn
    assert "PAIRS" not in drawn
    assert "low-rank, g = 4, r = 1/16, 4 bits, sdk, plain, 64x64: 80.00 % at 400 cycles" in drawn


def test_energy_is_the_mean_over_seeds_in_nanojoules():
    rows = [replace(ROW, seed=seed, energy=energy) for seed, energy in ((0, 4000.0), (1, 6000.0))]
    other = [replace(row, array="128x128", energy=None) for row in rows[:1]]
    (one, two) = average([*rows, *other])
    assert (one.energy, two.energy) == (5000.0, None)
    assert "| 64x64 |" in energy_table([one, two], "sdk") and "| 5 |" in energy_table([one, two], "sdk")
    assert energy_table([two], "sdk") == ""


def test_a_figure_of_nothing_that_it_shows_is_empty():
    """A mapping of no series, as in tables that were edited."""
    drawn = figure([point(0.9, 800, mapping="im2col")], "A title")
    assert "64x64 arrays" in drawn and "90.00 %" not in drawn
