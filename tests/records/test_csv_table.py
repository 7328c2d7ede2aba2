"""CSV files: what is read is what was written, and no spreadsheet runs any of it."""

import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rankfold.errors import InputError
from rankfold.records.csv_table import csv_text, is_plain, write_csv

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
CELLS = TEXTS | st.sampled_from(
    ["=1+1", "+a", "-b", "@c", "\td", "\re", "-0.5", "+3", "-", '"', "a,b", "1\n2"]
)


def read(text):
    return list(csv.reader(io.StringIO(text, newline="")))


def unescaped(cell):
    return cell[1:] if cell[:1] == "'" and cell[1:2] in tuple("=+-@\t\r") else cell


@given(st.lists(st.tuples(CELLS, CELLS), max_size=5))
def test_every_row_is_read_back(rows):
    header, *found = read(csv_text(["a", "b"], rows))
    assert header == ["a", "b"]
    # Readers take a carriage return alone for the end of a line unless it is quoted, and it is.
    assert [tuple(map(unescaped, row)) for row in found] == [tuple(map(unescaped, row)) for row in rows]


@given(CELLS)
def test_no_cell_begins_as_a_formula(cell):
    _, (written,) = read(csv_text(["a"], [[cell or "x"]]))
    if written[:1] in tuple("=+-@\t\r"):
        float(written)  # nothing but a number may


@pytest.mark.parametrize("cell", ["=HYPERLINK(1)", "+cmd", "-cmd", "@SUM(1)", "\t=1", "\r=1", "-1+1"])
def test_formulas_get_an_apostrophe_in_rows_and_headers(cell):
    header, row = read(csv_text([cell], [[cell]]))
    assert header == row == ["'" + cell]


@pytest.mark.parametrize(
    ("cell", "written"),
    [
        ("-0.5", "-0.5"),
        ("+1e-3", "+1e-3"),
        (-2, "-2"),
        (-2.5, "-2.5"),
        (0.1, "0.1"),
        (None, ""),
        (True, "True"),
        ("a=b", "a=b"),
    ],
)
def test_numbers_and_other_texts_stay(cell, written):
    assert csv_text(["a", "b"], [[cell, 1]]) == f"a,b\n{written},1\n"


@given(st.lists(st.tuples(CELLS, CELLS), max_size=5))
def test_plain_rows_are_written_the_same_way_at_once(tmp_path_factory, rows):
    path = tmp_path_factory.mktemp("csv") / "table.csv"
    plain = [row for row in rows if all(map(is_plain, row))]
    write_csv(path, ["=a", "b"], iter(plain), plain=True)
    assert path.read_bytes().decode() == csv_text(["=a", "b"], plain)
    write_csv(path, ["=a", "b"], iter(rows))
    assert path.read_bytes().decode() == csv_text(["=a", "b"], rows)


def test_a_file_that_cannot_be_written_stays(tmp_path):
    path = tmp_path / "table.csv"
    path.write_text("old")

    def rows():
        yield ["1"]
        raise RuntimeError("stopped")

    with pytest.raises(RuntimeError, match="stopped"):
        write_csv(path, ["a"], rows())
    assert path.read_text() == "old"
    assert [file.name for file in tmp_path.iterdir()] == ["table.csv"]
    with pytest.raises(InputError, match="cannot write"):
        write_csv(path / "below.csv", ["a"], [])
