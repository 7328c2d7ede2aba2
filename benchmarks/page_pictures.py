"""Pictures of pages for the documentation, as Chromium shows them: docs/images/mapper.png and pages.png.

    python benchmarks/page_pictures.py

Nothing is measured: the pages are those that `rankfold draw resnet20 --plan PLAN --page FILE` and `rankfold
report` write of `results/planned/64-5440` and a chip. A Chromium or Chrome has to be installed.
"""

from __future__ import annotations

import contextlib
import io
import shutil
import sys
import tempfile
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

from rankfold.cli.main import main as rankfold

ROOT = Path(__file__).resolve().parents[1]
IMAGES = ROOT / "docs" / "images"
PLAN = ROOT / "results" / "planned" / "64-5440" / "plan.json"
RUNS = [ROOT / "results" / "planned" / name for name in ("64-5440", "64-12016")]


def main() -> None:
    path = shutil.which("chromium") or shutil.which("google-chrome")
    if path is None:
        sys.exit("no Chromium is installed")
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as driver:
        mapper, report = _pages(Path(folder))
        browser = driver.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page(viewport={"width": 1100, "height": 900})
        _mapper(page, mapper)
        page.set_viewport_size({"width": 1100, "height": 1500})
        page.goto(report.as_uri())
        page.screenshot(path=IMAGES / "pages.png")
        browser.close()


def _pages(folder: Path) -> tuple[Path, Path]:
    """The mapper, and the page of two runs, a plan and a chip."""
    mapper, report, chip = folder / "mapper.html", folder / "report.html", folder / "chip.json"
    rankfold(["draw", "resnet20", "--plan", str(PLAN), "--layer", "layer1.0.conv1", "--page", str(mapper)])
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        rankfold(["chip", "resnet20", "--chip", "rram-22nm", "--json"])
    chip.write_text(printed.getvalue(), encoding="utf-8")
    rankfold(["report", *map(str, RUNS), str(PLAN), str(chip), "--out", str(report)])
    return mapper, report


def _mapper(page: Page, path: Path) -> None:
    """A few activations in, with a cell pointed at."""
    page.goto(path.as_uri())
    page.fill("#cycle", "40")
    page.focus("#array")
    for key in ("Shift+ArrowDown", "Shift+ArrowRight", "ArrowRight"):
        page.keyboard.press(key)
    page.screenshot(path=IMAGES / "mapper.png", full_page=True)


if __name__ == "__main__":
    main()
