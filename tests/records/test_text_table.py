"""Text tables for terminals."""

import pytest

from rankfold.records.text_table import format_table


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
