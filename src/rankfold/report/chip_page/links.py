"""`Links`: what joins the cores of a chip, and what each of it carries."""

from __future__ import annotations

from dataclasses import dataclass

from rankfold.chip.run import NS, ChipRun, Pipeline
from rankfold.chip.traffic import THE_BUS, Link
from rankfold.report.numbers import percent
from rankfold.workload.shape import Pair


@dataclass(frozen=True)
class Links:
    """The links that carry anything.

    Attributes:
        load: bits of each for an image, the busiest first.
        rate: bits of each per ns.
        interval: ns between images.
        cores: the core at each place of the chip.
    """

    load: dict[Link, float]
    rate: float
    interval: float
    cores: dict[Pair, int]

    @classmethod
    def of(cls, run: ChipRun, pipeline: Pipeline) -> Links:
        """Those of a run."""
        chip = run.chip
        falling = sorted(pipeline.traffic.load.items(), key=lambda item: (-item[1], item[0]))
        return cls(
            load={link: bits for link, bits in falling if bits},
            rate=chip.interconnect.rate,
            interval=pipeline.timing.interval,
            cores={chip.place(core): core for core in range(chip.cores.count)},
        )

    @property
    def most(self) -> float:
        """Bits of the busiest."""
        return max(self.load.values(), default=0.0)

    def time(self, link: Link) -> float:
        """us that it carries an image's bits."""
        return NS * self.load[link] / self.rate

    def busy(self, link: Link) -> float:
        """Share of the interval in which it does."""
        return self.load[link] / self.rate / self.interval

    def told(self, link: Link) -> str:
        """A link and its load, in lines."""
        name = "the bus"
        if link != THE_BUS:
            start, end = (self.cores[place] for place in link)
            name = f"link from core {start} to core {end} ({at(link[0])} to {at(link[1])})"
        lines = [
            name,
            f"{self.load[link]:,.0f} bits an image, {self.time(link):,.2f} µs: "
            f"{percent(self.busy(link), 0)} of the interval",
        ]
        if self.load[link] == self.most:
            lines.append("none is busier")
        return "\n".join(lines)


def at(place: Pair) -> str:
    """A place of the mesh, as the command line writes it."""
    return f"{place[0]},{place[1]}"
