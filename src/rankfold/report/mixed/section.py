"""`Section` and `Row`: what a page of many things says of one of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import KW_ONLY, astuple, dataclass, fields, replace

from rankfold.plan import Plan
from rankfold.report.card import Card
from rankfold.report.charts.drawing import Chart, with_prefix
from rankfold.report.numbers import DASH
from rankfold.report.tables import Table, table


@dataclass(frozen=True)
class Section:
    """What the page says of one thing.

    Attributes:
        title: its name, and what it is.
        about: what it is of, in a sentence.
        cards: its most important numbers.
        notes: further sentences.
        charts: each with its heading, and with a table.
        tables: each with its heading.
        plan: what every layer becomes.
        html: the rest, as a part of a page that is escaped already.
    """

    title: str
    about: str
    _: KW_ONLY
    cards: Sequence[Card] = ()
    notes: Sequence[str] = ()
    charts: Sequence[tuple[str, Chart]] = ()
    tables: Sequence[tuple[str, Table]] = ()
    plan: Plan | None = None
    html: str = ""

    def with_ids(self, prefix: str) -> Section:
        """The same section with a prefix to the ids of all that is drawn."""
        charts = []
        for heading, chart in self.charts:
            charts.append((heading, replace(chart, svg=with_prefix(chart.svg, prefix))))
        return replace(self, charts=charts, html=with_prefix(self.html, prefix))


@dataclass(frozen=True, kw_only=True)
class Row:
    """A line of the table on top, each cell as text.

    Attributes:
        name: what it is called.
        sort: `run`, `plan`, `chip`, `simulation`.
        network: its network.
        arrays: on which arrays.
        accuracy: of the network by itself.
        on_arrays: what arrays leave of it.
        cycles: per image.
        energy: nJ an image.
        latency: us.
        area: mm2.
    """

    name: str
    sort: str
    network: str = DASH
    arrays: str = DASH
    accuracy: str = DASH
    on_arrays: str = DASH
    cycles: str = DASH
    energy: str = DASH
    latency: str = DASH
    area: str = DASH


TITLES = {
    "name": "",
    "sort": "what",
    "on_arrays": "accuracy on arrays",
    "cycles": "cycles per image",
    "energy": "energy, nJ",
    "latency": "latency, µs",
    "area": "area, mm²",
}


def overview(rows: Sequence[Row]) -> Table:
    """The table on top."""
    headers = [TITLES.get(field.name, field.name) for field in fields(Row)]
    return table(headers, [list(astuple(row)) for row in rows])
