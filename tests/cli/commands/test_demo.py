"""`rankfold demo`."""

import pytest

from common.command_line import refuse
from rankfold.cli.main import main


@pytest.mark.usefixtures("few_digits")
def test_demo_trains_a_baseline_and_compares_three_networks(tmp_path, capsys):
    """The whole path from fresh weights; asked again, it only prints."""
    command = ["demo", "--epochs", "1", "--out", str(tmp_path / "demo"), "--device", "cpu", "--threads", "1"]
    assert main(command) == 0
    first = capsys.readouterr().out
    for name in ("dense", "plain low-rank", "group low-rank", str(tmp_path / "demo" / "report.html")):
        assert name in first
    written = {path: path.stat().st_mtime_ns for path in (tmp_path / "demo").rglob("*.safetensors")}
    assert len(written) == 4
    assert main(command) == 0
    assert capsys.readouterr().out == first
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "demo").rglob("*.safetensors")} == written


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--device", "no-such"], "device `no-such` is not available"),
        (["--threads", "0"], "threads (=0) must be 1 or more"),
        (["--epochs", "-1"], "epochs"),
    ],
)
def test_wrong_input_is_one_sentence_and_leaves_nothing(tmp_path, capsys, options, message):
    out = tmp_path / "demo"
    assert message in refuse(capsys, "demo", "--out", out, *options)
    assert not list(tmp_path.rglob("*.safetensors"))
