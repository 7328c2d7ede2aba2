"""How much tests try: little by default, so that all of them take minutes; all with `RANKFOLD_THOROUGH=1`."""

import os
from typing import TypeVar

import pytest

Amount = TypeVar("Amount")

THOROUGH = bool(os.environ.get("RANKFOLD_THOROUGH"))


def thorough(all_of_it: Amount, some: Amount) -> Amount:
    """What a test tries, by how much time there is."""
    return all_of_it if THOROUGH else some


def only_thorough(why: str):
    """Marks a test that takes too long otherwise."""
    return pytest.mark.skipif(not THOROUGH, reason=f"{why}; RANKFOLD_THOROUGH=1 runs it")
