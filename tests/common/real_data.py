"""Real data sets for tests: where they are, and what is said where they are not.

`RANKFOLD_TEST_DATA` names the folder that holds `cifar10` (and whatever else tests come to need), each in the
Hugging Face layout of Parquet shards; without it, `shared/data` beside the repository is looked at.
"""

from __future__ import annotations

import os
from pathlib import Path

VARIABLE = "RANKFOLD_TEST_DATA"
DEFAULT = Path(__file__).resolve().parents[3] / "shared" / "data"
MISSING = "real data missing"  # begins the reason of every test that is skipped for lack of data


def data_folder(name: str) -> Path:
    """Where the data set of this name is, or would be."""
    return Path(os.environ.get(VARIABLE) or DEFAULT) / name


def why_missing(name: str) -> str:
    """Why tests on it are skipped."""
    return f"{MISSING}: no {name} at {data_folder(name)}; set {VARIABLE} to the folder that holds it"
