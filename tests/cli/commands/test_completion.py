"""Shells complete commands, options and names: asked of the shells themselves, where they are installed."""

import re
import shutil
import subprocess

import pytest

from common.command_line import refuse
from rankfold.cli.main import main

# A line that is typed, and what the shell offers for its last word.
TYPED = {
    "rankfold compl": {"completion"},
    "rankfold map resnet2": {"resnet20", "resnet20-cifar10-float", "resnet20-cifar10-4bit"},
    "rankfold map other": {"other.onnx"},
    "rankfold map resnet20 --hardware sr": {"sram-22nm", "sram-32nm"},
    "rankfold map resnet20 --mapping v": {"vw-sdk"},
    "rankfold compress resnet20 --method gar": {"garos"},
    "rankfold map resnet20 --plan plan": {"plan.json"},
    "rankfold chip resnet20 --chip isa": {"isaac"},
    "rankfold simulate resnet20 --lay": {"--layer-images"},
}
BASH = """
source {script}
typed() {{
  COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMPREPLY=()
  local made=$(complete -p rankfold | sed 's/.*-F \\([^ ]*\\).*/\\1/')
  $made rankfold "${{COMP_WORDS[$COMP_CWORD]}}" "${{COMP_WORDS[$COMP_CWORD-1]}}"
  echo "${{COMPREPLY[*]}}"
}}
"""
ZSH = """
zmodload zsh/zpty
zpty shell zsh -f -i
zpty -w shell 'PROMPT=; fpath=({folder} $fpath); autoload -Uz compinit; compinit -u -D; print REA''DY'
zpty -r shell out '*READY*'
zpty -w -n shell "$1"$'\\t\\t'
zpty -r shell out "*$2*"
print -r -- "$out"
zpty -d shell
"""


@pytest.fixture
def script(tmp_path, monkeypatch, capsys):
    """The script of a shell, in a folder with two files to complete."""
    monkeypatch.chdir(tmp_path)
    for name in ("other.onnx", "plan.json"):
        (tmp_path / name).touch()

    def write(shell):
        assert main(["completion", shell]) == 0
        (tmp_path / "scripts").mkdir()
        path = tmp_path / "scripts" / "_rankfold"
        path.write_text(capsys.readouterr().out)
        return path

    return write


def printed(*command):
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert not done.stderr
    return done.stdout


def needs(shell):
    return pytest.mark.skipif(shutil.which(shell) is None, reason=f"{shell} is not installed")


@needs("bash")
def test_bash_completes(script):
    program = BASH.format(script=script("bash")) + "".join(f"typed {line}\n" for line in TYPED)
    offered = printed("bash", "--norc", "-c", program).splitlines()
    assert [set(words.split()) for words in offered] == list(TYPED.values())


@needs("fish")
def test_fish_completes(script):
    lines = "".join(f"complete -C '{line}'\necho ;\n" for line in TYPED)
    offered = printed("fish", "--no-config", "-c", f"source {script('fish')}\n{lines}")
    words = [{line.split("\t")[0] for line in part.split("\n") if line} for part in offered.split("\n\n")]
    assert [found for found in words if found] == list(TYPED.values())


@needs("zsh")
def test_zsh_completes(script):
    line = "rankfold map resnet20 --hardware sr"
    program = ZSH.format(folder=script("zsh").parent)
    # The last name that is offered ends what is read; without it this would wait until the time is out.
    shown = printed("zsh", "-f", "-c", program, "zsh", line, "sram-32nm")
    assert TYPED[line] <= set(re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", shown).split())


def test_old_names_are_not_offered(script):
    text = script("bash").read_text()
    assert "--chips" in text and "--repeats" not in text


def test_wrong_input_is_one_sentence(capsys):
    assert "invalid choice: 'tcsh' (choose from" in refuse(capsys, "completion", "tcsh")
    assert "the following arguments are required: shell" in refuse(capsys, "completion")
    assert "unrecognized arguments: zsh" in refuse(capsys, "completion", "bash", "zsh")
