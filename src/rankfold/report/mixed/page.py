"""The page of many things: a table of all of them, and a section for each."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rankfold.errors import InputError
from rankfold.files import write_text
from rankfold.report.mixed.chips import ChipResult, chip_row, chip_section
from rankfold.report.mixed.plans import PlannedNetwork, plan_row, plan_section
from rankfold.report.mixed.runs import run_row, runs_section
from rankfold.report.mixed.section import Row, Section, overview
from rankfold.report.mixed.simulations import (
    SimulationResult,
    Sweep,
    simulation_row,
    simulation_section,
    sweep_rows,
    sweep_section,
)
from rankfold.report.run_page.page import check_page, comparable
from rankfold.report.runs import Run
from rankfold.report.template import template

Thing = Run | PlannedNetwork | ChipResult | SimulationResult | Sweep


def write_mixed(path: str | Path, things: Sequence[Thing]) -> None:
    """Write the page atomically to `path`.

    Args:
        path: the HTML file.
        things: what it shows, at least one.

    Raises:
        InputError: there is nothing to show, or the file cannot be written or must not be replaced.
    """
    page = render_mixed(things)
    check_page(path)
    write_text(path, page)


def render_mixed(things: Sequence[Thing]) -> str:
    """The page as text; the same things give the same bytes.

    Raises:
        InputError: there is nothing to show.
    """
    if not things:
        raise InputError("a report needs at least one run, plan, chip or simulation")
    rows: list[Row] = []
    for thing in things:
        rows += _rows(thing)
    sections = []
    for number, section in enumerate(_sections(things)):
        # Charts of one name may stand in several sections, and ids belong to one element each.
        sections.append(section.with_ids(f"part{number + 1}"))
    words = ", ".join(thing.label for thing in things)
    return template("mixed.html").render(
        title=f"{len(things)} side by side",
        headline=f"Side by side: {words}",
        overview=overview(rows),
        sections=sections,
    )


def _sections(things: Sequence[Thing]) -> list[Section]:
    """Runs first, those that can be compared in one section; then everything else in its order."""
    runs = [thing for thing in things if isinstance(thing, Run)]
    sections = [runs_section(group) for group in comparable(runs)]
    for thing in things:
        if isinstance(thing, PlannedNetwork):
            sections.append(plan_section(thing))
        elif isinstance(thing, ChipResult):
            sections.append(chip_section(thing))
        elif isinstance(thing, SimulationResult):
            sections.append(simulation_section(thing))
        elif isinstance(thing, Sweep):
            sections.append(sweep_section(thing))
    return sections


def _rows(thing: Thing) -> list[Row]:
    """Of the table on top."""
    if isinstance(thing, Run):
        return [run_row(thing)]
    if isinstance(thing, PlannedNetwork):
        return [plan_row(thing)]
    if isinstance(thing, ChipResult):
        return [chip_row(thing)]
    if isinstance(thing, SimulationResult):
        return [simulation_row(thing)]
    return sweep_rows(thing)
