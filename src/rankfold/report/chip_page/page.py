"""The page of a network on a described chip: one HTML file that needs nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rankfold.chip.check import Check
from rankfold.chip.layer_by_layer import LayerByLayer
from rankfold.chip.run import ChipRun, Pipeline
from rankfold.files import write_text
from rankfold.report.chip_page import tables
from rankfold.report.chip_page.cards import cards, headline
from rankfold.report.chip_page.floor import Floor
from rankfold.report.chip_page.floor_plan import floor_plan
from rankfold.report.chip_page.shares import shares_chart
from rankfold.report.chip_page.timeline import stream, time_by_part, timeline
from rankfold.report.numbers import GAP, nanojoules
from rankfold.report.run_page.page import check_page
from rankfold.report.template import template


def write_chip_page(path: str | Path, run: ChipRun, check: Check | None = None) -> None:
    """Write the page of a run atomically to `path`.

    Args:
        path: the HTML file.
        run: what it shows.
        check: of the same run, which it shows, too.

    Raises:
        InputError: the file cannot be written, or must not be replaced.
    """
    check_page(path)
    write_text(path, render_chip_page(run, check))


def render_chip_page(run: ChipRun, check: Check | None = None) -> str:
    """The page as text; the same run gives the same bytes."""
    energy = {part: nanojoules(value) for part, value in run.energy.items()}
    parts: dict[str, Any] = {"pipeline": None, "layer_by_layer": None, "check": None}
    if run.pipeline is not None:
        parts["pipeline"] = _pipeline(run, run.pipeline)
    if run.layer_by_layer is not None:
        parts["layer_by_layer"] = _layer_by_layer(run, run.layer_by_layer)
    if check is not None:
        parts["check"] = tables.check_table(check)
    images = 0 if check is None else check.images
    return template("chip.html").render(
        title=f"{run.network} on the chip {run.chip.name}",
        headline=headline(run),
        run=run,
        cards=cards(run),
        energy=shares_chart("Energy of an image by part", energy, f"{{:,.1f}}{GAP}nJ"),
        energy_table=tables.energy_table(run),
        area=shares_chart("Area by part", run.area, f"{{:,.3f}}{GAP}mm²"),
        area_table=tables.area_table(run),
        images=images,
        **parts,
    )


def _pipeline(run: ChipRun, pipeline: Pipeline) -> dict[str, Any]:
    """What the page shows of weights that stay."""
    floor = Floor.of(run, pipeline)
    there = floor.there
    return {
        "plan": floor_plan(floor),
        "cores": tables.core_table(floor),
        "timeline": timeline(run, pipeline, there),
        "stream": stream(run, pipeline, there),
        "tasks": tables.task_table(run, pipeline, there),
        "work": tables.work_table(pipeline),
        "sent": tables.sent_table(pipeline),
        "links": tables.link_table(floor.links),
    }


def _layer_by_layer(run: ChipRun, way: LayerByLayer) -> dict[str, Any]:
    """What the page shows of layers that work one after another."""
    return {
        "time": time_by_part(run, way),
        "times": tables.time_table(way),
        "written": tables.written_table(run, way),
        "layers": tables.layer_table(run),
    }
