"""What the library says in Python's words, the command line says in its own."""

import ast
import re
from pathlib import Path

import pytest

import rankfold
from rankfold.cli.main import main
from rankfold.cli.words.flags import OPTIONS, in_options

SOURCE = Path(rankfold.__file__).parent
# These read what is typed, keep what was typed, or are files that the command line alone opens.
OF_THE_COMMAND_LINE = (
    "cli/",
    "reproduce/",
    "workload/onnx/",
    "surgery/onnx/",
    "runs/demo.py",
)


def library():
    for path in sorted(SOURCE.rglob("*.py")):
        if not path.relative_to(SOURCE).as_posix().startswith(OF_THE_COMMAND_LINE):
            yield path, path.read_text(encoding="utf-8")


def raised(text):
    """The words of all errors that a module raises."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Raise) and node.exc is not None:
            for part in ast.walk(node.exc):
                if isinstance(part, ast.Constant) and isinstance(part.value, str):
                    yield part.value


def test_messages_of_the_library_name_no_options():
    for path, text in library():
        for words in raised(text):
            # A whole command, to be typed in a shell, is the same from wherever it is read.
            named = re.search(r"(?<![\w-])--[a-z]{3}", words) and "rankfold " not in words
            assert not named, (path, words)


def test_every_phrase_is_one_that_the_library_says():
    text = " ".join(text for _, text in library())
    joined = re.sub(r'"\s*\n\s*f?"', "", text)  # of literals over several lines
    for phrase in OPTIONS:
        assert phrase in joined, phrase


@pytest.mark.parametrize("phrase", OPTIONS)
def test_no_phrase_is_left_of_another(phrase):
    assert "--" in in_options(phrase) and "=True" not in in_options(phrase)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--batch", "1"), "--batch (=1) must be at least 2"),
        (("--batch", "9999"), "--batch (=9999) is larger than the"),
        (("--rate", "nan"), "--rate (=nan) must be a positive number"),
    ],
)
def test_fields_are_called_as_their_options(options, message, tmp_path, capsys):
    arguments = ["train", "resnet8", "--data", "digits", *options, "--out", str(tmp_path / "run")]
    assert main(arguments) == 2
    assert message in capsys.readouterr().err


def test_the_command_line_says_its_own(tmp_path, capsys):
    (tmp_path / "run").mkdir()
    assert main(["evaluate", str(tmp_path / "run"), "--data", "digits"]) == 2
    assert "finish it with --resume" in capsys.readouterr().err


def test_words_that_hold_a_phrase_stay():
    typed = "must be an option and its values, such as adc-bits=4,6,8"
    assert in_options(typed) == typed
