"""Text tables for terminals."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rankfold.records.text_table import format_table, with_short_names


def test_columns_line_up():
    table = format_table(["layer", "cycles"], [["conv1", "1,024"], ["layer1.0.conv1", "8"]])
    assert table.splitlines() == [
        "layer           cycles",
        "--------------  ------",
        "conv1            1,024",
        "layer1.0.conv1       8",
    ]


def test_alignment_can_be_chosen():
    assert format_table(["a", "b"], [["xyz", "1"]], "><") == "  a  b\n---  -\nxyz  1"


def test_table_without_rows():
    assert format_table(["a", "bc"], []) == "a  bc\n-  --"


@pytest.mark.parametrize(("rows", "align"), [([["1"]], None), ([["1", "2"]], "<"), ([["1", "2"]], "lr")])
def test_wrong_shapes_are_refused(rows, align):
    with pytest.raises(ValueError, match=r"columns|consist"):
        format_table(["a", "b"], rows, align)


@given(st.lists(st.text("ab/;", min_size=1, max_size=400), unique=True, max_size=8))
def test_short_names_stay_different(names):
    """Of names with hundreds of letters, as TensorFlow's exporters make them."""
    shown = [row[0] for row in with_short_names([[name, "1"] for name in names])]
    assert len(set(shown)) == len(names)
    for name, short in zip(names, shown, strict=True):
        assert short == name or (len(short) < len(name) and name.startswith(short.partition("…")[0]))


def test_a_long_name_keeps_its_ends():
    name = "StatefulPartitionedCall/model/" + "block/" * 60 + "conv7/Conv2D"
    ((short, other),) = with_short_names([[name, "x"]])
    assert len(short) == 60 and other == "x"
    assert short.startswith("StatefulPartitioned…") and short.endswith("block/conv7/Conv2D")
