"""The data set `digits` with a quarter of its images."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from sklearn.datasets import load_digits
from sklearn.utils import Bunch

from rankfold.c_libraries import LIBRARIES
from rankfold.files import cache_folder
from rankfold.training.data import load_images

FEW = 450  # digits, 90 of them for tests


@contextmanager
def few_digits(cache: Path) -> Iterator[None]:
    """Inside, `digits` are few, also in processes that are started there.

    Args:
        cache: a folder for them: that of this test run keeps all of them, under the same name.
    """
    bunch = load_digits()
    few = Bunch(images=bunch.images[:FEW], target=bunch.target[:FEW])
    whole = cache_folder()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RANKFOLD_CACHE", str(cache))
        patch.setattr("sklearn.datasets.load_digits", lambda: few)
        load_images("digits")  # other processes find them decoded, and libraries compiled
        _share_libraries(whole, cache)
        yield
    _share_libraries(cache, whole)


def _share_libraries(here: Path, there: Path) -> None:
    """What is compiled is the same for all images."""
    for library in here.glob(LIBRARIES):
        with suppress(FileExistsError):
            os.link(library, there / library.name)
