"""When layers work: for one image, and for a stream of images of which several are on their way."""

from __future__ import annotations

import math

import numpy as np

from rankfold.chip.energy import INTERCONNECT, MEMORY
from rankfold.chip.graph import Task
from rankfold.chip.layer_by_layer import LayerByLayer
from rankfold.chip.run import NS, ChipRun, Pipeline
from rankfold.chip.timing import TaskTimes
from rankfold.report.charts.drawing import Chart, Key, text_width
from rankfold.report.charts.elements import Sketch
from rankfold.report.chip_page.colours import BUSIEST, HUES, letters_on
from rankfold.report.chip_page.layers import Residents
from rankfold.report.chip_page.shares import COLOURS
from rankfold.report.chip_page.time_rows import SMALL, TimeRows
from rankfold.report.palette import EDGE, INK
from rankfold.report.tables import Table, table

# Points: work that is no farther apart is drawn as one bar.
TOGETHER = 0.6
# How much the ground shows through the whole time of a task, and the same in two digits behind a colour.
PALE, PALE_DIGITS = 0.3, "4d"
# Images of a stream, at least and at most.
FEWEST, MOST = 4, 8
# Of the axis beyond what is drawn.
SPARE = 1.02


def timeline(run: ChipRun, pipeline: Pipeline, there: Residents) -> Chart:
    """One image: pale, from when a task begins to when it ends; full, when it works."""
    shown = _shown(run)
    rows = TimeRows([there.label(task, index) for index, task in shown], SPARE * run.latency)
    drawn = Sketch()
    rows.draw(drawn)
    for row, (index, task) in enumerate(shown):
        times, colour = pipeline.timing.tasks[index], there.colour(index)
        layer = there.of_task[index]
        number = str(layer.number) if layer else ""
        with drawn.mark(_in_words(task, times), of=number, stop=True):
            whole = (rows.x(NS * float(times.begins[0])), rows.x(NS * float(times.ends[-1])))
            drawn.bars([whole], rows.top(row), rows.bar, colour, opacity=PALE)
            drawn.bars(_working(rows, times), rows.top(row), rows.bar, colour)
    rows.draw_time(drawn, run.latency, f"latency {run.latency:,.2f} µs", INK)
    if run.interval < run.latency:
        rows.draw_time(drawn, run.interval, f"interval {run.interval:,.2f} µs", BUSIEST)
    title = f"When each layer of {run.network} works for one image; it is done after {run.latency:,.2f} µs"
    keys = (
        Key("full: arrays or units work", HUES[0], "bar"),
        Key("pale: it waits for rows, or what it made is on its way", HUES[0] + PALE_DIGITS, "bar"),
    )
    return Chart(drawn.element(title, rows.height), keys)


def stream(run: ChipRun, pipeline: Pipeline, there: Residents) -> Chart:
    """Several images, one begun an interval after the other: the same tasks, a colour for each image."""
    shown = _shown(run)
    images = min(MOST, max(FEWEST, math.ceil(run.latency / run.interval) + 1))
    last = run.latency + (images - 1) * run.interval
    rows = TimeRows([there.label(task, index) for index, task in shown], SPARE * last)
    drawn = Sketch()
    rows.draw(drawn)
    for image in range(images):
        begun = image * run.interval
        with drawn.mark(_image_in_words(run, image), of=f"image {image + 1}", stop=True):
            for row, (index, _) in enumerate(shown):
                _draw_image(drawn, rows, row, pipeline.timing.tasks[index], begun, image)
    for image in range(images):
        out = rows.x(run.latency + image * run.interval)
        drawn.line((out, rows.bottom - 3), (out, rows.bottom + 3), INK, width=1.4)
    first = run.latency
    rows.draw_time(drawn, first, "the first image is done", INK)
    _draw_interval(drawn, rows, first, run.interval)
    title = f"{images} images on their way through {run.chip.name}, one every {run.interval:,.2f} µs"
    keys = tuple(Key(f"image {image + 1}", _image_colour(image), "bar") for image in range(images))
    return Chart(drawn.element(title, rows.height), keys, _stream_table(run, pipeline, images))


