"""Options in a file: `rankfold.toml`, or `[tool.rankfold]` of a `pyproject.toml`."""

import json
from pathlib import Path

import pytest

from common.command_line import PAIRS, SMALL, no_pages, options_of, refuse
from common.few_digits import few_digits
from rankfold.cli.arguments.option_names import OPTION_NAMES
from rankfold.cli.main import COMMANDS, main


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The working folder, two below the folder of the file."""
    working = tmp_path / "project" / "sub" / "folder"
    working.mkdir(parents=True)
    monkeypatch.chdir(working)
    return tmp_path / "project"


def mapped(capsys, *options):
    assert main(["map", "resnet8", *options, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_the_names_of_all_options_are_known():
    """`option_names.py` is what the parsers have: old names too, as files may hold them."""
    shown = {name[2:] for command in COMMANDS for name in options_of(command)}
    assert shown <= OPTION_NAMES | {"help", "version"}
    assert {"array", "calibration-images"} <= shown


@pytest.mark.parametrize(
    ("name", "head"), [("rankfold.toml", ""), ("pyproject.toml", "[project]\nname = 'x'\n[tool.rankfold]\n")]
)
def test_a_file_gives_defaults_and_flags_win(folder, capsys, name, head):
    plain, wide = mapped(capsys), mapped(capsys, "--array", "128x128")
    (folder / name).write_text(head + 'array = "128x128"\ndata = "digits"\nthreads = 2\n')
    assert mapped(capsys) == wide != plain
    assert mapped(capsys, "--array", "64x64") == plain
    assert main(["--no-config", "map", "resnet8", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == plain


def test_a_table_is_of_one_command_and_goes_before_what_is_for_all(folder, capsys):
    wide = mapped(capsys, "--array", "128x128")
    file = folder / "rankfold.toml"
    file.write_text('array = "32x32"\n[map]\narray = "128x128"\n[energy]\narray = "16x16"\n')
    assert mapped(capsys) == wide


def test_the_nearest_file_counts_and_files_of_others_are_passed_over(folder, capsys):
    plain, wide = mapped(capsys), mapped(capsys, "--array", "128x128")
    (folder / "rankfold.toml").write_text('array = "128x128"\n')
    nearer = folder / "sub" / "pyproject.toml"
    nearer.write_text("[tool.other]\narray = 3\n")
    assert mapped(capsys) == wide
    nearer.write_text('[tool.rankfold]\narray = "64x64"\n')
    assert mapped(capsys) == plain


def test_flags_without_a_value_are_true_or_false(folder, capsys):
    linear = mapped(capsys, "--linear")
    file = folder / "rankfold.toml"
    file.write_text("linear = true\n")
    assert mapped(capsys) == linear
    file.write_text("linear = false\n")
    assert mapped(capsys) != linear


def test_descriptions_of_hardware_and_paths_beside_the_file_are_found(folder, capsys):
    assert main(["hardware", "--show", "sram-22nm"]) == 0
    (folder / "mine.yaml").write_text(capsys.readouterr().out)
    given = mapped(capsys, "--hardware", "../../mine.yaml")
    (folder / "rankfold.toml").write_text('hardware = "./mine.yaml"\n')
    assert (
        mapped(capsys)["hardware"] == given["hardware"] != mapped(capsys, "--hardware", "default")["hardware"]
    )


def test_the_record_of_a_run_says_what_the_file_said(folder, weights, few_cache, monkeypatch):
    (folder / "rankfold.toml").write_text('seed = 3\nbatch = 32\n[compress]\nout = "run"\nepochs = 0\n')
    options = [*SMALL[:5], *PAIRS, "--checkpoint", str(weights), "--batch", "64", "--threads", "1"]
    monkeypatch.setattr("sys.argv", ["rankfold", "compress", *options])
    with few_digits(few_cache), no_pages():
        assert main(["compress", *options]) == 0
    command = json.loads(Path("run/result.json").read_text())["command"]
    assert command.endswith("--seed=3 --out=run --epochs=0")
    assert "--batch=32" not in command


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("array = ", "is not valid TOML"),
        ('aray = "64x64"', "aray is no option of any command; did you mean array?"),
        ('array = "64by64"', "array (=64by64): array (=64by64) must be rows x columns"),
        ("array = [64, 64]", "array (=[64, 64]) must be a text or a number"),
        ('mapping = "none"', "mapping (=none): invalid choice: 'none'"),
        ("linear = 1", "linear (=1) must be true or false"),
        ("array = true", "must be a text or a number"),
        ("json = true", "json is of a single call; give --json on the command line"),
        ('[mapp]\narray = "1x1"', "[mapp] is no command; did you mean map?"),
        (
            '[tool.rankfold]\narray = "1x1"',
            "[tool.rankfold] is of a pyproject.toml; in a rankfold.toml options",
        ),
        ("map = 3", "map is a command; its options stand in a table, [map]"),
        ("[map]\nepochs = 3", "[map] epochs is no option of map"),
        ('hardware = "nothing"', "hardware (=nothing): hardware (=nothing) must be one of"),
    ],
)
def test_wrong_files_are_one_sentence_that_names_file_and_key(folder, capsys, content, message):
    file = folder / "rankfold.toml"
    file.write_text(content)
    complaint = refuse(capsys, "map", "resnet8")
    assert message in complaint and str(file) in complaint


def test_what_is_for_all_commands_is_left_out_where_it_does_not_go(folder, capsys):
    file = folder / "rankfold.toml"
    assert main(["map", "resnet20-cifar10-4bit", "--json"]) == 0
    plain = capsys.readouterr().out
    file.write_text("bits = 4\ninput = '3x8x8'\n")
    assert main(["map", "resnet20-cifar10-4bit", "--json"]) == 0
    out, told = capsys.readouterr()
    assert out == plain
    for option in ("--bits", "--input"):
        assert f"{file} says {option}, which is left out here: {option} does not go with the folder" in told


def test_what_belongs_to_another_method_is_left_out(folder, capsys):
    """By what is wrong, and not by how it is said: these complaints name no option as it is typed."""
    command = ["plan", "resnet8", "--uniform", "--method", "pairs", "--entries", "4"]
    assert main([*command, "--out", "alone.json"]) == 0
    (folder / "rankfold.toml").write_text('rank = "1/8"\nsteering = "ideal"\nobjective = "energy"\n')
    capsys.readouterr()
    assert main([*command, "--out", "with.json"]) == 0
    told = capsys.readouterr().err
    for option, why in (
        ("rank", "rank (=1/8) does not go with method pairs"),
        ("objective", "--uniform gives"),
    ):
        assert f"says --{option}, which is left out here: {why}" in told
    assert "steering" not in told
    for other in ("alone", "with"):
        assert Path(f"{other}.json").exists()
    assert (
        json.loads(Path("with.json").read_text())["layers"]
        != json.loads(Path("alone.json").read_text())["layers"]
    )


def test_a_chip_leaves_out_arrays_of_the_file(folder, capsys):
    file = folder / "rankfold.toml"
    assert main(["chip", "resnet8", "--chip", "isaac", "--csv", "--bits", "8"]) == 0
    alone = capsys.readouterr().out
    file.write_text('array = "64x64"\nhardware = "sram-22nm"\n')
    assert main(["chip", "resnet8", "--chip", "isaac", "--csv", "--bits", "8"]) == 0
    assert capsys.readouterr().out == alone


def test_what_is_typed_or_of_the_command_is_refused_as_ever(folder, capsys):
    file = folder / "rankfold.toml"
    file.write_text("[map]\nbits = 4\n")
    complaint = refuse(capsys, "map", "resnet20-cifar10-4bit")
    assert "--bits does not go with the folder of a run" in complaint and f"{file} says --bits" in complaint
    file.write_text("bits = 4\n")
    complaint = refuse(capsys, "map", "resnet20-cifar10-4bit", "--bits", "3")
    assert "--bits does not go with the folder of a run" in complaint and str(file) not in complaint


def test_a_data_set_for_all_commands_asks_none_for_more_work(folder, capsys):
    assert main(["energy", "resnet8", "--csv"]) == 0
    plain = capsys.readouterr().out
    (folder / "rankfold.toml").write_text('data = "digits"\n')
    assert main(["energy", "resnet8", "--csv"]) == 0
    assert capsys.readouterr() == (plain, "")


def test_a_table_of_another_type_is_told(folder, capsys):
    (folder / "pyproject.toml").write_text("[tool]\nrankfold = 3\n# tool.rankfold\n")
    assert "tool.rankfold must be a table" in refuse(capsys, "map", "resnet8")
