"""Component tables: what is shipped, what users may write, and what is said of mistakes."""

from __future__ import annotations

from dataclasses import replace

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from rankfold.cost.energy import TABLES, ComponentTable, Formula, load_table, table_text
from rankfold.errors import InputError
from rankfold.mapping import CODINGS, CONVERSIONS, ArraySpec

PARTS = {
    "word_lines",
    "row_drivers",
    "dac",
    "cells",
    "column_mux",
    "weight_shift_add",
    "input_shift_add",
    "accumulators",
    "input_buffer",
    "output_buffer",
    "bus",
    "steering",
}


@pytest.mark.parametrize("name", TABLES)
def test_shipped_tables_are_complete(name):
    # Held against the schema, as `load_table` need not.
    table = ComponentTable.from_yaml(table_text(name), name)
    assert table.name == name
    assert table == load_table(name)
    assert set(table.names) > PARTS
    assert table.adc_kinds == ("flash", "sar", "zigzag")
    assert all(component.source for component in table.components if component.energy)
    assert all(adc.source for adc in table.adcs)


def changed(tmp_path, **changes):
    """A copy of rram-22nm with entries changed by their path, such as components__bus__formula."""
    content = yaml.safe_load(table_text("rram-22nm"))
    for path, value in changes.items():
        *steps, last = path.split("__")
        place = content
        for step in steps:
            place = place[step]
        if value is None:
            del place[last]
        else:
            place[last] = value
    file = tmp_path / "mine.yaml"
    file.write_text(yaml.safe_dump(content))
    return str(file)


def test_a_table_of_ones_own(tmp_path):
    own = {
        "energy": {
            "unit": "fJ",
            "formula": "E * 2**adc_bits",
            "constants": {"E": {"value": 3, "unit": "fJ"}},
            "source": "measured",
        },
        "time": {"unit": "ns", "formula": 2, "source": "measured"},
        "area": {"unit": "um2", "formula": "100", "source": "measured"},
    }
    table = load_table(changed(tmp_path, adcs__ramp=own, name="lab")).with_adc("ramp", 6)
    assert table.chosen_adc.energy.value({"adc_bits": 6}) == 3 * 64
    assert table.name == "lab"


def test_a_part_of_ones_own(tmp_path):
    part = {"per": "read", "unit": "fJ", "formula": "rows + 1", "source": "guess"}
    assert "precharge" in load_table(changed(tmp_path, components__precharge=part)).names


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"components__bus__formula": "E_bit * colums"},
            r"components/bus/formula \(=E_bit \* colums\): colums is unknown",
        ),
        (
            {"components__bus__formula": "E_bit *"},
            r"bus/formula \(=E_bit \*\) is not an arithmetic expression",
        ),
        (
            {"components__bus__formula": "__import__('os')"},
            r"bus/formula \(=__import__\('os'\)\): only numbers",
        ),
        ({"components__bus__formula": "rows.real"}, "only numbers, names"),
        ({"components__bus__formula": "0 - rows"}, r"is -64; it must be a finite number, 0 or more"),
        ({"components__bus__formula": "1 / (rows - 64)"}, "cannot be computed"),
        ({"components__bus__formula": "10**rows**rows"}, "cannot be computed"),
        ({"components__bus__formula": "(-1)**0.5"}, "cannot be computed"),
        (
            {"components__bus__constants__rows": {"value": 1, "unit": "1"}},
            "constant rows has the name of a variable",
        ),
        ({"components__bus__unit": "pJ"}, "at components/bus/unit: 'fJ' was expected"),
        ({"components__bus__per": "bit"}, "at components/bus/per: 'bit' is not one of"),
        ({"components__bus__source": None}, "at components/bus: 'source' is a dependency of 'per'"),
        ({"technology__vdd": -1}, "at technology/vdd"),
        ({"activity__rows": 1.5}, "at activity/rows: 1.5 is greater than the maximum of 1"),
        ({"adc__kind": "ramp"}, r"adc \(=ramp\) must be one of flash, sar, zigzag"),
        ({"activity__rows": float("nan")}, "at activity/rows: nan is not of type 'number'"),
        ({"cell_bits__default": 8}, r"default \(=8\) is more than most \(=4\)"),
        ({"adcs": None}, "'adcs' is a required property"),
        ({"voltage": 1}, "voltage"),
    ],
)
def test_mistakes_get_one_sentence(tmp_path, changes, message):
    file = changed(tmp_path, **changes)
    with pytest.raises(InputError, match=message) as caught:
        load_table(file)
    assert str(caught.value).startswith(file)
    assert "\n" not in str(caught.value)


