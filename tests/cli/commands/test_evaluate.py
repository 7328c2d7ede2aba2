"""`rankfold evaluate` on a finished run."""

import json

from rankfold.cli.main import main


def test_evaluate_gives_the_same_accuracy(finished, capsys):
    assert main(["evaluate", str(finished), "--data", "digits", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (
        found["accuracy"]
        == found["reported"]
        == json.loads((finished / "result.json").read_text())["accuracy"]["final"]
    )
    assert main(["evaluate", str(finished), "--data", "digits"]) == 0
    assert f"{found['accuracy']:.2%}" in capsys.readouterr().out
