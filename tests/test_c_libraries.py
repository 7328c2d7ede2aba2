"""Compiled libraries are kept, and only run where nobody else can have written them."""

import os
import shutil

import pytest

from rankfold import c_libraries
from rankfold.nn import kernels as of_training
from rankfold.simulator import kernels as of_arrays
from rankfold.simulator.kernels import SOURCE
from rankfold.training.cache import clear_cache

compiled = pytest.mark.skipif(shutil.which("cc") is None, reason="needs a C compiler")


@pytest.fixture
def built(tmp_path, monkeypatch):
    """The library, newly made, in a cache folder of its own."""
    monkeypatch.setenv("RANKFOLD_CACHE", str(tmp_path / "cache"))
    c_libraries.library(SOURCE)
    (library,) = (tmp_path / "cache").iterdir()
    return library


@compiled
def test_a_library_that_others_can_change_or_have_put_there_is_not_run(built, monkeypatch):
    assert built.stat().st_mode & 0o777 == 0o600
    c_libraries._loaded(built)
    built.chmod(0o620)
    with pytest.raises(OSError, match="others may have written"):
        c_libraries._loaded(built)
    built.chmod(0o600)
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    with pytest.raises(OSError, match="others may have written"):
        c_libraries._loaded(built)
    link = built.with_name("kernels-link.so")
    link.symlink_to(built)
    with pytest.raises(OSError, match="symbolic"):
        c_libraries._loaded(link)
    other = built.with_name("notes.txt")
    other.write_text("")
    clear_cache(built.parent)
    assert list(built.parent.iterdir()) == [other]


@compiled
def test_a_cache_that_cannot_be_used_costs_time_alone(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("RANKFOLD_CACHE", str(tmp_path / "file"))
    monkeypatch.setenv("CC", "cc -DOPTION")  # as people write it
    assert hasattr(c_libraries.library(SOURCE), "read_strip")


@compiled
def test_libraries_of_one_process_are_told_apart():
    """The linker would give the first one again to who asks for a file of the same name."""
    assert of_training.kernels() is not None
    assert of_arrays.kernels() is not None


@compiled
def test_a_library_that_lacks_functions_is_none():
    assert c_libraries.compiled(SOURCE, lambda made: made.no_such_function) is None
