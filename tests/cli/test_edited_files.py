"""Files that somebody edited are read, or refused in one sentence; none of them ends in a traceback."""

import json
from pathlib import Path

import pytest
import yaml

from common.edits import edited
from rankfold.cli.main import main
from rankfold.cost.energy import table_text
from rankfold.errors import InputError
from rankfold.machine import chip_text
from rankfold.records.parts import PartsFile
from rankfold.records.schema import schema_validator
from rankfold.reproduce.grid import load_grid
from rankfold.runs.result import Result

VERSION_0_1 = Path(__file__).parents[1] / "data" / "version-0.1"
GRID = {
    "model": "resnet8",
    "data": "digits",
    "array": "32x32",
    "arrays": ["32x32", "64x64"],
    "recipe": {"epochs": 1},
    "baseline_recipe": {"epochs": 1},
    "seeds": [0],
    "methods": [{"method": "low-rank", "groups": [1, 4], "rank": ["1/4"], "bits": [4]}],
}
TABLE = [
    {"name": "a", "in_channels": 3, "out_channels": 16, "kernel": "3x3", "input": "32x32", "padding": 1},
    {"name": "b", "in_channels": 16, "out_channels": 16, "kernel": [3, 5], "input": 32, "groups": 4},
]
COMMANDS = {
    "plan": ["map", "resnet8", "--input", "1x8x8", "--plan"],
    "table of layers": ["map"],
    "components": ["energy", "resnet8", "--technology"],
    "chip": ["chip", "resnet8", "--chip"],
}


def content_of(kind):
    if kind == "plan":
        return json.loads((VERSION_0_1 / "plans" / "planned.json").read_text())
    if kind == "chip":
        return yaml.safe_load(chip_text("isaac"))
    if kind == "components":
        return yaml.safe_load(table_text("rram-22nm"))
    return TABLE


@pytest.mark.parametrize("kind", COMMANDS)
def test_commands_read_or_refuse(kind, tmp_path, capsys):
    # JSON is YAML too.
    path = tmp_path / ("plan.json" if kind == "plan" else "file.yaml")
    content = content_of(kind)
    codes = set()
    for seed in range(25):
        path.write_text(edited(content, seed))
        code = main([*COMMANDS[kind], str(path)])
        output = capsys.readouterr()
        codes.add(code)
        if code == 2:
            assert output.err.count("\n") == 1 and output.err.startswith("rankfold: "), seed
            assert output.out == ""
        assert code in (0, 2)
    assert codes == {0, 2}


def read_parts(path):
    validator = schema_validator("rankfold.runs", "simulation.schema.json")
    return PartsFile.claim(path, "rankfold.simulation", {"run": "a"}, True, validator)


PARTS = {
    "_type": "rankfold.simulation",
    "_version": 1,
    "identity": {"run": "a"},
    "done": {
        "ideal": 0.9,
        "chip 0": 0.8,
        "layers": {"conv": {"activations": 3, "snr": 20.5, "own_snr": None, "clipped": 0.01}},
        "only conv": {"blame": 0.1, "alone": 0.9},
    },
}
READERS = {
    "result": (Result.load, json.loads((VERSION_0_1 / "runs" / "mixed" / "result.json").read_text())),
    "parts": (read_parts, PARTS),
    "grid": (lambda path: load_grid(str(path)), GRID),
}


@pytest.mark.parametrize("kind", READERS)
def test_files_are_read_or_refused(kind, tmp_path):
    read, content = READERS[kind]
    path = tmp_path / "file.yaml"
    path.write_text(json.dumps(content))
    read(path)
    refused = 0
    for seed in range(60):
        path.write_text(edited(content, seed))
        try:
            read(path)
        except InputError:
            refused += 1
    assert refused > 20
