"""`rankfold compress --anneal`: how its steps are read, and what does not go with it."""

import pytest

from common.command_line import SMALL, refuse
from rankfold.cli.commands.compress_anneal import annealing_steps


def test_steps_are_a_number_or_the_epochs_of_each():
    assert annealing_steps("4") == 4
    assert annealing_steps("0, 1,2") == (0, 1, 2)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--max-cycles", "40%"], "--max-cycles is of plans, which compress makes with --anneal alone"),
        (["--anneal", "2"], "--anneal needs budgets that its last plan keeps"),
        (["--anneal", "two"], r"anneal (=two) must be a number of steps, or the epochs of each"),
        (["--anneal", "2", "--rank", "1/4"], "--anneal chooses what every layer becomes; omit --rank"),
        (["--anneal", "2", "--plan", "plan.json"], "--anneal chooses what every layer becomes; omit --plan"),
        (["--anneal", "2", "--linear"], "--anneal chooses what every layer becomes; omit --linear"),
        (["--anneal", "2", "--decomposition", "svd"], "omit --decomposition and --rounding"),
        (["--anneal", "2", "--rounding", "compensated"], "omit --decomposition and --rounding"),
        (["--anneal", "2", "--noise-aware"], "--anneal trains without arrays in the loop"),
        (["--anneal", "1,2,3", "--max-cycles", "1", "--epochs", "4"], "have 6 epochs together, and --epochs"),
        # The default, which was given all the same.
        (["--anneal", "1,1,2", "--max-cycles", "1", "--epochs", "10"], "and --epochs says 10; omit it"),
    ],
)
def test_what_does_not_go_with_it_is_refused(capsys, tmp_path, options, words):
    out = tmp_path / "out"
    assert words in refuse(capsys, "compress", *SMALL, *options, "--out", out)
    assert not out.exists()
