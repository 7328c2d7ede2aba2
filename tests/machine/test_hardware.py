"""`Hardware` and its files: what is read is what was written, and what is wrong is refused with its place."""

from __future__ import annotations

import json
import pickle
from dataclasses import FrozenInstanceError, replace
from importlib import resources

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

import rankfold as rf
from rankfold.cost.energy import TABLES, load_table
from rankfold.errors import FieldError, InputError
from rankfold.machine import (
    DEFAULT_HARDWARE,
    Hardware,
    NonIdealities,
    find_hardware,
    hardware_names,
    hardware_text,
    load_hardware,
)
from rankfold.machine.description import PLACES, from_json, to_json
from rankfold.mapping import CODINGS, INPUT_CODINGS, ArraySpec

PRESETS = [name for name in hardware_names() if name != DEFAULT_HARDWARE.name]
ANY_BITS = st.none() | st.integers(1, 16)
LEVELS = st.floats(0, 1, allow_subnormal=False)


@st.composite
def hardware(draw):
    """Any hardware."""
    rows, columns = draw(st.integers(1, 300)), draw(st.integers(1, 300))
    coding, inputs = draw(st.sampled_from(CODINGS)), draw(st.sampled_from(INPUT_CODINGS))
    array = ArraySpec(rows, columns, draw(ANY_BITS), coding, draw(ANY_BITS), input_coding=inputs)
    noise = NonIdealities(
        adc_range=draw(st.sampled_from(["calibrated", "full", 2.5])),
        program_noise=draw(LEVELS | st.just("pcm")),
        drift=draw(st.none() | st.floats(0, 1e9)),
        drift_compensation=draw(st.booleans()),
        stuck=draw(LEVELS),
        ir_drop=draw(LEVELS),
    )
    return Hardware(
        name=draw(st.text(min_size=1, max_size=20)),
        array=array,
        technology=draw(st.sampled_from(TABLES)),
        adc=draw(st.none() | st.just("sar")),
        adc_bits=draw(ANY_BITS),
        mux=draw(st.none() | st.integers(1, columns)),
        noise=noise,
    )


@given(hardware())
def test_a_description_is_read_as_it_was_written(made):
    content = json.loads(json.dumps(to_json(made)))
    assert from_json(content, "here") == made
    # As YAML, too: a user may keep it as either.
    assert from_json(yaml.safe_load(yaml.safe_dump(content)), "here") == made


@pytest.mark.parametrize("name", PRESETS)
def test_presets_go_with_their_table_and_give_a_source_for_every_figure(name):
    made = load_hardware(name)
    table = load_table(made.technology).with_adc(made.adc, made.adc_bits)
    table.check_cells(made.array)
    figures = {
        f"{section}/{key}"
        for section, entries in yaml.safe_load(hardware_text(name)).items()
        if isinstance(entries, dict)
        for key in entries
    }
    assert made.name == name
    assert figures - {"adc/kind"} == set(made.sources)


def test_every_component_table_has_a_preset():
    assert {load_hardware(name).technology for name in PRESETS} == set(TABLES)


def test_the_default_is_that_of_the_class():
    assert load_hardware("default") is DEFAULT_HARDWARE
    assert from_json(yaml.safe_load(hardware_text("default")), "default") == DEFAULT_HARDWARE
    assert Hardware(array=ArraySpec(8, 8)).technology == DEFAULT_HARDWARE.technology


