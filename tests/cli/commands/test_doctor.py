"""`rankfold doctor` and `rankfold --version`."""

import importlib.metadata
import json
import subprocess
import sys

import pytest
import torch

from common.command_line import refuse
from rankfold.cli.main import main
from rankfold.cli.words import installation
from rankfold.version import __version__


def examined(capsys, code=0):
    assert main(["doctor", "--json"]) == code
    return json.loads(capsys.readouterr().out)


def test_doctor_says_what_is_installed(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RANKFOLD_CACHE", str(tmp_path / "cache"))
    found = examined(capsys)
    versions = {one["name"]: one["version"] for one in found["packages"][""]}
    assert versions["torch"] == importlib.metadata.version("torch")
    assert found["packages"]["search"][0]["name"] == "optuna"
    assert "dev" not in found["packages"]
    assert (
        found["devices"][0]["name"] == "cpu" and str(torch.get_num_threads()) in found["devices"][0]["what"]
    )
    assert found["caches"]["folder"] == str(tmp_path / "cache") and found["caches"]["images"] == 0
    assert found["settings"] == {"file": None, "options": {}, "commands": {}}
    assert main(["doctor"]) == 0
    told = capsys.readouterr().out
    assert "all that is needed is there" in told and versions["numpy"] in told


def test_doctor_says_how_to_get_what_is_missing(capsys, monkeypatch):
    there = installation.version_of
    lost = {"optuna": None, "scipy": "1.0", "jinja2": None}
    monkeypatch.setattr(installation, "version_of", lambda name: lost.get(name, there(name)))
    assert main(["doctor"]) == 1
    told = capsys.readouterr().out
    assert 'pip install "rankfold[search]"' in told
    assert 'scipy is 1.0: pip install "scipy>=' in told and 'jinja2 is missing: pip install "jinja2>=' in told
    assert "all that is needed" not in told


def test_doctor_says_what_a_file_of_options_says_and_what_is_wrong_with_it(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "rankfold.toml"
    file.write_text('array = "64x64"\n[compress]\nepochs = 4\n')
    settings = examined(capsys)["settings"]
    counts = settings.pop("commands")
    assert settings == {"file": str(file), "options": {"array": "64x64", "compress.epochs": 4}}
    assert {"map", "compress"} <= set(counts["array"]) and "cache" not in counts["array"]
    assert main(["doctor"]) == 0 and "array counts in: map, energy" in capsys.readouterr().out
    file.write_text("[map]\nepochs = 4\n")
    assert "[map] epochs is no option of map" in examined(capsys, code=1)["settings"]["error"]
    file.write_text("array = ")
    assert "is not valid TOML" in examined(capsys, code=1)["settings"]["error"]


def test_doctor_says_what_compiles(capsys, monkeypatch):
    monkeypatch.setenv("CC", "no-such-compiler")
    assert examined(capsys)["compiler"] == {"command": "no-such-compiler", "path": None, "kernels": False}
    monkeypatch.setenv("CC", "'")
    assert examined(capsys)["compiler"]["path"] is None


def test_version_is_told_without_importing_anything():
    script = (
        "import sys\nfrom rankfold.cli.main import main\n"
        "try:\n    main(['--version'])\nexcept SystemExit as end:\n    assert not end.code\n"
        "assert not {'torch', 'numpy'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    lines = done.stdout.splitlines()
    assert lines[0] == f"rankfold {__version__}"
    assert f"torch {importlib.metadata.version('torch')}" in lines


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["doctor", "torch"], "unrecognized arguments: torch"),
        (["doctor", "--jsn"], "did you mean --json?"),
        (["docter"], "did you mean doctor?"),
    ],
)
def test_wrong_input_is_one_sentence(capsys, arguments, message):
    assert message in refuse(capsys, *arguments)


def test_a_folder_that_is_not_installed_is_told(capsys, monkeypatch):
    def requires(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(installation.metadata, "requires", requires)
    assert "is not installed, so that nothing says what it needs" in refuse(capsys, "doctor")
