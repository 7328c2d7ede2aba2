"""Writing beside the target and renaming: readers never see half a file."""

from __future__ import annotations

import errno
import json
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rankfold.documents import read_json
from rankfold.errors import InputError
from rankfold.files import creating, replacing, write_bytes, write_json, write_text

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)


def listing(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_replacing_swaps_the_file_at_the_end_only(tmp_path: Path) -> None:
    target = tmp_path / "result.txt"
    target.write_text("old")
    with replacing(target) as temporary:
        temporary.write_text("new")
        assert temporary.parent == tmp_path and temporary != target
        assert target.read_text() == "old"
    assert target.read_text() == "new"
    assert listing(tmp_path) == ["result.txt"]


@pytest.mark.parametrize("error", [RuntimeError("stop"), KeyboardInterrupt(), SystemExit(3)])
def test_an_error_leaves_the_old_file_and_no_temporary_one(tmp_path: Path, error: BaseException) -> None:
    target = tmp_path / "result.txt"
    target.write_text("old")
    with pytest.raises(type(error)) as raised, replacing(target) as temporary:
        temporary.write_text("half")
        raise error
    assert raised.value is error
    assert target.read_text() == "old"
    assert listing(tmp_path) == ["result.txt"]


def test_an_error_of_the_disk_becomes_one_sentence(tmp_path: Path) -> None:
    target = tmp_path / "result.txt"
    target.write_text("old")
    full = pytest.raises(
        InputError, match=r"cannot write .*result\.txt: No space left on device; free some space"
    )
    with full, replacing(target) as temporary:
        temporary.write_text("half")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert target.read_text() == "old"
    assert listing(tmp_path) == ["result.txt"]


def test_folders_are_made_and_a_new_file_follows_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        write_bytes(tmp_path / "a" / "b" / "c.bin", b"\x00\x01")
    finally:
        assert os.umask(before) == 0o027
    target = tmp_path / "a" / "b" / "c.bin"
    assert target.read_bytes() == b"\x00\x01"
    assert target.stat().st_mode & 0o777 == 0o640
    assert listing(target.parent) == ["c.bin"]


@pytest.mark.parametrize("write, content", [(write_text, "x"), (write_json, 1), (write_bytes, b"x")])
def test_a_file_in_place_of_the_folder_is_refused(
    tmp_path: Path, write: Callable[[Path, Any], None], content: object
) -> None:
    blocker = tmp_path / "folder"
    blocker.write_text("a file")
    with pytest.raises(InputError, match=r"cannot write .*json: .*folder is a file; choose another folder"):
        write(blocker / "out.json", content)
    with pytest.raises(InputError, match=r"cannot write .*json: .*folder is a file; choose another folder"):
        write(blocker / "further" / "out.json", content)
    assert blocker.read_text() == "a file"
    assert listing(tmp_path) == ["folder"]


def test_what_is_no_folder_is_named_and_what_cannot_be_one_is_refused(tmp_path: Path) -> None:
    (tmp_path / "lost").symlink_to(tmp_path / "nowhere" / "else")
    for blocker in (Path("/dev/null"), tmp_path / "lost"):
        with pytest.raises(InputError, match=rf"cannot write .*; {blocker} is a file; choose another folder"):
            write_text(blocker / "out.json", "x")
    with pytest.raises(InputError, match=r"cannot write .*too long; choose a folder that you may write to"):
        write_text(tmp_path / ("a" * 300) / "out.json", "x")


def test_a_folder_in_place_of_the_file_is_refused_and_kept(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "kept").write_text("kept")
    with pytest.raises(InputError, match=r"cannot write .*; it is a folder; give the name of a file"):
        write_text(tmp_path / "out", "x")
    assert listing(tmp_path) == ["out"]
    assert (tmp_path / "out" / "kept").read_text() == "kept"


def test_a_body_that_removes_its_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot write"), replacing(tmp_path / "out") as temporary:
        temporary.unlink()
    assert listing(tmp_path) == []


@given(value=JSON)
def test_json_round_trip(tmp_path_factory: pytest.TempPathFactory, value: object) -> None:
    path = tmp_path_factory.getbasetemp() / "round-trip.json"
    write_json(path, value)
    assert read_json(path) == value
    assert path.read_text(encoding="utf-8").endswith("\n")


def test_text_is_utf8_and_json_indented(tmp_path: Path) -> None:
    write_text(tmp_path / "t", "größer")
    assert (tmp_path / "t").read_bytes() == "größer".encode()
    write_json(tmp_path / "j", {"a": [1]})
    assert (tmp_path / "j").read_text() == json.dumps({"a": [1]}, indent=2) + "\n"


def test_what_cannot_become_json_leaves_nothing_behind(tmp_path: Path) -> None:
    with pytest.raises(TypeError):
        write_json(tmp_path / "j", {1, 2})
    assert listing(tmp_path) == []


def test_of_many_that_make_one_file_one_succeeds(tmp_path: Path) -> None:
    target = tmp_path / "run.json"
    makers = 8
    together = threading.Barrier(makers)
    made: list[int] = []
    refused: list[str] = []

    def make(number: int) -> None:
        together.wait()
        try:
            with creating(target) as temporary:
                temporary.write_text(str(number))
                together.wait()  # all have written before the first gives its file the name
            made.append(number)
        except InputError as error:
            refused.append(str(error))

    threads = [threading.Thread(target=make, args=(number,)) for number in range(makers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 1 and target.read_text() == str(made[0])
    assert len(refused) == makers - 1 and "made by another process" in refused[0]
    assert listing(tmp_path) == ["run.json"]


def test_where_files_have_one_name_alone_the_last_has_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def link(*_: object) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", link)
    with creating(tmp_path / "run.json") as temporary:
        temporary.write_text("1")
    assert (tmp_path / "run.json").read_text() == "1" and listing(tmp_path) == ["run.json"]
