"""The analytical model of a run held against the same schedule executed event by event."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from rankfold.chip.events import execute
from rankfold.chip.run import ChipRun
from rankfold.progress import Progress

NS = 1e-3  # in us


@dataclass(frozen=True)
class Check:
    """Both, of one run.

    Attributes:
        whole: us of all images: a latency, and an interval for each further one, as predicted, and
        executed_whole: as executed.
        latency: us, as predicted, and
        executed_latency: as executed, of an image that finds the chip empty.
        traffic_differs: bits of the link whose load differs most.
        images: sent through.
    """

    whole: float
    executed_whole: float
    latency: float
    executed_latency: float
    traffic_differs: float
    images: int

    def to_json(self) -> dict[str, Any]:
        """For `--json`."""
        return {
            "images": self.images,
            "whole_us": self.executed_whole,
            "whole_ratio": self.executed_whole / self.whole,
            "latency_us": self.executed_latency,
            "latency_ratio": self.executed_latency / self.latency,
            "traffic_differs_bits": self.traffic_differs,
        }


def check_schedule(run: ChipRun, images: int, progress: Progress | None = None) -> Check:
    """Execute the schedule of a run.

    Args:
        run: whose weights stay.
        images: to send through, three or more.
        progress: hears of each bundle.

    Raises:
        InputError: its weights do not stay, so that it has no schedule of overlapping tasks.
        MissingDependencyError: simpy is not installed.
    """
    many, one = execute(run, images, progress), execute(run, 1, progress)
    assert run.pipeline is not None  # else nothing is executed
    counted = run.pipeline.traffic.load
    links = {*many.load, *counted}
    differs = max((abs(many.load.get(link, 0.0) - counted.get(link, 0.0)) for link in links), default=0.0)
    whole = run.latency + (images - 1) * run.interval
    return Check(whole, NS * many.whole, run.latency, NS * one.latency, differs, images)
