"""Tables fit a terminal, and have colours there; what is piped is as it always was."""

import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rankfold.cli.words import terminal
from rankfold.records.text_table import drawn_by, format_table

COLOUR = re.compile(r"\x1b\[[0-9;]*m")


def on_terminal(columns, *arguments, **variables):
    """What a command writes to a terminal of so many columns."""
    environment = {**os.environ, "TERM": "xterm", "PYTHONIOENCODING": "utf-8", **variables}
    environment.pop("COLUMNS", None)
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 50, columns, 0, 0))
    command = [sys.executable, "-m", "rankfold", *arguments]
    with subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, env=environment):
        os.close(theirs)
        written = b""
        try:
            while part := os.read(ours, 65536):
                written += part
        except OSError:  # on Linux, when the other side is closed
            pass
    os.close(ours)
    return written.decode().replace("\r\n", "\n")


def table_lines(text):
    return [line for line in COLOUR.sub("", text).splitlines() if re.match(r"layer|conv|─", line)]


def test_tables_fit_and_lose_no_number():
    shown = on_terminal(70, "map", "resnet8")
    assert COLOUR.search(shown)
    assert max(map(len, table_lines(shown))) <= 70
    plain = subprocess.run(
        [sys.executable, "-m", "rankfold", "map", "resnet8"], capture_output=True, text=True, check=True
    ).stdout
    assert not COLOUR.search(plain) and "─" not in plain
    (first,) = [line for line in plain.splitlines() if line.startswith("conv1 ")]
    words = COLOUR.sub("", shown).split()
    assert set(first.split()) <= set(words)


def test_no_color_leaves_colours_out():
    shown = on_terminal(70, "map", "resnet8", NO_COLOR="1")
    assert "\x1b" not in shown and max(map(len, table_lines(shown))) <= 70
    assert "\x1b" not in on_terminal(80, "mapp", TERM="dumb")
    assert "\x1b[1;31mrankfold:\x1b[0m argument COMMAND" in on_terminal(80, "mapp")


cells = st.text(st.characters(codec="ascii", categories=("L", "N", "P")), min_size=1, max_size=30)


@given(
    rows=st.lists(st.lists(cells, min_size=3, max_size=3), min_size=1, max_size=4),
    width=st.integers(40, 200),
)
def test_any_table_fits_and_names_that_differ_stay_so(rows, width):
    with pytest.MonkeyPatch.context() as patch, drawn_by(terminal._drawn):
        patch.setattr("shutil.get_terminal_size", lambda: os.terminal_size((width, 24)))
        drawn = format_table(["name", "one", "two"], rows)
    assert max(len(line) for line in drawn.splitlines()) <= width
    # A name has half of the width, and any other text the rest.
    if width >= 62:
        assert all(cell in drawn for row in rows for cell in row)


def test_tables_are_plain_outside():
    assert format_table(["a", "b"], [["x", "1"]]) == "a  b\n-  -\nx  1"
