"""Files that remember which parts of some work are done."""

import pytest

from rankfold.errors import InputError
from rankfold.records.parts import PartsFile
from rankfold.records.schema import strict_validator

ANY = strict_validator({"type": "object"})


def claim(path, resume=False):
    return PartsFile.claim(path, "rankfold.work", {"seed": 0}, resume, ANY)


def test_a_new_file_goes_to_one_process(tmp_path):
    """It is taken before its first part is done, which may take hours."""
    path = tmp_path / "work.json"
    first = claim(path)
    with pytest.raises(InputError, match="already holds this work"):
        claim(path)
    first.once("a", lambda: 1)
    assert claim(path, resume=True).done == {"a": 1}


def test_what_begins_at_the_same_moment_is_refused(tmp_path, monkeypatch):
    path = tmp_path / "work.json"
    exists = type(path).exists
    claim(path)
    # As another process sees it that looked just before.
    monkeypatch.setattr(type(path), "exists", lambda self: self != path and exists(self))
    with pytest.raises(InputError, match="was made by another process a moment ago"):
        claim(path)


def test_without_a_file_nothing_is_taken():
    assert claim(None).once("a", lambda: 1) == 1
