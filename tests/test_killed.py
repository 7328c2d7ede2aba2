"""Processes that are killed while they write a folder: the next one goes on, nothing half-made stays."""

import errno
import json
import os
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

import rankfold.temporaries
from rankfold.errors import InputError
from rankfold.files import is_vacant, replacing, replacing_folder, write_text
from rankfold.runs.folder import RunFolder
from rankfold.temporaries import remove_strays, stray_files

STRAY = ".run.json.ab12_xyz.tmp"


def listing(folder):
    return sorted(path.name for path in folder.iterdir())


# Work, what it says of a folder that is full, and how many steps it takes at least.
WORKS = [
    ("claim", None, 6),
    ("grid", None, 6),
    ("onnx", "is not an empty folder", 20),
    ("arrays", "is not an empty folder", 20),
]


@pytest.fixture(scope="module")
def rounds(tmp_path_factory):
    """For each work, what `common/killed.py` says of its rounds, or the words in which it died."""
    found = {}
    waiting = [work for work, *_ in WORKS]
    while waiting:
        # One process, as they share what they import; another one for those after which it failed.
        told, complaint = killed_again_and_again(tmp_path_factory.mktemp("killed"), waiting)
        found.update(told)
        waiting = [work for work in waiting if work not in found]
        if waiting:
            found[waiting.pop(0)] = complaint
    return found


def killed_again_and_again(folder, works):
    """What is told of each of them, up to one that fails or takes for ever, and what is said of that one."""
    script = Path(__file__).parent / "common" / "killed.py"
    command = [sys.executable, script, folder / "work", *works]
    told, complaint = folder / "told", folder / "complaint"
    with told.open("w") as out, complaint.open("w") as error, suppress(subprocess.TimeoutExpired):
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        subprocess.run(command, stdout=out, stderr=error, env=environment, timeout=300)
    rounds = dict(json.loads(line) for line in told.read_text().splitlines())
    return rounds, complaint.read_text() or "it ended, or took too long, without a word"


@pytest.mark.skipif(sys.platform == "win32", reason="forks")
@pytest.mark.parametrize(("work", "refused", "steps"), WORKS)
def test_wherever_it_is_killed_the_next_start_ends_alike(work, refused, steps, rounds):
    """A command that refuses a full folder may do so only where the killed process had finished it."""
    assert isinstance(rounds[work], list), rounds[work]
    *killed, (first, wanted, *_) = rounds[work]
    assert first == "done" and wanted and len(killed) >= steps
    left_over = 0
    for end, after, last, found in killed:
        assert end == "killed"
        assert found == wanted
        left_over += any(name.endswith(".tmp") for name in after)
        if last != "done":
            assert refused is not None and refused in last
    assert left_over >= 3  # or nothing has been tried
    assert killed[0][2] == "done"


def test_a_run_is_claimed_beside_what_a_killed_process_left(tmp_path):
    (tmp_path / STRAY).write_text("{")
    RunFolder.claim(tmp_path, {"model": "small"}, resume=False)
    assert listing(tmp_path) == ["run.json"]
    (tmp_path / ".history.csv.ab12_xyz.tmp").write_text("epoch")
    RunFolder.claim(tmp_path, {"model": "small"}, resume=True)
    assert listing(tmp_path) == ["run.json"]


OF_OTHERS = ["notes.txt", ".hidden", ".run.json.tmp", "run.json.ab12_xyz.tmp", f"{STRAY}.bak"]


@pytest.mark.parametrize("name", OF_OTHERS)
def test_files_of_others_are_kept_and_make_a_folder_full(name, tmp_path):
    (tmp_path / name).write_text("mine")
    (tmp_path / STRAY).write_text("{")
    assert not is_vacant(tmp_path) and is_vacant(tmp_path, besides=(name,))
    with pytest.raises(InputError, match="is not empty and holds no run"):
        RunFolder.claim(tmp_path, {"model": "small"}, resume=True)
    with pytest.raises(InputError, match="is not an empty folder"), replacing_folder(tmp_path, last="x"):
        pass
    assert listing(tmp_path) == sorted([name, STRAY])


def test_a_file_that_is_being_written_stays(tmp_path):
    """By another process or this one; once its writer is killed, the next writer of the file removes it."""
    code = """if True:
        import sys, time
        from rankfold.files import replacing
        with replacing(sys.argv[1]) as file:
            file.write_text("half")
            print(file, flush=True)
            time.sleep(60)
    """
    target = tmp_path / "run.json"
    command = [sys.executable, "-c", code, target]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
        half = Path(writer.stdout.readline().strip())
        assert half.read_text() == "half"
        with replacing(target) as own:
            assert stray_files(tmp_path) == sorted([half, own])
            remove_strays(tmp_path)
            RunFolder.claim(tmp_path, {"model": "small"}, resume=False)
            assert half.exists() and own.exists()
            own.write_text("own")
        assert half.exists() and target.read_text() == "own"
        writer.kill()
    write_text(tmp_path / "other.json", "{}")
    assert half.exists()
    write_text(target, "whole")
    assert listing(tmp_path) == ["other.json", "run.json"]


def test_without_locks_the_age_decides(tmp_path, monkeypatch):
    def refuse(handle, wait):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(rankfold.temporaries, "lock", refuse)
    old, young = tmp_path / STRAY, tmp_path / ".run.json.cd34_xyz.tmp"
    for file, age in ((old, 3700), (young, 3500)):
        file.write_text("{")
        os.utime(file, (time.time() - age,) * 2)
    assert is_vacant(tmp_path)
    write_text(tmp_path / "run.json", "{}")
    assert listing(tmp_path) == sorted([young.name, "run.json"])


def test_a_folder_is_filled_at_once_or_not_at_all(tmp_path):
    out = tmp_path / "a" / "out"
    with pytest.raises(RuntimeError), replacing_folder(out, last="last") as content:
        (content / "one").write_text("1")
        raise RuntimeError
    assert not out.exists()
    with replacing_folder(out, last="last") as content:
        (content / "last").write_text("2")
        (content / "sub").mkdir()
        (content / "sub" / "one").write_text("1")
        assert is_vacant(out)
    assert listing(out) == ["last", "sub"] and (out / "sub" / "one").read_text() == "1"


def test_of_two_that_fill_a_folder_the_later_one_is_refused(tmp_path):
    refused = pytest.raises(InputError, match="is not an empty folder")
    with refused, replacing_folder(tmp_path, last="file") as later:
        (later / "file").write_text("later")
        with replacing_folder(tmp_path, last="file") as earlier:
            (earlier / "file").write_text("earlier")
    assert listing(tmp_path) == ["file"] and (tmp_path / "file").read_text() == "earlier"


def test_a_full_disk_leaves_nothing_in_the_folder(tmp_path, monkeypatch):
    moved = []

    def rename(source, target):
        if moved:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        moved.append(target.name)
        os.replace(source, target)

    monkeypatch.setattr(Path, "rename", rename)
    full = pytest.raises(InputError, match=r"cannot write .*: No space left")
    with full, replacing_folder(tmp_path, last="b") as content:
        (content / "a").write_text("1")
        (content / "b").write_text("2")
    assert moved == ["a"] and listing(tmp_path) == []
