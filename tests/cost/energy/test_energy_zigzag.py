"""Against `zigzag-dse`'s model of the same macro: our engine with its figures, our tables with its ADC."""

from __future__ import annotations

import builtins
from dataclasses import replace

import pytest

from common.zigzag_macro import zigzag_macro
from rankfold.cli.main import main
from rankfold.cost.energy import Macro, find_table, load_table, macro_energy, zigzag_table
from rankfold.errors import InputError, MissingDependencyError
from rankfold.mapping import ArraySpec

MACROS = [(side, bits, adc) for side in (64, 128, 256) for bits in (2, 4, 8) for adc in (4, 5, 8)]


def peak(side: int, bits: int, adc: int):
    """ZigZag's macro of one-bit cells and input slices, and its energy in a cycle in which all works."""
    macro, _, _ = zigzag_macro(side, adc, bits, bits)
    return macro, macro.get_peak_energy_single_cycle()


@pytest.mark.parametrize(("side", "bits", "adc"), MACROS)
def test_engine_with_its_figures_gives_its_energy(side, bits, adc):
    macro, energy = peak(side, bits, adc)
    table = zigzag_table(ArraySpec(side, side, 1, "differential", 1, converts="columns"), adc)
    found = macro_energy(
        table, Macro(rows=side, columns=side, columns_per_weight=bits, weight_bits=bits, input_bits=bits)
    )
    per_slice = {name: value / bits for name, value in found.energy.items()}
    assert per_slice["adc"] == pytest.approx(energy["adcs"])
    assert per_slice["word_lines"] == pytest.approx(energy["mults"])
    assert per_slice["bit_lines"] == pytest.approx(energy["analog_bl_addition"])
    assert per_slice["weight_shift_add"] == pytest.approx(energy["adders_pv"])
    assert per_slice["input_shift_add"] == pytest.approx(energy["accumulators"])
    assert found.total == pytest.approx(bits * sum(energy.values()))
    if bits == 4:
        assert found.latency * 1000 == pytest.approx(bits * macro.tclk)
        assert sum(found.area.values()) == pytest.approx(1e6 * macro.area)


@pytest.mark.parametrize(("cells", "most"), [(0.5, 0.20), (1.0, 0.30)])
@pytest.mark.parametrize(("side", "bits", "adc"), MACROS)
def test_own_sram_tables_agree_within_20_percent(side, bits, adc, cells, most):
    """With its ADC for every column and all rows active, as it assumes; half of the cells conduct, or all."""
    energy = sum(peak(side, bits, adc)[1].values())
    for node in (22, 32):  # ZigZag's 28 nm lie between
        table = replace(
            load_table(f"sram-{node}nm").with_adc("zigzag", adc), mux=1, active_rows=1.0, active_cells=cells
        )
        one_slice = macro_energy(
            table, Macro(rows=side, columns=side, columns_per_weight=bits, weight_bits=bits)
        )
        assert one_slice.total == pytest.approx(energy, rel=most)


def test_map_takes_its_figures(capsys):
    pytest.importorskip("zigzag", reason="the extra rankfold[zigzag] is not installed")
    assert main(["map", "resnet20", "--technology", "zigzag", "--bits", "4", "--adc-bits", "6"]) == 0
    assert "with zigzag, 6-bit zigzag ADC, an ADC for every column; 1-bit cells" in capsys.readouterr().out
    assert main(["map", "resnet20", "--technology", "zigzag", "--adc", "sar"]) == 2
    assert "adc (=sar): technology zigzag has its own; omit --adc" in capsys.readouterr().err


def test_hint_where_the_extra_is_missing(monkeypatch):
    known = builtins.__import__

    def without(name, *rest):
        if name.split(".")[0] == "zigzag":
            raise ImportError("No module named 'zigzag'")
        return known(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(
        MissingDependencyError, match=r"needs the package zigzag-dse .*: pip install 'rankfold\[zigzag\]'"
    ):
        find_table("zigzag", ArraySpec(64, 64))


def test_limits():
    pytest.importorskip("zigzag", reason="the extra rankfold[zigzag] is not installed")
    with pytest.raises(InputError, match=r"adc_bits \(=20\) must be a whole number from 1 to 16"):
        find_table("zigzag", ArraySpec(64, 64), adc_bits=20)
    with pytest.raises(InputError, match=r"array columns \(=3\) must be 4 or more"):
        zigzag_table(ArraySpec(64, 3))
