"""The numbers on top of the page, and its headline."""

from __future__ import annotations

from rankfold.chip.run import NS, ChipRun
from rankfold.cost.energy import NOT_SIMULATED
from rankfold.report.card import Card
from rankfold.report.numbers import GAP, count, nanojoules, percent


def headline(run: ChipRun) -> str:
    """The page in one sentence."""
    return (
        f"{run.network} on {run.chip.name}: an image every {run.interval:,.2f}{GAP}µs, "
        f"{run.latency:,.2f}{GAP}µs from in to out, {nanojoules(run.total_energy):,.0f}{GAP}nJ an image"
    )


def cards(run: ChipRun) -> list[Card]:
    """How fast, what limits, what it takes."""
    chip = run.chip
    arrays = f"all are read {percent(run.utilisation, 0)} of the time"
    area = f"{chip.cores.count:,} cores of {chip.cores.arrays:,} arrays of {chip.hardware.array}"
    return [
        Card(f"{run.interval:,.2f}{GAP}µs", "between two images", f"{run.images_per_second:,.0f} images/s"),
        Card(f"{run.latency:,.2f}{GAP}µs", "latency", "from an image's coming to its result"),
        *_limits(run),
        Card(f"{nanojoules(run.total_energy):,.1f}{GAP}nJ", "energy an image", _most(run)),
        # No energy without what these arrays leave of the network.
        _accuracy(run),
        Card(f"{sum(run.area.values()):,.2f}{GAP}mm²", "area of the chip", area),
        Card(f"{run.arrays_used:,}", f"of {count(chip.arrays)} arrays in use", arrays),
        *_buffer(run),
    ]


def _limits(run: ChipRun) -> list[Card]:
    if run.pipeline is None:
        return [Card(run.limit, "limits", "takes most of the time")]
    work = run.pipeline.timing.limit
    shown = [Card(work.part, f"limits: {work.where}", f"works {NS * work.time:,.2f} µs for an image")]
    if run.least_interval:
        least = NS * run.least_interval
        times = f"{run.interval / least:.2f}× that is reached"
        what = "between images at least, whatever copies and places"
        shown.append(Card(f"{least:,.2f}{GAP}µs", what, times))
    return shown


def _accuracy(run: ChipRun) -> Card:
    """What the network keeps on the arrays of the chip."""
    found = run.activity.accuracy
    if found is None:
        return Card(NOT_SIMULATED, "accuracy on these arrays", "rankfold simulate does")
    exact = f"{found.ideal:.1%} where arrays are exact; {found.images:,} test images"
    return Card(f"{found.accuracy:.1%}", f"{found.measured} on these arrays", exact)


def _most(run: ChipRun) -> str:
    part = max(run.energy, key=run.energy.__getitem__)
    return f"{percent(run.energy[part] / run.total_energy, 0)} of it: {part}"


def _buffer(run: ChipRun) -> list[Card]:
    if run.pipeline is None:
        return []
    buffers = run.pipeline.timing.buffers
    core = max(buffers, key=buffers.__getitem__)
    size = f"of {run.chip.buffer.size:,} bytes"
    return [Card(f"{buffers[core]:,.0f}{GAP}bytes", f"in the fullest buffer, core {core}", size)]
