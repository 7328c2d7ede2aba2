"""What the tests of reports share."""

import pytest

from rankfold.report.charts.drawing import Chart

CHARTS = ("accuracy", "cycles", "energy", "error", "training", "arrays")


@pytest.fixture
def undrawn(monkeypatch):
    """Pages of runs have empty charts, which take most of the time: for tests of words and tables alone."""
    charts = dict.fromkeys(CHARTS, Chart("<svg></svg>"))
    monkeypatch.setattr("rankfold.report.run_page.page._charts", lambda runs: charts)
