"""`rankfold hardware`: what is shown can be copied, edited and given back."""

from __future__ import annotations

from rankfold.cli.main import main
from rankfold.machine import hardware_names, load_hardware


def test_all_descriptions_are_listed(capsys):
    assert main(["hardware"]) == 0
    listed = capsys.readouterr().out
    assert main(["hardware", "--list"]) == 0
    assert capsys.readouterr().out == listed
    for name in hardware_names():
        assert f"\n{name} " in listed


def test_what_is_shown_is_a_description(capsys, tmp_path):
    for name in hardware_names():
        assert main(["hardware", "--show", name]) == 0
        path = tmp_path / f"{name}.yaml"
        path.write_text(capsys.readouterr().out)
        assert load_hardware(path) == load_hardware(name)
        # A file of one's own is shown, and so checked, too.
        assert main(["hardware", "--show", str(path)]) == 0
        assert capsys.readouterr().out == path.read_text()


def test_a_wrong_file_is_refused(capsys, tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("rows: 3")
    assert main(["hardware", "--show", str(path)]) == 2
    assert "is no description of hardware" in capsys.readouterr().err
