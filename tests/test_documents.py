"""What others wrote is read as plain values, or refused in one sentence."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from rankfold.documents import in_schema, parse_yaml, read_json
from rankfold.errors import InputError
from rankfold.records.schema import strict_validator


def test_bad_json_files(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"cannot read .*gone\.json: No such file"):
        read_json(tmp_path / "gone.json")
    with pytest.raises(InputError, match="cannot read"):
        read_json(tmp_path)
    for content in (b"", b'{"a": 1', b"\xff\xfe", b"plain words"):
        (tmp_path / "bad.json").write_bytes(content)
        with pytest.raises(InputError, match=r"bad\.json is not valid JSON"):
            read_json(tmp_path / "bad.json")


def test_a_key_is_given_once(tmp_path: Path) -> None:
    """Of two the first would be dropped in silence, and its numbers with it."""
    (tmp_path / "twice.json").write_text('{"a": {"x": 1, "y": 2, "x": 3}}')
    with pytest.raises(InputError, match=r"not valid JSON: the key x is there twice in one object; keep one"):
        read_json(tmp_path / "twice.json")
    for text in ("a: 1\nb: 2\na: 3", "- {c: 0, a: 1, a: 1}"):
        with pytest.raises(InputError, match=r"not valid YAML: the key a is there twice in one mapping"):
            parse_yaml(text, "mine.yaml")
    with pytest.raises(InputError, match="the key true is there twice"):
        parse_yaml("yes: 1\ntrue: 2", "mine.yaml")
    assert parse_yaml("1: a\n'1': b", "mine.yaml") == {1: "a", "1": "b"}
    assert parse_yaml("a: &a {x: 1}\nb: &b {y: 2}\nc: {<<: *a, <<: *b}", "mine.yaml")["c"] == {"x": 1, "y": 2}
    # What merges another mapping overrides its keys, as it should.
    merged = parse_yaml("a: &a {x: 1}\nb: &b {<<: *a, x: 2}\nc: {<<: *b, x: 3}", "mine.yaml")
    assert [merged[name]["x"] for name in "abc"] == [1, 2, 3]


def test_a_yaml_file_stands_for_no_more_than_it_may() -> None:
    """Each list holds the one before it ten times, or itself: an alias costs nothing to write."""
    rows = ["a0: &a0 [1, 1]"]
    rows += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12)]
    for text in ("\n".join(rows), "a: &a {b: [*a]}", "&a [{c: *a}]"):
        with pytest.raises(InputError, match=r"mine\.yaml repeats parts of itself"):
            parse_yaml(text, "mine.yaml")
    shared = parse_yaml("\n".join(rows[:4]), "mine.yaml")
    assert len(shared["a3"]) == 10 and shared["a3"][0] is shared["a3"][1]
    assert parse_yaml("3", "mine.yaml") == 3 and parse_yaml("", "mine.yaml") is None


def test_deep_nesting_is_refused_by_schemas() -> None:
    nested: Any = 1
    for _ in range(3000):
        nested = [nested]
    with pytest.raises(InputError, match=r"a table: it is nested too deeply|a table: at top level"):
        in_schema(nested, strict_validator({"type": "object"}), "a table")
