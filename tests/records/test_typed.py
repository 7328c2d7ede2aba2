"""JSON files with a type, and what is read of them."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rankfold.documents import read_json
from rankfold.errors import InputError
from rankfold.records.schema import schema_validator
from rankfold.records.typed import is_typed, read_typed, write_typed

NUMBERS = st.integers(-(2**63), 2**63) | st.floats(allow_nan=False, allow_infinity=False)
CONTENT = st.recursive(
    st.none() | st.booleans() | NUMBERS | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)

COSTS = schema_validator("rankfold.reproduce", "costs.schema.json")


def costs(cycles, energy):
    """A file of costs with one array and one mapping."""
    return {"hardware": {}, "costs": {"64x64": {"sdk": [cycles, 0, energy]}}}


@given(content=st.dictionaries(st.text().filter(lambda key: not key.startswith("_")), CONTENT, max_size=4))
def test_what_is_written_is_read(content, tmp_path_factory):
    path = tmp_path_factory.getbasetemp() / "typed.json"
    write_typed(path, "rankfold.thing", 3, content)
    assert read_typed(path, "rankfold.thing", 3) == content
    assert is_typed(read_json(path), "rankfold.thing", 3)
    for kind, version in (("rankfold.other", 3), ("rankfold.thing", 2)):
        with pytest.raises(InputError, match=f"of this version; expected _type {kind}, _version {version}"):
            read_typed(path, kind, version)


def test_the_type_stands_before_the_content(tmp_path):
    path = tmp_path / "typed.json"
    write_typed(path, "rankfold.thing", 3, {"a": 1})
    assert list(json.loads(path.read_text())) == ["_type", "_version", "a"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("NaN", "NaN is no number of JSON"),
        ("[1, Infinity]", "Infinity is no number of JSON"),
        ("-1e400", "the number -1e400 is too large"),
        ("1" * 5000, "a whole number of 5,000 digits is too long"),
        ('{"a": }', "Expecting value"),
        ("[" * 100000, "recursion"),
    ],
)
def test_numbers_that_json_does_not_have_are_one_sentence(text, message, tmp_path):
    path = tmp_path / "odd.json"
    path.write_text(text)
    with pytest.raises(InputError, match=f"odd.json is not valid JSON: .*{message}"):
        read_json(path)


def test_large_numbers_are_read_exactly(tmp_path):
    path = tmp_path / "large.json"
    values = [2**200, -(2**63), 1.7976931348623157e308, 5e-324, -0.0]
    path.write_text(json.dumps(values))
    assert [repr(value) for value in read_json(path)] == [repr(value) for value in values]


@pytest.mark.parametrize("value", [True, 4.0, "4", None, 2**63, float("nan"), [4]])
def test_whole_numbers_are_whole(value):
    """JSON Schema alone takes 4.0 for a whole number."""
    assert COSTS.is_valid(costs(4, 1.5))
    assert not COSTS.is_valid(costs(value, 1.5))


@pytest.mark.parametrize("value", [True, "4", 2**63, float("nan"), float("inf"), -float("inf")])
def test_numbers_are_finite(value):
    """JSON Schema alone takes NaN for a number, and one that is in any range."""
    assert COSTS.is_valid(costs(4, None))
    assert not COSTS.is_valid(costs(4, value))


def test_references_are_resolved_as_json_schema_says():
    """A part that refers to a definition may say more beside it."""
    validator = schema_validator("rankfold.runs", "result.schema.json")
    size = validator.schema["properties"]["input"]
    assert (size["minItems"], size["maxItems"]) == (3, 3)
    assert size["items"] == {"type": "integer", "minimum": 1}
    assert "$ref" not in json.dumps(validator.schema) and "$defs" not in validator.schema
