"""What the tests of reports share."""

import pytest

from rankfold.report.charts.drawing import Chart

CHARTS = ("accuracy", "cycles", "energy", "error", "training", "arrays")


@pytest.fixture
def draw_only(monkeypatch):
    """Call it with the charts that pages of runs shall draw: the others are empty, which saves most of the
    time.
    """

    def only(*names):
        for name in set(CHARTS) - set(names):
            chart = f"rankfold.report.run_page.page.{name}_chart"
            monkeypatch.setattr(chart, lambda runs: Chart("<svg></svg>"))

    return only


@pytest.fixture
def undrawn(draw_only):
    """Pages of runs have empty charts: for tests of words and tables alone."""
    draw_only()
