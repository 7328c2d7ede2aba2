"""A network on a described chip, in words and tables."""

from __future__ import annotations

import csv
import io
from typing import Any

from rankfold.chip.check import Check
from rankfold.chip.run import NS, ChipRun
from rankfold.cost.energy import accuracy_in_words
from rankfold.records.text_table import format_table, with_short_names

NJ = 1e-3  # of pJ
HEADERS = ("name", "tiles", "copies", "cores", "rows buffered", "begins, us", "ends, us")


def chip_run_table(run: ChipRun) -> str:
    """Layer by layer: copies, cores, and when it works for an image that is begun at 0."""
    if run.pipeline is None:
        rows = [[task.name, f"{task.tiles:,}"] for task in run.graph.tasks if task.tiles]
        return format_table(["layer", "tiles"], with_short_names(rows))
    rows = [[row[0], *row[1:]] for row in _rows(run)]
    return format_table(list(HEADERS), with_short_names(rows))


def chip_run_csv(run: ChipRun) -> str:
    """The same as CSV."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    if run.pipeline is None:
        writer.writerow(["name", "tiles"])
        writer.writerows([task.name, task.tiles] for task in run.graph.tasks if task.tiles)
    else:
        writer.writerow(["name", "tiles", "copies", "cores", "rows_buffered", "begins_us", "ends_us"])
        writer.writerows(_rows(run))
    return text.getvalue()


def chip_run_to_json(run: ChipRun, check: Check | None) -> dict[str, Any]:
    """What `--json` prints: all of the run, where its layers lie, and what executing it gave.

    Args:
        run: of a network on a chip.
        check: of its schedule; None: it was not executed.
    """
    # Late, as most calls do without the page's own.
    from rankfold.report.chip_page.floor import Floor, floor_to_json

    content = run.to_json()
    if run.pipeline is not None:
        content["floor"] = floor_to_json(Floor.of(run, run.pipeline))
    if check is not None:
        content["check"] = check.to_json()
    return content


def _rows(run: ChipRun) -> list[list[str]]:
    assert run.pipeline is not None
    timing, placement = run.pipeline.timing, run.pipeline.placement
    rows = []
    for index, task in enumerate(run.graph.tasks):
        cores = placement.cores(index)
        between = str(cores[0])
        if len(cores) > 1:
            between = f"{cores[0]}-{cores[-1]}"
        times = timing.tasks[index]
        rows.append(
            [
                task.name,
                str(task.tiles),
                " ".join(str(number) for number in placement.copies[index]),
                between,
                " ".join(str(number) for number in timing.rows[index]),
                f"{NS * float(times.begins[0]):.2f}",
                f"{NS * float(times.ends[-1]):.2f}",
            ]
        )
    return rows


def chip_run_in_words(run: ChipRun) -> str:
    """All that a chip makes of a network."""
    chip = run.chip
    lines = [
        f"chip {chip.name}: {chip.cores.count:,} cores of {chip.cores.arrays:,} arrays of "
        f"{chip.hardware.array}, {sum(run.area.values()):.2f} mm2; {run.mode}"
    ]
    if run.why_not_pipelined:
        lines.append(f"  as {run.why_not_pipelined}")
    lines.append(
        f"  an image every {run.interval:,.2f} us ({run.images_per_second:,.0f} images/s), "
        f"{run.latency:,.2f} us from in to out; what limits: {run.limit}"
    )
    if run.pipeline is not None:
        lines += _pipeline_in_words(run)
    elif run.layer_by_layer is not None:
        lines += _layer_by_layer_in_words(run)
    parts = ", ".join(f"{name} {NJ * value:,.1f}" for name, value in run.energy.items() if value)
    lines.append(f"  {NJ * run.total_energy:,.1f} nJ an image: {parts}")
    lines.append(f"  accuracy on these arrays: {accuracy_in_words(run.activity.accuracy)}")
    if run.graph.assumed_chain:
        lines.append("  nothing says what layers read: each was taken to read the one before it")
    lines += [f"  assumed: {words}" for words in run.activity.assumed]
    lines += [f"warning: {words}" for words in chip.warnings]
    return "\n".join(lines)


def _pipeline_in_words(run: ChipRun) -> list[str]:
    assert run.pipeline is not None
    timing = run.pipeline.timing
    work = ", ".join(f"{part.part} {NS * part.time:,.2f} us ({part.where})" for part in timing.work)
    core = max(timing.buffers, key=timing.buffers.__getitem__)
    least = NS * run.least_interval
    lodging = run.pipeline.lodging_in_words
    return [
        f"  the busiest parts: {work}",
        f"  no copies or places of this plan are faster than {least:,.2f} us: this is "
        f"{run.interval / least:.2f} times that",
        f"  {run.arrays_used:,} of {run.chip.arrays:,} arrays hold weights and copies, and all are read "
        f"{run.utilisation:.0%} of the time; the fullest buffer (core {core}) holds "
        f"{timing.buffers[core]:,.0f} of {run.chip.buffer.size:,} bytes",
        *([f"  {lodging}"] if lodging else []),
    ]


def _layer_by_layer_in_words(run: ChipRun) -> list[str]:
    assert run.layer_by_layer is not None
    way = run.layer_by_layer
    lines = [
        f"  arrays {NS * way.arrays_time:,.1f} us, writing {NS * way.writing_time:,.1f} us, interconnect "
        f"{NS * way.sending_time:,.1f} us beside off-chip memory {NS * way.memory_time:,.1f} us "
        f"({way.memory_bits / 8e6:,.2f} MB an image)"
    ]
    if way.images_endured is not None:
        lines.append(f"  rewritten cells are worn out after {way.images_endured:,.0f} images")
    return lines


def check_in_words(check: Check) -> str:
    """What executing the schedule gave."""
    traffic = "as counted"
    if check.traffic_differs >= 1:
        traffic = f"up to {check.traffic_differs:,.0f} bits of a link other than counted"
    return (
        f"executed event by event: {check.images} images in {check.executed_whole:,.2f} us "
        f"({check.executed_whole / check.whole:.2f} times as predicted), "
        f"{check.executed_latency:,.2f} us from in to out ({check.executed_latency / check.latency:.2f} "
        f"times), traffic {traffic}"
    )
