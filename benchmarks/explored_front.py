"""The front that `rankfold explore` finds, on record with the commit of the code.

Usage: python benchmarks/explored_front.py --record FILE --out FOLDER [what else the command takes]

`results/exploring/measured_front.csv` is made by

    python benchmarks/explored_front.py --record results/exploring/measured_front.csv --out FOLDER resnet20 \
        --space examples/measured-space.yaml --data DATA --measure 500

which runs `rankfold explore resnet20 --space ... --out FOLDER` and writes its `front.csv` to FILE, with a
column `commit` behind the others. `front.csv` there is the same of `examples/space.yaml`, without data.
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path

from measured_rows import commit

from rankfold.cli.main import main as rankfold
from rankfold.records.csv_table import write_csv
from rankfold.report.exploration.write import FRONT


def main() -> None:
    """Explore, and write the front."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n", maxsplit=1)[0])
    parser.add_argument("--record", type=Path, required=True, metavar="FILE")
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER")
    options, given = parser.parse_known_args()
    made_by = commit()  # before the hours in which it may become another
    code = rankfold(["explore", *given, "--out", str(options.out)])
    if code:
        raise SystemExit(code)
    with (options.out / FRONT).open(newline="", encoding="utf-8") as file:
        header, *rows = csv.reader(file)
    write_csv(options.record, [*header, "commit"], [[*row, made_by] for row in rows])


if __name__ == "__main__":
    main()
