"""A folder may name code of whoever wrote it; nothing imports that unasked."""

import shutil
import sys
from pathlib import Path

import pytest

import rankfold as rf
from common.command_line import refuse
from rankfold.cli.main import main
from rankfold.errors import InputError
from rankfold.models.load import check_trusted, names_code
from rankfold.runs.chips import LoadedRun
from rankfold.runs.evaluate_folder import evaluate_folder
from rankfold.runs.stored import StoredNetwork

RUN = Path(__file__).parents[1] / "data" / "version-0.1" / "runs" / "mixed"
FACTORY = """from pathlib import Path
from rankfold.models.zoo import build

Path("was-run").touch()


def net(num_classes, in_channels):
    return build("resnet8", num_classes, in_channels, 0)
"""


@pytest.fixture(params=["result.json", "plan.json"])
def foreign(request, tmp_path, monkeypatch):
    """A run whose result or plan, or both, name a module beside it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    Path("foreign_code.py").write_text(FACTORY)
    folder = Path(shutil.copytree(RUN, tmp_path / "run"))
    for name in {request.param, "plan.json"}:
        text = (folder / name).read_text()
        (folder / name).write_text(text.replace('"resnet8"', '"foreign_code:net"'))
    yield folder
    sys.modules.pop("foreign_code", None)


COMMANDS = {
    "evaluate": ["--data", "digits"],
    "map": [],
    "energy": [],
    "export": ["--to", "csv", "--out", "layers.csv"],
    "simulate": ["--data", "digits", "--images", "4", "--layer-images", "0"],
}


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_do_not_import_what_a_folder_names(command, foreign, capsys):
    message = refuse(capsys, command, foreign, *COMMANDS[command])
    assert "names code that would be imported and run, foreign_code:net" in message
    assert "--trust-code, or name what builds" in message
    assert not Path("was-run").exists()


@pytest.mark.parametrize("asked", [["--trust-code"], ["--model", "foreign_code:net"], ["--model", "resnet8"]])
def test_commands_import_what_the_user_trusts_or_names(asked, foreign):
    assert main(["map", str(foreign), *asked]) == 0
    assert Path("was-run").exists() == (asked[-1] != "resnet8")


def test_python_does_neither(foreign):
    calls = (
        lambda **trust: rf.load_run(foreign, **trust),
        lambda **trust: StoredNetwork.load(foreign, **trust),
        lambda **trust: evaluate_folder(foreign, "digits", "cpu", **trust),
        lambda **trust: LoadedRun.load(foreign, "digits", "cpu", **trust),
    )
    for call in calls[1:]:
        with pytest.raises(InputError, match="say trust_code=True"):
            call()
        assert not Path("was-run").exists()
    calls[1](trust_code=True)


def test_names_of_code():
    for name in (
        "resnet20",
        "net.pt2",
        "a:b.pt2",
        "timm:resnet18",
        "torchvision:resnet18",
        "hf:microsoft/resnet-18",
    ):
        assert not names_code(name)
        check_trusted(name, "here", False)
    for name in ("os:system", "package.module:factory", "a:b:c"):
        assert names_code(name)
        with pytest.raises(InputError, match="here names code that would be imported"):
            check_trusted(name, "here", False)
