"""The examples of the README run, one after another, as a reader would type them, on fewer images."""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import rankfold as rf

README = Path(__file__).parents[1] / "README.md"
EXAMPLES = re.findall(
    r"^```python\n(.*?)^```$", README.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL
)


def test_there_are_five() -> None:
    assert len(EXAMPLES) == 5


@pytest.mark.usefixtures("few_digits")
def test_the_examples_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    # All kinds are planned elsewhere, on smaller networks.
    monkeypatch.setattr(rf, "best_plan", partial(rf.best_plan, kinds=["low-rank", "window"], images=64))
    names: dict[str, Any] = {}
    printed = []
    for number, example in enumerate(EXAMPLES, 1):
        exec(compile(example, f"README example {number}", "exec"), names)
        printed.append(capsys.readouterr().out)
    counted, surgery, planned, run, simulated = printed
    assert "low-rank-sdk 9152" in counted
    assert "2 groups of rank 4" in surgery
    assert (tmp_path / "my-network" / "plan.json").is_file()
    assert len(planned.splitlines()) == 8
    assert (tmp_path / "runs" / "planned" / "result.json").is_file()
    accuracy, cycles = run.split()
    dense = sum(layer.dense.cycles for layer in names["found"].choices)
    assert 0 <= float(accuracy) <= 1
    assert int(cycles) <= 0.4 * dense
    assert 0 <= float(simulated) <= 1
