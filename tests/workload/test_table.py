"""Networks read from tables of shapes."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rankfold.errors import InputError
from rankfold.workload import ConvShape, Network
from rankfold.workload.table import read_table

HEADER = "name,in_channels,out_channels,kernel,input,stride,padding,dilation,groups\n"
GOOD = "stem,3,16,3,32x30,1,1,1,1\n"
EXPECTED = (
    ConvShape("stem", 3, 16, (3, 3), (32, 30), padding=(1, 1, 1, 1)),
    ConvShape("down", 16, 32, (3, 5), (32, 30), (2, 1), padding=(1, 1, 2, 2), dilation=(1, 2), groups=4),
)


def written(folder: Path, name: str, text: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_csv(tmp_path: Path) -> None:
    path = written(tmp_path, "mine.csv", HEADER + GOOD + "down, 16, 32, 3x5, 32x30, 2x1, 1x2, 1x2, 4\n")
    assert read_table(path) == Network("mine", (3, 32, 30), EXPECTED)


def test_csv_with_defaults_byte_order_mark_and_blank_lines(tmp_path: Path) -> None:
    text = "\ufeffname, in_channels, out_channels, kernel, input, groups\n\na,4,8,1,5,\nb,8,8,3,5x6,2\n"
    layers = read_table(written(tmp_path, "t.csv", text)).layers
    assert layers == (ConvShape("a", 4, 8, (1, 1), (5, 5)), ConvShape("b", 8, 8, (3, 3), (5, 6), groups=2))


@pytest.mark.parametrize("suffix", [".yaml", ".yml"])
@pytest.mark.parametrize("head", ["", "layers:\n"])
def test_yaml(tmp_path: Path, suffix: str, head: str) -> None:
    text = head + (
        "- {name: stem, in_channels: 3, out_channels: 16, kernel: 3, input: [32, 30], padding: 1}\n"
        "- {name: down, in_channels: 16, out_channels: 32, kernel: 3x5, input: 32x30, stride: [2, 1],"
        " padding: 1x2, dilation: 1x2, groups: 4}\n"
    )
    assert read_table(str(written(tmp_path, f"mine{suffix}", text))) == Network("mine", (3, 32, 30), EXPECTED)


SIZES = st.integers(1, 40)


def pairs(low: int, high: int) -> st.SearchStrategy[tuple[int, int]]:
    return st.tuples(st.integers(low, high), st.integers(low, high))


@given(
    rows=st.lists(
        st.tuples(
            SIZES, SIZES, pairs(1, 5), st.tuples(SIZES, SIZES), pairs(1, 3), pairs(4, 6), st.integers(1, 4)
        ),
        min_size=1,
        max_size=5,
    ),
)
@settings(max_examples=30, deadline=None)
def test_csv_and_yaml_say_the_same(tmp_path_factory: pytest.TempPathFactory, rows: list) -> None:
    folder = tmp_path_factory.mktemp("table")
    expected, csv, yaml = [], HEADER, ""
    for number, (inputs, outputs, kernel, plane, stride, padding, groups) in enumerate(rows):
        (top, left), name = padding, f"conv{number}"
        expected.append(
            ConvShape(
                name,
                inputs * groups,
                outputs * groups,
                kernel,
                plane,
                stride,
                padding=(top, top, left, left),
                groups=groups,
            )
        )
        cells = {
            "name": name,
            "in_channels": inputs * groups,
            "out_channels": outputs * groups,
            "kernel": f"{kernel[0]}x{kernel[1]}",
            "input": f"{plane[0]}x{plane[1]}",
            "stride": f"{stride[0]}x{stride[1]}",
            "padding": f"{top}x{left}",
            "dilation": 1,
            "groups": groups,
        }
        csv += ",".join(str(cell) for cell in cells.values()) + "\n"
        yaml += "- {" + ", ".join(f"{key}: {cell}" for key, cell in cells.items()) + "}\n"
    assert list(read_table(written(folder, "a.csv", csv)).layers) == expected
    assert list(read_table(written(folder, "a.yaml", yaml)).layers) == expected


@pytest.mark.parametrize(
    "row, message",
    [
        (",3,16,3,32,1,1,1,1", "row 2: name is missing; the columns are name, in_channels,"),
        ("b,3,16,,32,1,1,1,1", "row 2: kernel is missing"),
        ("b,3,16,3", "row 2: it has another number of cells than the header"),
        ("b,3,16,3,32,1,1,1,1,9", "row 2: it has another number of cells than the header"),
        ("b,three,16,3,32,1,1,1,1", r"row 2: in_channels \(=three\) must be a whole number"),
        ("b,3,1.5,3,32,1,1,1,1", r"row 2: out_channels \(=1.5\) must be a whole number"),
        ("b,3,16,3,32,1,1,1,-1", r"row 2: groups \(=-1\) must be a whole number"),
        ("b,3,16,3by3,32,1,1,1,1", r"row 2: kernel \(=3by3\) must be a size"),
        ("b,3,16,3,32x32x32,1,1,1,1", r"row 2: input \(=32x32x32\) must be a size"),
        (
            "b,3,16,3,32,1,full,1,1",
            r"row 2: padding \(=full\) must be a size such as 1 or 1x2, four such as 0x1x0x1, or same",
        ),
        ("b,3,16,3,32,0,1,1,1", r"row 2: layer b: stride \(=0x0\)"),
        ("b,0,16,3,32,1,1,1,1", r"row 2: layer b: in_channels \(=0\)"),
        ("b,3,16,3,32,1,1,1,2", r"row 2: layer b: groups \(=2\) must divide in_channels \(=3\)"),
        ("b,3,16,9,4,1,0,1,1", "row 2: layer b: a kernel of 9x9 .* does not fit"),
        ("stem,3,16,3,32,1,1,1,1", "two layers are called stem; give each its own name"),
    ],
)
def test_bad_csv_rows_name_the_row(tmp_path: Path, row: str, message: str) -> None:
    path = written(tmp_path, "t.csv", HEADER + GOOD + row + "\n")
    with pytest.raises(InputError, match=message) as error:
        read_table(path)
    assert str(path) in str(error.value)


def test_unknown_column(tmp_path: Path) -> None:
    path = written(tmp_path, "t.csv", "name,in_channels,out_channels,kernel,input,strides\na,1,1,1,4,1\n")
    with pytest.raises(
        InputError, match=r"row 1: strides is not a known column; the columns are .*stride, padding"
    ):
        read_table(path)


@pytest.mark.parametrize("text", ["", HEADER])
def test_csv_without_rows(tmp_path: Path, text: str) -> None:
    with pytest.raises(InputError, match="holds no layers; expected one row per convolution"):
        read_table(written(tmp_path, "t.csv", text))


@pytest.mark.parametrize(
    "text, message",
    [
        ("[]", "holds no layers"),
        ("", "must be a list of layers"),
        ("just words", "must be a list of layers"),
        ("- a\n- b\n", "must be a list of layers"),
        ("{layers: [], more: 1}", "must be a list of layers"),
        ("- {name: a, in_channels: [", "is not valid YAML: "),
        ("- {name: a, in_channels: 3, out_channels: 4, kernel: 3}", "row 1: input is missing"),
        (
            "- {name: a, in_channels: 3, out_channels: 4, kernel: 3, input: 8, stirde: 2}",
            "row 1: stirde is not a known column",
        ),
        (
            "- {name: a, in_channels: 3, out_channels: 4, kernel: 3, input: [3, 8, 8]}",
            r"row 1: input \(=3x8x8\) must be a size",
        ),
        (
            "- {name: a, in_channels: 3, out_channels: 4, kernel: 3.0, input: 8}",
            r"row 1: kernel \(=3.0\) must be a size",
        ),
        ("- {name: a, in_channels: null, out_channels: 4, kernel: 3, input: 8}", "row 1: in_channels"),
    ],
)
def test_bad_yaml(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(InputError, match=message) as error:
        read_table(written(tmp_path, "t.yaml", text))
    assert "\n" not in str(error.value)


def test_missing_and_binary_files(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"cannot read .*gone\.csv: No such file"):
        read_table(tmp_path / "gone.csv")
    with pytest.raises(InputError, match="is not a text file"):
        read_table(written(tmp_path, "t.csv", b"\xff\xfe\x00name"))


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("date.yaml", "- {name: 2024-13-45}\n", "is not valid YAML"),
        ("deep.yaml", "[" * 700, "is not valid YAML"),
        ("huge.csv", HEADER + "a" * 140_000 + GOOD, "is not valid CSV: field larger than field limit"),
        (
            "twice.csv",
            HEADER.replace("groups", "stride") + GOOD,
            "the column stride is there twice; keep one",
        ),
        ("digits.csv", HEADER + GOOD.replace("16", "1" * 5000), "must be a whole number"),
    ],
)
def test_hostile_tables_are_one_sentence(tmp_path: Path, name: str, text: str, message: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match=message):
        read_table(tmp_path / name)


def test_an_ending_in_capitals_is_still_csv(tmp_path: Path) -> None:
    (tmp_path / "NET.CSV").write_text(HEADER + GOOD)
    assert read_table(tmp_path / "NET.CSV").layers == EXPECTED[:1]


def test_padding_of_each_side_and_same(tmp_path):
    path = tmp_path / "net.csv"
    path.write_text(HEADER + "a,3,16,3,32,2,same,1,1\nb,3,16,5x4,9x10,1,same,1,1\nc,3,16,3,8,1,0x1x2x3,1,1\n")
    first, second, third = read_table(path).layers
    assert (first.padding, first.output) == ((0, 1, 0, 1), (16, 16))
    assert (second.padding, second.output) == ((2, 2, 1, 2), (9, 10))
    assert third.padding == (0, 1, 2, 3)
