"""What the tests of data sets share."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import datasets
import pytest


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of its own for every test, outside the folder that holds its data."""
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("RANKFOLD_CACHE", str(folder))
    # `datasets` leaves lock files in its own cache, even where it streams.
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path_factory.mktemp("datasets")))
    return folder


@pytest.fixture(autouse=True, scope="module")
def quiet() -> Iterable[None]:
    datasets.disable_progress_bars()
    yield
    datasets.enable_progress_bars()
