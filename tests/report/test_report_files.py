"""A page of runs takes the place of a page, and of nothing else."""

from __future__ import annotations

import pytest

from common.report_samples import run
from rankfold.errors import InputError
from rankfold.report import write_report
from rankfold.report.run_page.page import render_report


def test_no_run_is_refused_and_an_old_page_stays(tmp_path):
    page = tmp_path / "report.html"
    page.write_text("old")
    with pytest.raises(InputError, match="at least one run"):
        write_report(page, [])
    assert page.read_text() == "old"


@pytest.mark.usefixtures("undrawn")
def test_a_page_replaces_a_page(tmp_path, monkeypatch):
    page = tmp_path / "page.html"
    write_report(page, [run()])
    assert page.read_text(encoding="utf-8") == render_report([run()])
    # What may be replaced does not depend on what is drawn.
    monkeypatch.setattr("rankfold.report.run_page.page.render_report", lambda *_: page_text)
    page_text = "<!DOCTYPE html>\n<p>new"
    rendered = page.read_text(encoding="utf-8")
    for old in (rendered, "<!DOCTYPE html>\n<p>old", "\ufeff\n <!doctype HTML>", "<html lang='en'>", ""):
        page.write_text(old, encoding="utf-8")
        write_report(page, [run()])
        assert page.read_text(encoding="utf-8") == page_text


@pytest.mark.parametrize(
    "old", ['{"_type": "rankfold.result"}', "a,b\n1,2\n", "<svg></svg>", "# <html>\n", "\0\1"]
)
def test_a_page_replaces_nothing_else(tmp_path, monkeypatch, old):
    page = tmp_path / "page.html"
    # The page that is drawn first is as good as any.
    monkeypatch.setattr("rankfold.report.run_page.page.render_report", lambda *_: "<!DOCTYPE html>\n<p>new")
    page.write_text(old)
    with pytest.raises(
        InputError, match="exists and is no HTML page, and only a page is replaced; choose another file"
    ):
        write_report(page, [run()])
    assert page.read_text() == old
    assert list(tmp_path.iterdir()) == [page]


@pytest.mark.usefixtures("undrawn")
def test_a_page_takes_no_name_of_a_runs_files(tmp_path):
    (tmp_path / "run.json").write_text("{}")
    with pytest.raises(InputError, match="is a file of the run in"):
        write_report(tmp_path / "checkpoint.pt", [run()])
    write_report(tmp_path / "report.html", [run()])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["report.html", "run.json"]
