"""Processes that cannot begin are told of as such, not as if they had been killed; none is waited for."""

import subprocess
import sys

import pytest

SCRIPT = """
from rankfold.worker_pool import worker_pool

{guard}:
    with worker_pool(1, "a process was killed", abs, 1) as pool:
        print(pool.submit(abs, -5).result())
"""
NO_GUARD, GUARD = "if True", 'if __name__ == "__main__"'


def run(*arguments, **options):
    return subprocess.run(
        [sys.executable, *map(str, arguments)], capture_output=True, text=True, timeout=60, **options
    )


@pytest.mark.parametrize(("guard", "from_file"), [(NO_GUARD, True), (GUARD, False)])
def test_a_script_that_processes_cannot_import_is_told_so(tmp_path, guard, from_file):
    text = SCRIPT.format(guard=guard)
    file = tmp_path / "script.py"
    file.write_text(text)
    ended = run(file) if from_file else run("-", input=text)
    assert ended.returncode == 1
    last = ended.stderr.splitlines()[-1]
    assert last.startswith("rankfold.errors.LostProcessError: no process could begin")


def test_a_script_with_a_guard_and_one_without_a_file_work(tmp_path):
    file = tmp_path / "script.py"
    file.write_text(SCRIPT.format(guard=GUARD))
    for ended in (run(file), run("-c", SCRIPT.format(guard=NO_GUARD))):
        assert (ended.returncode, ended.stdout) == (0, "5\n")


LEFT = """
import multiprocessing, time
from rankfold.worker_pool import worker_pool

def left(work):
    with worker_pool(2, "a process was killed", abs, 1) as pool:
        list(pool.map(time.sleep, [0.1, 0.1]))  # both have begun
        for seconds in work:
            pool.submit(time.sleep, seconds)
        raise KeyboardInterrupt

if __name__ == "__main__":
    other = multiprocessing.get_context("spawn").Process(target=time.sleep, args=(300,), daemon=True)
    other.start()
    for work in {work}:
        try:
            left(work)
        except KeyboardInterrupt:
            print("left")
    assert other.is_alive()
"""


@pytest.mark.parametrize("work", [[[]] * 5, [[300], [300, 300, 300]]])
def test_nothing_is_waited_for_where_it_is_left_early(tmp_path, work):
    """Whether its processes are idle or at work; those of others go on."""
    file = tmp_path / "script.py"
    file.write_text(LEFT.replace("{work}", str(work)))
    ended = run(file)
    assert (ended.returncode, ended.stdout) == (0, "left\n" * len(work)), ended.stderr
