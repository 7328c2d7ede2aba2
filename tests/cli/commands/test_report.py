"""`rankfold report`."""

import json
from xml.etree import ElementTree

import pytest

from common.command_line import refuse
from rankfold.cli.main import main

pytestmark = pytest.mark.usefixtures("few_digits")


def test_report_compares_runs_and_draws_them(finished, tmp_path, capsys):
    page, picture = tmp_path / "page.html", tmp_path / "picture.svg"
    assert main(["report", str(finished), "--out", str(page), "--picture", str(picture)]) == 0
    accuracy = json.loads((finished / "result.json").read_text())["accuracy"]["final"]
    assert f"{accuracy:.2%}" in capsys.readouterr().out
    assert finished.name in page.read_text(encoding="utf-8")
    root = ElementTree.parse(picture).getroot()
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    assert f"run, {accuracy:.1%}".replace("%", " %") in "".join(root.itertext())
    page.unlink()
    assert "must be an .svg file" in refuse(
        capsys, "report", finished, "--out", page, "--picture", tmp_path / "picture.gif"
    )
    assert not page.exists()  # refused before anything is written
    assert "cannot read" in refuse(capsys, "report", tmp_path / "none", "--out", page)
    (tmp_path / "notes.md").write_text("mine")
    complaint = refuse(capsys, "report", tmp_path / "notes.md", "--out", page)
    assert "notes.md is nothing that a report shows; give the folder of a finished run" in complaint
