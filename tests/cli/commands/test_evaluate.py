"""`rankfold evaluate` on a finished run."""

import json
import shutil

import pytest

from rankfold import evaluate, load_images, load_run
from rankfold.cli.main import main
from rankfold.training.shift import shifted_test

pytestmark = pytest.mark.usefixtures("few_digits")


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


@pytest.mark.parametrize(
    ("more", "cause"),
    [(0.001, "from another device or number of threads"), (0.3, "from files of the run that")],
)
def test_why_an_accuracy_is_another_is_told_by_how_far_it_is(finished, tmp_path, capsys, more, cause):
    run = shutil.copytree(finished, tmp_path / "run")
    result = json.loads((run / "result.json").read_text())
    result["accuracy"]["final"] += more
    (run / "result.json").write_text(json.dumps(result))
    assert main(["evaluate", str(run), "--data", "digits"]) == 0
    assert cause in capsys.readouterr().err


def test_test_images_can_be_moved(finished, capsys):
    assert main(["evaluate", str(finished), "--data", "digits", "--shift", "1", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    model, _, _ = load_run(finished)
    assert found["accuracy"] == evaluate(model, shifted_test(load_images("digits"), 1))
    assert found["shift"] == 1
    assert main(["evaluate", str(finished), "--data", "digits", "--shift", "1"]) == 0
    said = capsys.readouterr()
    assert "images, moved by 1 pixel (the run reported" in said.out
    assert not said.err  # no word of another device
    assert main(["evaluate", str(finished), "--data", "digits", "--shift", "8"]) == 2
    assert "shift (=8) must be" in capsys.readouterr().err


def sure(scores, classes):
    """The mean probability of the class that is right."""
    return scores.softmax(1)[range(len(classes)), classes].mean()


def test_a_metric_of_ones_own_takes_the_place_of_accuracy(finished, capsys):
    name = f"{__name__}:sure"
    assert main(["evaluate", str(finished), "--data", "digits", "--metric", name, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    model, _, _ = load_run(finished)
    assert found["accuracy"] == evaluate(model, load_images("digits"), metric=sure)
    assert (found["metric"], found["reported"]) == ("sure", None)
    assert main(["evaluate", str(finished), "--data", "digits", "--metric", name]) == 0
    assert capsys.readouterr().out.startswith(f"sure {found['accuracy']:.6g} on ")
    for wrong, words in {"nowhere:sure": "cannot be imported", "sure": "must be package.module:name"}.items():
        assert main(["evaluate", str(finished), "--data", "digits", "--metric", wrong]) == 2
        assert words in capsys.readouterr().err