def test_files_that_are_no_table(tmp_path):
    file = tmp_path / "mine.yaml"
    with pytest.raises(InputError, match=r"cannot read .*mine\.yaml: No such file"):
        load_table(str(file))
    file.write_text("a: [1,\nb: {")
    with pytest.raises(InputError, match=r"mine\.yaml is not valid YAML: .*line 2"):
        load_table(str(file))
    file.write_text("[" * 700)
    with pytest.raises(InputError, match=r"mine\.yaml is not valid YAML: "):
        load_table(str(file))
    file.write_text("- a layer\n" * 500)
    with pytest.raises(
        InputError,
        match=r"mine\.yaml is not a component table: at top level: \.\.\. .*is not of type 'object'",
    ) as caught:
        load_table(str(file))
    assert len(str(caught.value)) < len(str(file)) + 300
    file.write_text("")
    with pytest.raises(
        InputError, match=r"mine\.yaml is not a component table: at top level: None is not of type 'object'"
    ):
        load_table(str(file))
    file.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="not text in UTF-8"):
        load_table(str(file))
    with pytest.raises(
        InputError, match=r"technology \(=pcm\) must be one of rram-22nm, .*, zigzag, or a \.yaml file"
    ):
        load_table("pcm")


@pytest.mark.parametrize("bits", [0, 17, 2.5])
def test_resolutions_out_of_range(bits):
    with pytest.raises(InputError, match=rf"adc_bits \(={bits}\) must be a whole number from 1 to 16"):
        load_table("rram-22nm").with_adc(bits=bits)


def sums_and_products(part):
    """Two parts with an operator between them."""
    return st.tuples(part, st.sampled_from("+*"), part).map(lambda three: f"({' '.join(three)})")


LEAVES = st.one_of(st.integers(0, 99).map(str), st.sampled_from(["a", "b"]))


@given(st.recursive(LEAVES, sums_and_products, max_leaves=8))
def test_formulae_compute_as_python_does(text):
    assert Formula(text).value({"a": 2.0, "b": 0.5}) == pytest.approx(float(eval(text, {"a": 2.0, "b": 0.5})))


def test_functions():
    assert Formula("max(ceil(1.2), floor(1.9), log2(8)) + min(4, sqrt(16))").value({}) == 7


def test_a_table_keeps_its_text():
    text = table_text("sram-32nm")
    assert ComponentTable.from_yaml(text, "copy") == load_table("sram-32nm")


def test_whole_numbers_may_be_written_as_fractions(tmp_path):
    table = load_table(changed(tmp_path, mux=8.0, adc__bits=5.0, cell_bits__default=2.0))
    assert f"{table.mux} {table.adc_bits} {table.cell_bits}" == "8 5 2"


@pytest.mark.parametrize("coding", CODINGS)
@pytest.mark.parametrize("converts", CONVERSIONS)
def test_cells_of_a_table_are_coded_as_the_array_asks(tmp_path, coding, converts):
    shipped = load_table("rram-22nm")
    array = ArraySpec(64, 64, coding=coding, converts=converts)
    # As if the array had named the cells, too.
    assert shipped.with_cells(array) == replace(array, cell_bits=shipped.cell_bits)
    own = load_table(changed(tmp_path, coding=coding, converts=converts))
    assert own.with_cells(ArraySpec(64, 64)) == replace(array, cell_bits=own.cell_bits)