def test_a_figure_may_have_a_unit_and_a_source(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(
        "_type: rankfold.hardware\n_version: 1\nname: mine\n"
        "array: {rows: {value: 32, unit: row}, columns: 16}\n"
        "noise: {drift: {value: 2, unit: h, source: wished}, stuck: 0.5}\n"
    )
    made = rf.hardware(path)
    assert made.array == ArraySpec(32, 16)
    assert (made.noise.drift, made.noise.stuck) == (7200.0, 0.5)
    assert made.sources == {"noise/drift": "wished"}


def test_a_component_table_of_ones_own_is_looked_for_beside_the_description(tmp_path):
    (tmp_path / "mine.yaml").write_text(
        "_type: rankfold.hardware\n_version: 1\nname: mine\narray: {rows: 8, columns: 8}\n"
        "technology: table.yaml\n"
    )
    assert load_hardware(tmp_path / "mine.yaml").technology == str(tmp_path / "table.yaml")


WRONG = {
    "name: 3": "at name: 3 is not of type 'string'",
    "surprise: 1": "'surprise' was unexpected",
    "_version: 2": "at _version: 1 was expected",
    "array: {rows: 64}": "at array: 'columns' is a required property",
    "array: {rows: 0, columns: 8}": "at array/rows: 0 is less than the minimum of 1",
    "array: {rows: {value: 8, unit: mm}, columns: 8}": "at array/rows/unit: 'mm' is not one of",
    "array: {rows: {unit: row}, columns: 8}": "at array/rows: 'value' is a required property",
    "array: {rows: .inf, columns: 8}": "at array/rows: inf is not of type",
    "adc: {bits: 40}": "at adc/bits: 40 is greater than the maximum of 16",
    "adc: {bits: 4.0}": "at adc/bits: 4.0 is not of type",
    "adc: {mux: 9}": r"description of hardware: adc/mux: mux \(=9\) must be a whole number from 1 to 8",
    "array: {rows: 8, columns: 8, rows_driven: 9}": (
        r"description of hardware: array/rows_driven: array rows_driven \(=9\) must be a whole number from 1"
    ),
    "cells: {coding: gray}": "at cells/coding: 'gray' does not match",
    "cells: {bits: true}": "at cells/bits: True is not of type",
    "noise: {drift: soon}": "at noise/drift: 'soon' does not match",
    "noise: {stuck: 2}": "at noise/stuck: 2 is greater than the maximum of 1",
    "noise: {adc_bits: 4}": "'adc_bits' was unexpected",
    "[": "is not valid YAML",
}


@pytest.mark.parametrize(("text", "complaint"), WRONG.items(), ids=WRONG)
def test_wrong_descriptions_are_refused_with_their_place(text, complaint, tmp_path):
    lines = {"_type": "rankfold.hardware", "_version": 1, "name": "mine", "array": {"rows": 8, "columns": 8}}
    path = tmp_path / "mine.yaml"
    if text == "[":
        path.write_text(text)
    else:
        path.write_text(yaml.safe_dump(lines | yaml.safe_load(text)))
    with pytest.raises(InputError, match=complaint) as caught:
        load_hardware(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("field", sorted(set(PLACES) - {"drift_compensation"}))
def test_what_is_out_of_range_knows_its_field(field):
    """So that whoever read it from a file needs no words of the message, also in another process."""
    with pytest.raises(FieldError, match=r"\(=-1\)") as caught:
        DEFAULT_HARDWARE.altered(**{field: -1})
    assert caught.value.field == field
    sent = pickle.loads(pickle.dumps(caught.value))
    assert (str(sent), sent.field) == (str(caught.value), field)


@pytest.mark.parametrize(
    ("name", "complaint"),
    {
        "rram-22n": "did you mean rram-22nm",
        "nowhere.yaml": "cannot read hardware nowhere.yaml: No such file",
        "": "must be one of default, rram-22nm",
        "a\0b.yaml": "cannot read hardware",
    }.items(),
)
def test_unknown_names_are_refused(name, complaint):
    with pytest.raises(InputError, match=complaint):
        find_hardware(name)


def test_what_is_no_text_is_refused(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="not text in UTF-8"):
        load_hardware(path)


def test_changes_show_in_the_name():
    made = load_hardware("rram-22nm")
    changed = made.altered(rows=128, columns=128, adc_bits=6)
    assert changed.name == "rram-22nm with rows 128, columns 128, adc_bits 6"
    assert changed.altered(program_noise=0.5).name == f"{changed.name}, program_noise 0.5"
    assert changed.altered(rows=128) == changed
    # What is changed again is said once; a name of one's own may have any words.
    assert changed.altered(rows=32).name == "rram-22nm with columns 128, adc_bits 6, rows 32"
    odd = replace(made, name="board with fans, loud")
    assert odd.altered(mux=4).altered(mux=2).name == "board with fans, loud, mux 2"
    assert changed.array == replace(made.array, rows=128, columns=128)
    assert made.with_array(made.array) == made
    assert changed.non_idealities == NonIdealities(adc_bits=6)
    assert find_hardware(changed) is changed


def test_the_default_changed_back_is_called_the_default():
    changed = DEFAULT_HARDWARE.altered(technology="sram-22nm", mux=4)
    assert changed.name == "default with technology sram-22nm, mux 4"
    back = changed.altered(technology=DEFAULT_HARDWARE.technology, mux=None)
    assert back == DEFAULT_HARDWARE and back.name == "default"
    # A file's name may be any.
    odd = DEFAULT_HARDWARE.altered(technology="/a, b/rows 2.yaml", mux=4)
    assert odd.altered(technology="sram-22nm").name == "default with mux 4, technology sram-22nm"


@given(hardware(), st.integers(1, 300))
def test_smaller_arrays_do_not_share_an_adc_among_more_columns_than_they_have(made, columns):
    narrow = made.altered(columns=columns)
    fits = made.mux is None or made.mux <= columns
    assert narrow.mux == (made.mux if fits else None)
    with pytest.raises(InputError, match="mux"):
        made.altered(columns=columns, mux=columns + 1)


def test_hardware_cannot_be_changed_in_place_nor_given_by_position():
    with pytest.raises(FrozenInstanceError):
        DEFAULT_HARDWARE.mux = 3  # type: ignore[misc]
    with pytest.raises(TypeError):
        Hardware("x", ArraySpec(8, 8))  # type: ignore[call-arg, misc]


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        ({"array": "64x64"}, "must be an ArraySpec"),
        ({"technology": ""}, "technology"),
        ({"adc": 3}, "name of a kind"),
        ({"adc_bits": 17}, r"adc bits \(=17\)"),
        ({"adc_bits": True}, r"adc bits \(=True\)"),
        ({"mux": 0}, r"mux \(=0\)"),
        ({"noise": NonIdealities(adc_bits=4)}, "beside noise"),
    ],
)
def test_wrong_figures_are_refused(given, complaint):
    with pytest.raises(InputError, match=complaint):
        Hardware(**{"array": ArraySpec(8, 8), **given})
    with pytest.raises(InputError, match="no nonsense"):
        DEFAULT_HARDWARE.altered(nonsense=3)


def test_the_schema_is_one_itself():
    import jsonschema

    text = resources.files("rankfold.machine").joinpath("hardware.schema.json").read_text(encoding="utf-8")
    jsonschema.Draft202012Validator.check_schema(json.loads(text))
