"""Peak efficiency of published macros: the shipped tables, untuned, against measurements
(tests/data/published_macros.csv).

Each row restates a paper's figures as ZigZag-IMC's and CiMLoop's public validation scripts have them. The
circuits differ from those of the tables (charge sharing, C-2C ladders, weights along a column), and the
errors are accordingly large; they are listed in results/energy/published_macros.csv and docs/energy.md, and a
change that moves them should be noticed.
"""

from __future__ import annotations

import pytest
from published_macros import compared

from rankfold.cost.energy import Macro
from rankfold.errors import InputError

# (macro, table): error of TOPS/W with the table's own flash ADC
STATED = {
    ("CICC 2021", "sram-22nm"): -0.06,
    ("JSSC 2023", "sram-22nm"): -0.52,
    ("JSSC 2023", "sram-32nm"): -0.64,
    ("ISSCC 2023 7.8", "sram-22nm"): 0.90,
    ("VLSI 2022 at 0.8 V", "sram-22nm"): 1.11,
    ("VLSI 2022 at 0.9 V", "sram-22nm"): 1.34,
}


def test_errors_are_as_stated():
    found = {
        (row["name"], table.name): ours / float(row["tops_per_watt"]) - 1
        for row, table, ours in compared()
        if table.adc == "flash"
    }
    assert found == pytest.approx(STATED, abs=0.006)


def test_every_kind_of_adc_is_within_a_factor_of_eight():
    assert all(1 / 8 < ours / float(row["tops_per_watt"]) < 8 for row, _, ours in compared())


def test_a_macro_must_hold_whole_weights():
    with pytest.raises(
        InputError, match=r"macro columns \(=10\) must be a multiple of the columns per weight \(=4\)"
    ):
        Macro(rows=8, columns=10, columns_per_weight=4)
