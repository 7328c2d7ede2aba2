"""The tables of the page, which hold all that its pictures show."""

from __future__ import annotations

from rankfold.chip.check import Check
from rankfold.chip.energy import ARRAYS, array_energy
from rankfold.chip.layer_by_layer import LayerByLayer
from rankfold.chip.run import NS, ChipRun, Pipeline
from rankfold.chip.traffic import THE_BUS
from rankfold.report.chip_page.floor import Floor
from rankfold.report.chip_page.layers import Residents
from rankfold.report.chip_page.links import Links, at
from rankfold.report.numbers import DASH, GAP, count, nanojoules, percent
from rankfold.report.tables import Table, table


def energy_table(run: ChipRun) -> Table:
    """Energy by part; that of arrays by component, too."""
    rows = []
    for part, value in run.energy.items():
        rows.append([part, f"{nanojoules(value):,.1f}", percent(value / run.total_energy, 1)])
        if part != ARRAYS:
            continue
        for component, energy in array_energy(run.activity).items():
            if energy:
                share = percent(energy / run.total_energy, 1)
                rows.append([f"{GAP}{GAP}{component}", f"{nanojoules(energy):,.1f}", share])
    rows.append(["all", f"{nanojoules(run.total_energy):,.1f}", percent(1.0, 1)])
    return table(["part", "nJ an image", "share"], rows)


def area_table(run: ChipRun) -> Table:
    """Area by part."""
    whole = sum(run.area.values())
    rows = [[part, f"{area:.3f}", percent(area / whole, 1)] for part, area in run.area.items()]
    rows.append(["all", f"{whole:.3f}", percent(1.0, 1)])
    return table(["part", "mm²", "share"], rows)


def work_table(pipeline: Pipeline) -> Table:
    """The busiest part of every sort."""
    interval = pipeline.timing.interval
    rows = []
    for work in pipeline.timing.work:
        rows.append([work.part, work.where, f"{NS * work.time:,.2f}", percent(work.time / interval, 0)])
    return table(["part", "the busiest", "works, µs an image", "of the interval"], rows, [1])


def sent_table(pipeline: Pipeline) -> Table:
    """What the interconnect carries, by sort."""
    sent = pipeline.traffic.bits
    # Nothing is sent within a core.
    whole = sum(sent.values()) or 1.0
    rows = [[what, f"{bits:,.0f}", percent(bits / whole, 1)] for what, bits in sent.items()]
    return table(["what is sent", "bits an image, over each link", "share"], rows)


def task_table(run: ChipRun, pipeline: Pipeline, there: Residents) -> Table:
    """Every layer and join: where it is and when it works, as `rankfold chip` prints it."""
    timing, placement = pipeline.timing, pipeline.placement
    rows = []
    for index, task in enumerate(run.graph.tasks):
        times, layer = timing.tasks[index], there.of_task[index]
        cores = placement.cores(index)
        between = str(cores[0])
        if len(cores) > 1:
            between = f"{cores[0]} to {cores[-1]}"
        number = DASH
        if layer is not None:
            number = str(layer.number)
        rows.append(
            [
                number,
                task.name,
                count(task.tiles),
                " ".join(str(copies) for copies in placement.copies[index]),
                between,
                ", ".join(run.graph.tasks[reading.source].name for reading in task.reads),
                " ".join(str(waiting) for waiting in timing.rows[index]),
                f"{NS * float(times.begins[0]):.2f}",
                f"{NS * float(times.ends[-1]):.2f}",
            ]
        )
    headers = [
        "number",
        "layer or join",
        "tiles",
        "copies",
        "cores",
        "reads",
        "rows buffered",
        "begins, µs",
        "ends, µs",
    ]
    return table(headers, rows, [1, 5])


def core_table(floor: Floor) -> Table:
    """Every core that holds anything, the fullest buffer first."""
    rows = []
    fullest = sorted(floor.there.cores.items(), key=lambda item: (-item[1].buffered, item[0]))
    for core, content in fullest:
        row, column = floor.place(core)
        layers = [f"{part.layer.number} {part.layer.name} ({part.arrays})" for part in content.layers]
        layers += [f"{name} (joined here)" for name in content.joins]
        rows.append(
            [
                str(core),
                f"{row},{column}",
                ", ".join(layers),
                f"{content.arrays} of {floor.arrays}",
                f"{content.buffered:,.0f}",
                percent(content.buffered / floor.buffer, 0),
            ]
        )
    headers = ["core", "row, column", "holds (arrays)", "arrays in use", "buffer holds, bytes", "of its size"]
    if floor.is_bus:
        headers[1] = "place"
    return table(headers, rows, [2])


def link_table(links: Links) -> Table:
    """Every link that carries anything, the busiest first."""
    rows = []
    for link, bits in links.load.items():
        name = ["the bus", DASH, DASH]
        if link != THE_BUS:
            name = [f"{at(link[0])} to {at(link[1])}", *(str(links.cores[place]) for place in link)]
        rows.append([*name, f"{bits:,.0f}", f"{links.time(link):,.2f}", percent(links.busy(link), 0)])
    headers = ["link (row,column)", "from core", "to core", "bits an image", "µs an image", "of the interval"]
    return table(headers, rows)


def layer_table(run: ChipRun) -> Table:
    """Every layer of a network whose layers work one after another."""
    rows = []
    for task in run.graph.tasks:
        if not task.tiles:
            continue
        times = max(activations for _, activations in task.matrices)
        rows.append([task.name, count(task.tiles), count(times), count(task.made_bits)])
    return table(["layer", "tiles", "activations of each", "bits of the feature map"], rows)


def time_table(way: LayerByLayer) -> Table:
    """Where the time of an image goes, where layers work one after another."""
    rows = []
    for part, time in way.parts.items():
        rows.append([part, f"{NS * time:,.2f}", percent(time / way.latency, 0)])
    rows.append(["all", f"{NS * way.latency:,.2f}", percent(1.0, 0)])
    return table(["part", "µs an image", "of the whole"], rows)


def written_table(run: ChipRun, way: LayerByLayer) -> Table:
    """What is written, sent and kept for an image."""
    endured = "no end is known"
    if way.images_endured is not None:
        endured = f"{way.images_endured:,.0f}"
    rooms = 8 * run.chip.buffer.size * run.chip.cores.count
    rows = [
        ["tiles that stay on their arrays", count(way.way.kept)],
        ["tiles written for each image", count(way.way.written)],
        ["cells written for each image", count(way.way.cells)],
        ["energy of writing, nJ", f"{nanojoules(way.writing_energy):,.1f}"],
        ["bits between chip and memory", f"{way.memory_bits:,.0f}"],
        ["bits over the interconnect, over each link", f"{way.sent_bits:,.0f}"],
        ["bits of feature maps kept at once, at most", f"{way.live_bits:,.0f}"],
        ["bits that all buffers hold", f"{rooms:,.0f}"],
        ["images until rewritten cells are worn out", endured],
    ]
    return table(["of an image", "amount"], rows)


def check_table(check: Check) -> Table:
    """The schedule as executed event by event."""
    rows = [
        _checked("whole time of all images, µs", check.whole, check.executed_whole),
        _checked("latency, µs", check.latency, check.executed_latency),
    ]
    return table(["", "predicted", "executed", "ratio"], rows)


def _checked(what: str, predicted: float, executed: float) -> list[str]:
    return [what, f"{predicted:,.2f}", f"{executed:,.2f}", f"{executed / predicted:.2f}"]
