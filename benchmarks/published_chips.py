"""Described chips against what is published of them: peak throughput, and TOPS/W of arrays with converters.

Usage: python benchmarks/published_chips.py [--out results/chips]

tests/data/published_chips.csv says what is published, and where. Nothing is tuned to a chip: sizes, cells,
sharing of ADCs and time of a read go in, and the component table that its description names prices them.
"""

from __future__ import annotations

import argparse
import csv
import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from rankfold.chip.peak import Peak, peak
from rankfold.files import write_text
from rankfold.machine import ChipSpec, load_chip

SOURCE = Path(__file__).parents[1] / "tests" / "data" / "published_chips.csv"


@dataclass(frozen=True)
class Compared:
    """A chip as it is published, and as it is described here.

    Attributes:
        published: the row of the file.
        chip: the description.
        ours: the peak of as many arrays as the published figures are of.
    """

    published: dict[str, str]
    chip: ChipSpec
    ours: Peak

    @property
    def throughput_error(self) -> float:
        """Ours over the published one, less 1."""
        return self.ours.tops / float(self.published["tops"]) - 1

    @property
    def efficiency_ratio(self) -> float:
        """Ours over the published TOPS/W."""
        return self.ours.tops_per_watt / float(self.published["tops_per_watt"])


def compared() -> Iterator[Compared]:
    """All published chips that are described."""
    with SOURCE.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            chip = load_chip(row["chip"])
            found = peak(chip, int(row["weight_bits"]), int(row["input_bits"]))
            share = int(row["arrays"] or chip.arrays) / chip.arrays
            yield Compared(row, chip, Peak(found.tops * share, found.power * share, found.area * share))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n", maxsplit=1)[0])
    parser.add_argument("--out", type=Path, default=Path("results/chips"))
    options = parser.parse_args()
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(
        [
            "chip",
            "weight_bits",
            "input_bits",
            "published_tops",
            "tops",
            "error",
            "published_tops_per_watt",
            "tops_per_watt",
            "ratio",
            "technology",
            "time_from",
            "source",
        ]
    )
    for one in compared():
        row = one.published
        writer.writerow(
            [
                row["chip"],
                row["weight_bits"],
                row["input_bits"],
                row["tops"],
                f"{one.ours.tops:.4g}",
                f"{one.throughput_error:+.3f}",
                row["tops_per_watt"],
                f"{one.ours.tops_per_watt:.4g}",
                f"{one.efficiency_ratio:.3f}",
                one.chip.hardware.technology,
                row["time_from"],
                row["source"],
            ]
        )
    write_text(options.out / "published.csv", text.getvalue())
    print(text.getvalue(), end="")


if __name__ == "__main__":
    main()
