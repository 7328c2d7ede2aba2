"""The tutorials run, and git has them without outputs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import nbformat
import pytest
from jupyter_client import KernelManager
from notebook_pages import kept_outputs, notebooks, run, started_kernel

TUTORIALS = notebooks()


def test_there_are_five() -> None:
    assert len(TUTORIALS) == 5


@pytest.fixture(scope="module")
def kernel() -> Iterator[KernelManager]:
    with started_kernel() as kernel:
        yield kernel


@pytest.mark.parametrize("path", TUTORIALS, ids=lambda path: path.stem)
def test_it_runs(path: Path, kernel: KernelManager) -> None:
    # Where the site looks for outputs, so that it need not run the notebook again.
    kept = kept_outputs(path)
    run(path, kept, kernel)
    notebook = nbformat.read(kept, as_version=4)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert all(cell.execution_count for cell in code)
    told = [output for cell in code for output in cell.outputs]
    assert told and not [output for output in told if output.get("name") == "stderr"]


@pytest.mark.parametrize("path", TUTORIALS, ids=lambda path: path.stem)
def test_git_has_no_outputs(path: Path) -> None:
    notebook = json.loads(path.read_text(encoding="utf-8"))
    for cell in notebook["cells"]:
        assert not cell.get("outputs") and cell.get("execution_count") is None
