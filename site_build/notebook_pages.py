"""The tutorials as pages: each notebook is run once, and its cells and outputs become Markdown."""

from __future__ import annotations

import hashlib
import html
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import nbformat
from jupyter_client import KernelManager
from nbclient import NotebookClient
from nbformat.v4 import new_code_cell, new_notebook
from repository_links import REPOSITORY

FOLDER = REPOSITORY / "docs" / "learn"
# What was run stays here, until the notebook or the package changes.
KEPT = REPOSITORY / "build" / "notebooks"
MOST_SECONDS = 600  # of a cell, which hangs then; a tutorial takes less than a minute of an idle core


def notebooks() -> list[Path]:
    """The tutorials, in order."""
    return sorted(FOLDER.glob("*.ipynb"))


@cache
def notebook_pages() -> dict[str, str]:
    """Path in the site -> Markdown of each notebook, with its outputs: as it was run before where nothing has
    changed since, else run now.
    """
    kept = {path: kept_outputs(path) for path in notebooks()}
    missing = [path for path in kept if not kept[path].is_file()]
    if missing:
        with started_kernel() as kernel:
            for path in missing:
                run(path, kept[path], kernel)
    return {
        f"learn/{path.stem}.md": _markdown(nbformat.read(kept[path], as_version=4), path.name)
        for path in kept
    }


@contextmanager
def started_kernel() -> Iterator[KernelManager]:
    """A process that notebooks are run in, one after the other: importing torch takes longer than some."""
    with TemporaryDirectory() as folder:
        # By files that this user alone may open, not by ports of the machine.
        kernel = KernelManager(kernel_name="python3", transport="ipc", ip=str(Path(folder) / "kernel"))
        kernel.start_kernel(cwd=folder, env={**os.environ, "PYTHONPATH": str(REPOSITORY / "src")})
        try:
            yield kernel
        finally:
            kernel.shutdown_kernel()


def run(path: Path, kept: Path, kernel: KernelManager) -> None:
    """Run a notebook from the first cell to the last without names of others, in a fresh folder, and keep it
    with its outputs.

    Raises:
        nbclient.exceptions.CellExecutionError: a cell fails.
    """
    notebook = nbformat.read(path, as_version=4)
    with TemporaryDirectory() as folder:
        # The folder first: that of the notebook before is gone.
        clean = new_code_cell(f"import os\nos.chdir({folder!r})\n%reset -f")
        for cells in (new_notebook(cells=[clean]), notebook):
            client = NotebookClient(cells, km=kernel, timeout=MOST_SECONDS)
            try:
                client.execute()
            finally:
                client.kc.stop_channels()  # which it leaves open where the kernel is not its own
    kept.parent.mkdir(parents=True, exist_ok=True)
    for old in kept.parent.glob(f"{path.stem}-*.ipynb"):
        old.unlink()
    nbformat.write(notebook, kept)


def kept_outputs(path: Path) -> Path:
    """Where the outputs of a notebook are kept, by its content and all code of the package."""
    content = hashlib.sha256(path.read_bytes())
    for source in sorted((REPOSITORY / "src").rglob("*.py")):
        content.update(source.read_bytes())
    return KEPT / f"{path.stem}-{content.hexdigest()[:16]}.ipynb"


def _markdown(notebook: Any, name: str) -> str:
    """The cells of a notebook, one below the other, each with its outputs."""
    parts = []
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            parts.append(cell.source)
            continue
        parts.append(f"```python\n{cell.source}\n```")
        parts += [_output(output) for output in _joined(cell.outputs)]
    title, *rest = parts
    download = f"[This page as a notebook]({name}) to run and change."
    return "\n\n".join([title, download, *rest, ""])


def _joined(outputs: list[Any]) -> list[Any]:
    """The outputs of a cell, with what was printed piece by piece as one."""
    found: list[Any] = []
    for output in outputs:
        if output.output_type == "stream" and found and found[-1].output_type == "stream":
            found[-1].text += output.text
        else:
            found.append(output)
    return found


def _output(output: Any) -> str:
    """What a cell shows: as a page where it has one, else as text."""
    if output.output_type == "stream":
        return _text(output.text)
    shown = output.data
    if "text/html" in shown:
        # In one line, so that Markdown takes it as a whole.
        page = re.sub(r"\s*\n\s*", " ", shown["text/html"])
        return f'<div class="output">{page}</div>'
    if "image/png" in shown:
        source = f"data:image/png;base64,{shown['image/png'].strip()}"
        return f'<div class="output"><img src="{source}" alt="{html.escape(shown["text/plain"])}"></div>'
    return _text(shown["text/plain"])


def _text(text: str) -> str:
    return f"```text\n{text.rstrip()}\n```"
