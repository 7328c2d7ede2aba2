"""What is saved in energy, from measured points alone."""

from dataclasses import replace

import pytest

from common.measurement import ROW
from rankfold.plan.kinds import IDEAL
from rankfold.reproduce.headline import Point
from rankfold.reproduce.least_energy import savings, savings_table, savings_to_json


def point(method, accuracy, energy, **changes):
    of = replace(ROW, method=method, groups=None, rank=None, mapping="im2col")
    return Point(replace(of, **changes), accuracy, 1000, 1, energy=energy)


DENSE = point("quantise", 0.92, 1000e3)


def test_by_hand():
    """Half a point behind, at 400 nJ; what costs less is too far behind, free, unpriced or taught."""
    least = point("planned", 0.915, 400e3, mapping="best")
    far, free = point("planned", 0.909, 300e3), point("patdnn", 0.92, 200e3, steering=IDEAL, entries=4)
    unknown, taught = point("planned", 0.92, None), point("planned", 0.92, 100e3, distil=0.9)
    mapped = replace(DENSE, of=replace(DENSE.of, mapping="sdk"), energy=800e3)
    (found,) = savings([DENSE, mapped, least, far, free, unknown, taught])
    assert (found.dense, found.mapped, found.least) == (DENSE, mapped, least)
    assert found.share == pytest.approx(0.6) and found.share_of_mapped == pytest.approx(0.5)
    lines = savings_table([found]).splitlines()
    assert lines[2] == (
        "| 64x64 | dense, 4 bits | 92.00 % | 1,000.0 | 800.0 "
        "| plan, 4 bits (best) | 91.50 % | 400.0 | 60.0 % | 50.0 % |"
    )
    assert "not simulated" in lines[-1]
    three = replace(found, least=replace(least, seeds=3, spread=0.001))
    assert "| 91.50 ± 0.10 % (3 seeds) |" in savings_table([three])
    (told,) = savings_to_json([found])
    assert told["least"]["energy"] == 400e3 and told["share_saved"] == found.share
    assert told["dense"]["hardware"] == ROW.hardware


def test_a_point_behind_is_within_a_point():
    least = point("planned", 0.91, 400e3)
    assert savings([DENSE, least])[0].least == least


def test_the_dense_network_of_most_bits_is_the_one_to_save_from():
    """And that of fewer bits may be the one that saves; networks in float, priced as if of 4, have no say."""
    three = point("quantise", 0.914, 500e3, bits=3)
    floats = [point(method, 0.95, 300e3, bits=None) for method in ("quantise", "low-rank")]
    (found,) = savings([three, DENSE, *floats])
    assert (found.dense, found.least) == (DENSE, three)
    assert savings(floats) == ()


def test_where_nothing_is_saved_the_dense_network_is_named():
    sdk = replace(DENSE, of=replace(DENSE.of, mapping="sdk"), cycles=500)
    (found,) = savings([DENSE, sdk, point("planned", 0.80, 10e3)])
    assert found.least == sdk and found.share == 0  # as much energy in fewer cycles


def test_of_as_much_energy_the_most_accurate_is_named():
    one, other = point("planned", 0.915, 400e3), replace(point("planned", 0.92, 400e3), cycles=2000)
    assert savings([DENSE, one, other])[0].least == other


def test_each_array_and_teacher_has_its_own():
    taught, elsewhere = (
        replace(DENSE, of=replace(DENSE.of, **change)) for change in ({"distil": 0.9}, {"array": "128x128"})
    )
    assert [one.dense for one in savings([DENSE, taught, elsewhere])] == [DENSE, taught, elsewhere]
    assert savings([point("planned", 0.9, 1e3)]) == () and savings_table(()) == ""
