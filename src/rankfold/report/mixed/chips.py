"""Networks on chips, as `rankfold chip --json` says them, among other things."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rankfold.cost.energy import NOT_SIMULATED, ArrayAccuracy
from rankfold.documents import in_schema
from rankfold.errors import InputError
from rankfold.records.schema import schema_validator
from rankfold.report.card import Card
from rankfold.report.charts.drawing import Chart
from rankfold.report.charts.rows import BAR, rows_svg
from rankfold.report.chip_page.floor import Floor, floor_from_json
from rankfold.report.chip_page.floor_plan import floor_plan
from rankfold.report.chip_page.shares import shares_chart
from rankfold.report.chip_page.tables import core_table
from rankfold.report.mixed.section import Row, Section
from rankfold.report.numbers import GAP, count, nanojoules, percent
from rankfold.report.palette import BLUE
from rankfold.report.tables import Table, table

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@dataclass(frozen=True)
class ChipResult:
    """A network on a chip.

    Attributes:
        label: its name.
        content: what `rankfold chip --json` printed.
        floor: where its layers lie; None: their weights are written in turn, or an older version printed it.
    """

    label: str
    content: Mapping[str, Any]
    floor: Floor | None

    @property
    def accuracy(self) -> ArrayAccuracy | None:
        """What its arrays leave of the network; None: not simulated."""
        found = self.content["accuracy_on_arrays"]
        if found == NOT_SIMULATED:
            return None
        return ArrayAccuracy.from_json(found)


def is_chip_result(content: Any) -> bool:
    """Whether a JSON file says a network on a chip."""
    return isinstance(content, dict) and {"network", "chip", "interval_us"} <= content.keys()


def chip_result(path: Path, content: Mapping[str, Any], label: str) -> ChipResult:
    """Check what was read from a file.

    Raises:
        InputError: it is not what `rankfold chip --json` prints.
    """
    validator = schema_validator("rankfold.report.mixed", "chip_result.schema.json")
    what = f"{path} is not what rankfold chip --json prints"
    in_schema(content, validator, what)
    try:
        floor = floor_from_json(content)
    except ValueError as error:
        raise InputError(f"{what}: {error}") from None
    return ChipResult(label, content, floor)


def chip_section(result: ChipResult) -> Section:
    """How fast it is, what limits it, what it takes; when each layer works."""
    content = result.content
    energy = {part: nanojoules(value) for part, value in content["energy_by_part_pj"].items()}
    energy_chart = shares_chart("Energy of an image by part", energy, f"{{:,.1f}}{GAP}nJ")
    area_chart = shares_chart("Area by part", content["area_by_part_mm2"], f"{{:,.3f}}{GAP}mm²")
    charts = [
        ("Energy of an image", replace(energy_chart, table=_shares(energy, "nJ"))),
        ("Area", replace(area_chart, table=_shares(content["area_by_part_mm2"], "mm²"))),
    ]
    if result.floor is not None:
        plan = floor_plan(result.floor)
        # Of too many cores there is none.
        if plan is not None:
            charts.insert(0, ("Floor plan", replace(plan, table=core_table(result.floor))))
    tasks = content.get("tasks", [])
    if tasks:
        charts.append(("One image on its way", _timeline(tasks)))
    notes = [f"Assumed: {words}." for words in content["assumed"]]
    notes += [f"Warning: {words}." for words in content["warnings"]]
    title = f"{result.label}: {content['network']} on the chip {content['chip']}"
    about = f"How it runs: {content['mode']}."
    return Section(title, about, cards=_cards(result), notes=notes, charts=charts)


def chip_row(result: ChipResult) -> Row:
    """A chip in the table on top."""
    content = result.content
    on_arrays = NOT_SIMULATED
    if result.accuracy is not None:
        on_arrays = percent(result.accuracy.accuracy, 1) + result.accuracy.note
    return Row(
        name=result.label,
        sort="chip",
        network=content["network"],
        arrays=f"{count(content['arrays_used'])} on {content['chip']}",
        on_arrays=on_arrays,
        energy=f"{nanojoules(content['energy_pj']):,.0f}",
        latency=f"{content['latency_us']:,.1f}",
        area=f"{content['area_mm2']:.2f}",
    )


def _cards(result: ChipResult) -> list[Card]:
    content = result.content
    on_arrays = Card(NOT_SIMULATED, "accuracy on these arrays", "rankfold simulate does")
    if result.accuracy is not None:
        exact = f"{result.accuracy.ideal:.1%} where arrays are exact"
        what = f"{result.accuracy.measured} on these arrays"
        on_arrays = Card(percent(result.accuracy.accuracy, 1), what, exact)
    rate = f"{content['images_per_second']:,.0f} images/s"
    return [
        Card(f"{content['interval_us']:,.2f}{GAP}µs", "between two images", rate),
        Card(f"{content['latency_us']:,.2f}{GAP}µs", "latency", f"limits: {content['limit']}"),
        Card(f"{nanojoules(content['energy_pj']):,.1f}{GAP}nJ", "energy an image"),
        on_arrays,
        Card(f"{content['area_mm2']:,.2f}{GAP}mm²", "area of the chip"),
        Card(count(content["arrays_used"]), f"of {count(content['arrays'])} arrays in use"),
    ]


def _shares(parts: Mapping[str, float], unit: str) -> Table:
    whole = sum(parts.values())
    rows = [[part, f"{value:,.3f}", percent(value / whole, 1)] for part, value in parts.items()]
    return table(["part", unit, "share"], rows)


def _timeline(tasks: Sequence[Mapping[str, Any]]) -> Chart:
    """When each layer and each join works for an image that comes at 0."""
    names = [task["name"] for task in tasks]
    begins = [task["begins_us"] for task in tasks]
    lengths = [task["ends_us"] - task["begins_us"] for task in tasks]

    def draw(axes: Axes) -> None:
        axes.barh(range(len(tasks)), lengths, BAR, left=begins, color=BLUE[0])
        axes.set_xlim(0, 1.02 * max(task["ends_us"] for task in tasks) or 1.0)
        axes.set_xlabel("µs after the image came")

    rows = []
    for task in tasks:
        times = f"{task['begins_us']:.2f}", f"{task['ends_us']:.2f}"
        rows.append([task["name"], count(task["tiles"]), *times])
    drawn = rows_svg("tasks", "When each layer and each join works for one image", names, 1, draw)
    return Chart(drawn, table=table(["layer or join", "tiles", "begins, µs", "ends, µs"], rows))
