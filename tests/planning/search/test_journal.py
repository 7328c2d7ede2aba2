"""The file of a study: what is refused and kept, and how half a line is mended."""

import errno
import json
import os
import threading
import time

import pytest

from common.search_problem import accuracy, measured_in, search
from rankfold.errors import InputError
from rankfold.planning.search.journal_check import check_study
from rankfold.planning.search.journal_lock import lock_of

CREATE = b'{"op_code":0,"worker_id":"x","study_name":"s","directions":[2,1]}\n'


@pytest.mark.parametrize(
    "content",
    [
        b"hello\nworld\n",
        b"no line",
        b'{"a": 1}\n',
        b'{"a": 1}',
        b'{"layers": [1, 2],\n "bits": 4}',
        b"import os\n\nprint(os.name)",
        b"\n",
        b"[1]\n",
        b"[" * 100_000 + b"\n",
        b"\xff\xfe\n\n\n",
        b'{"op_code": 99, "worker_id": "x"}\n',
        b'{"op_code":1,"worker_id":"x","study_id":0}\n',  # nothing was created
        b'{"op_code":0,"worker_id":"x"}\n',
        b'{"op_code":0,"study_name":"s","directions":[2,1]}\n',
        b'{"op_code":false,"worker_id":"x","study_name":"s","directions":[2,1]}\n',
        CREATE + b"a line of something else\n",
        CREATE + b'{"op_code":6,"worker_id":"x","trial_id":0,"state":1,"values":null}\n',
        CREATE + b'{"op_code":5,"worker_id":"x","trial_id":0,"param_name":"0","param_value_internal":9,'
        b'"distribution":"{\\"attributes\\":{\\"low\\":0,\\"high\\":3}}"}\n',
        CREATE + b'{"op_code":5,"worker_id":"x"}\n{"op_c',
    ],
)
@pytest.mark.parametrize("linked", [False, True])
def test_other_files_are_refused_and_kept(tmp_path, content, linked):
    path = tmp_path / "study.log"
    path.write_bytes(content)
    given = path
    if linked:
        given = tmp_path / "link"
        given.symlink_to(path)
    before = sorted(tmp_path.iterdir())
    with pytest.raises(InputError, match="is not a study, or it is damaged; give another file"):
        search(5, given)
    assert path.read_bytes() == content
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize("length", [1, 12, 40, len(CREATE) - 1])
def test_a_part_of_the_first_line_is_refused_with_what_to_do(tmp_path, length):
    """A process that was killed while it began leaves it."""
    path = tmp_path / "study.log"
    path.write_bytes(CREATE[:length])
    with pytest.raises(
        InputError, match=r"is not a study: it holds only a part of the first line.*delete the file"
    ):
        search(5, path)
    assert path.read_bytes() == CREATE[:length]
    assert list(tmp_path.iterdir()) == [path]


def test_a_first_line_that_another_process_is_writing_is_waited_for(tmp_path):
    path = tmp_path / "study.log"
    lock = lock_of(path)
    path.write_bytes(b"")
    lock.acquire()
    path.write_bytes(CREATE[:40])

    def go_on():
        time.sleep(0.3)
        path.write_bytes(CREATE)
        lock.release()

    writer = threading.Thread(target=go_on)
    writer.start()
    check_study(path)
    writer.join()
    assert path.read_bytes() == CREATE


def test_half_a_line_is_cut_off_when_the_next_is_written(tmp_path):
    """Also one that a process leaves which is killed while others search on."""
    path = tmp_path / "study.log"
    search(5, path)
    before = path.read_bytes()

    def measure(chosen):
        with open(path, "ab") as file:
            file.write(b'{"op_code":6,"worker')
        return accuracy(chosen)

    result = search(15, path, measure=measure)
    assert path.read_bytes().startswith(before)
    for line in path.read_bytes().splitlines():
        json.loads(line)
    assert result == search(15, path)
    assert len(measured_in(path)) == 15


def test_an_empty_file_and_a_link_to_one_become_studies(tmp_path):
    path, link = tmp_path / "study.log", tmp_path / "link"
    path.write_bytes(b"")
    link.symlink_to(path)
    assert search(5, link) == search(5, path)
    assert link.is_symlink()
    assert sorted(tmp_path.iterdir()) == [link, path]


def test_a_file_with_the_name_of_the_lock_is_kept(tmp_path):
    """The lock of `poetry` is `poetry.lock`, and an old lock is removed."""
    (tmp_path / "poetry.lock").write_text("mine")
    with pytest.raises(InputError, match=r"poetry\.lock is no lock of a search"):
        search(5, tmp_path / "poetry")
    assert [path.name for path in tmp_path.iterdir()] == ["poetry.lock"]
    assert (tmp_path / "poetry.lock").read_text() == "mine"


def test_a_device_or_a_file_that_cannot_be_read_is_refused(tmp_path, monkeypatch):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InputError, match="is no plain file"):
        search(5, tmp_path / "pipe")
    path = tmp_path / "study.log"
    path.write_bytes(CREATE)

    def refused(*_, **__):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr("builtins.open", refused)
    with pytest.raises(InputError, match=r"cannot read .*: Permission denied; give another file"):
        search(5, path)
    monkeypatch.undo()
    assert path.read_bytes() == CREATE
    assert sorted(one.name for one in tmp_path.iterdir()) == ["pipe", "study.log"]


def test_another_search_is_refused(tmp_path):
    path = tmp_path / "study.log"
    search(5, path, identity={"data": "one"})
    with open(path, "ab") as file:
        file.write(b'{"op_code":6,"worker')  # not even this is mended in the study of another search
    before = path.read_bytes()
    for other in ({"identity": {"data": "two"}}, {"identity": {"data": "one"}, "seed": 1}):
        with pytest.raises(
            InputError, match="holds another search, with other layers, data or settings; give another file"
        ):
            search(5, path, **other)
    assert path.read_bytes() == before
    with pytest.raises(InputError, match="is a folder; give a file"):
        search(5, tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"cannot write .*; free some space or choose another file"):
        search(5, tmp_path / "file" / "study.log")