def _stream_table(run: ChipRun, pipeline: Pipeline, images: int) -> Table:
    """When each layer and each join works for each image."""
    rows = []
    for image in range(images):
        begun = image * run.interval
        for index, task in _shown(run):
            times = pipeline.timing.tasks[index]
            begins, ends = begun + NS * float(times.begins[0]), begun + NS * float(times.leaves[-1])
            rows.append([task.name, str(image + 1), f"{begins:,.2f}", f"{ends:,.2f}"])
    return table(["at work", "image", "begins, µs", "ends, µs"], rows)


def time_by_part(run: ChipRun, way: LayerByLayer) -> Chart:
    """Where the time of an image goes that layers run one after another, as if part came after part."""
    parts = way.parts
    rows = TimeRows(list(parts), SPARE * run.latency)
    drawn = Sketch()
    rows.draw(drawn)
    begins = 0.0
    for row, (part, time) in enumerate(parts.items()):
        with drawn.mark(f"{part}: {NS * time:,.2f} µs an image", stop=True):
            ends = begins + time
            drawn.bars([(rows.x(NS * begins), rows.x(NS * ends))], rows.top(row), rows.bar, COLOURS[part])
        # What is sent comes behind all of it, over the interconnect and through memory at once.
        if part not in (INTERCONNECT, MEMORY):
            begins = ends
    rows.draw_time(drawn, run.latency, f"latency {run.latency:,.2f} µs", INK)
    title = f"Where the time of an image of {run.network} goes on {run.chip.name}"
    return Chart(drawn.element(title, rows.height))


def _shown(run: ChipRun) -> list[tuple[int, Task]]:
    """Tasks that make something: all but the input."""
    return [(index, task) for index, task in enumerate(run.graph.tasks) if task.reads]


def _working(rows: TimeRows, times: TaskTimes) -> list[tuple[float, float]]:
    """From where to where bundles are made, those next to each other as one."""
    lefts, rights = _across(rows, times.begins), _across(rows, times.leaves)
    apart = lefts[1:] - rights[:-1] > TOGETHER
    starts = np.concatenate([lefts[:1], lefts[1:][apart]])
    ends = np.concatenate([rights[:-1][apart], rights[-1:]])
    return list(zip(starts.tolist(), ends.tolist(), strict=True))


def _across(rows: TimeRows, times: np.ndarray) -> np.ndarray:
    return np.array([rows.x(NS * time) for time in times.tolist()])


def _in_words(task: Task, times: TaskTimes) -> str:
    begins, ends = NS * float(times.begins[0]), NS * float(times.ends[-1])
    works = NS * float((times.leaves - times.begins).sum())
    return (
        f"{task.name}\nbegins at {begins:,.2f} µs, ends at {ends:,.2f} µs\n"
        f"works for {works:,.2f} µs of these {ends - begins:,.2f} µs, in {task.bundles:,} steps"
    )


def _image_colour(image: int) -> str:
    return HUES[image % len(HUES)]


def _image_in_words(run: ChipRun, image: int) -> str:
    begun = image * run.interval
    return f"image {image + 1}\nbegun at {begun:,.2f} µs, done at {begun + run.latency:,.2f} µs"


def _draw_image(drawn: Sketch, rows: TimeRows, row: int, times: TaskTimes, begun: float, image: int) -> None:
    """What a task does for one of several images."""
    colour = _image_colour(image)
    left = rows.x(begun + NS * float(times.begins[0]))
    right = rows.x(begun + NS * float(times.leaves[-1]))
    drawn.bars([(left, right)], rows.top(row), rows.bar, colour)
    words = str(image + 1)
    if text_width(words, SMALL) + 4 <= right - left:
        middle = ((left + right) / 2, rows.top(row) + rows.bar / 2 + 2.6)
        drawn.text(middle, words, size=SMALL, colour=letters_on(colour), anchor="middle")


def _draw_interval(drawn: Sketch, rows: TimeRows, first: float, interval: float) -> None:
    """Draw what lies between two images that are done."""
    left, right = rows.x(first), rows.x(first + interval)
    height = rows.bottom - 5
    drawn.line((left, height), (right, height), BUSIEST, width=1.4)
    words = f"an image every {interval:,.2f} µs"
    # Below the last row's bars there is nothing where no image has come yet.
    drawn.text((left - 4, height + 1), words, size=SMALL, colour=BUSIEST, anchor="end")
    drawn.line((right, rows.bottom - 9), (right, rows.bottom), EDGE)
