"""The README is short, and its example runs as a reader would type it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

README = Path(__file__).parents[1] / "README.md"
TEXT = README.read_text(encoding="utf-8")
EXAMPLES = re.findall(r"^```python\n(.*?)^```$", TEXT, flags=re.MULTILINE | re.DOTALL)


def test_it_is_short() -> None:
    assert len(TEXT.splitlines()) <= 120


def test_its_example_runs(capsys: pytest.CaptureFixture[str]) -> None:
    (example,) = EXAMPLES
    assert len([line for line in example.splitlines() if line]) == 5
    exec(compile(example, "README example", "exec"), {})
    cycles, energy = capsys.readouterr().out.splitlines()
    assert cycles in example and re.search(r": [0-9.,]+ nJ, ", energy)
