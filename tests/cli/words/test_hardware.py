"""What figures are of, in words."""

from dataclasses import replace

from rankfold.cli.words.hardware import not_counted_in_words
from rankfold.records.text_table import LONGEST_NAME
from rankfold.workload import Untouched, zoo_network


def test_long_names_of_layers_that_are_not_counted_are_short_and_differ():
    long = "fused/" * 60
    others = tuple(Untouched(f"{long}{end}", "a lookup table is left alone", 0, 1) for end in "ab")
    lines = not_counted_in_words(replace(zoo_network("resnet8"), untouched=others))
    assert len(set(lines)) == 2
    for line, end in zip(lines, "ab", strict=True):
        assert line.startswith("not counted: fused/") and line.endswith(
            f"{end}: a lookup table is left alone"
        )
        assert len(line) < LONGEST_NAME + 60
