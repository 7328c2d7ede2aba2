"""What tells one search from another."""

from dataclasses import replace

import pytest

from common.search_problem import CHOICES, CLASSIFIER, choices_of
from rankfold.planning.search.identity import search_name

IDENTITY = {"data": "one", "measure": {"images": 60}}
LAST = replace(CLASSIFIER.dense.entry, mapping="best", weight_bits=8, input_bits=8, reason="classifier")
RECORDED = [*choices_of(6), replace(CLASSIFIER, dense=replace(CLASSIFIER.dense, entry=LAST))]


def test_a_search_has_the_name_that_version_0_1_gave_it():
    """So that a study that was begun then goes on."""
    assert search_name(RECORDED, 3, IDENTITY) == "rankfold-1d0b51e2a4855f21"


@pytest.mark.parametrize(
    ("choices", "seed", "identity"),
    [
        (CHOICES, 3, IDENTITY),
        (RECORDED[1:], 3, IDENTITY),
        (RECORDED, 4, IDENTITY),
        (RECORDED, 3, {**IDENTITY, "data": "two"}),
    ],
)
def test_other_searches_have_other_names(choices, seed, identity):
    assert search_name(choices, seed, identity) != search_name(RECORDED, 3, IDENTITY)


def test_what_calibration_chose_does_not_count():
    """On another machine it may choose otherwise."""
    others = [replace(RECORDED[0], candidates=RECORDED[0].candidates[1:]), *RECORDED[1:]]
    assert search_name(others, 3, IDENTITY) == search_name(RECORDED, 3, IDENTITY)
