"""A Ray cluster that tests share, and the death of one of its workers."""

import faulthandler
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

PATIENCE = 600  # seconds after which a run on a cluster hangs


@contextmanager
def ray_cluster(cache: Path) -> Iterator[str]:
    """The address of a cluster of one core on this machine, whose processes are children of this one.

    Args:
        cache: where its processes find decoded images.
    """
    cluster_utils = pytest.importorskip("ray.cluster_utils")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("RAY_worker_niceness", "0")
        patch.setenv("OMP_NUM_THREADS", "1")
        patch.setenv("RANKFOLD_CACHE", str(cache))
        head = {"num_cpus": 1, "include_dashboard": False, "object_store_memory": 80 * 2**20}
        cluster = cluster_utils.Cluster(initialize_head=True, head_node_args=head)
    try:
        yield cluster.address
    finally:
        cluster.shutdown()


def descendants(pid):
    """(pid, command) of all processes below `pid`."""
    parents = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                status = (entry / "stat").read_text()
                command = (entry / "cmdline").read_bytes().split(b"\0")[0].decode()
            except OSError:
                continue
            parents[int(entry.name)] = (int(status.rsplit(")", 1)[1].split()[1]), command)
    found = []
    for one, (parent, command) in parents.items():
        while parent in parents and parent != pid:
            parent = parents[parent][0]
        if parent == pid:
            found.append((one, command))
    return found


def is_alive(pid):
    try:
        return (Path("/proc") / str(pid) / "stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


@contextmanager
def a_worker_is_killed(task, is_time):
    """Kills the first process below this one that runs a task of this name, once it is time."""
    stopped, killed = threading.Event(), []

    def kill():
        while not killed and not stopped.wait(0.02):
            if is_time():
                workers = [pid for pid, name in descendants(os.getpid()) if name.startswith(f"ray::{task}")]
                for pid in workers[:1]:
                    os.kill(pid, signal.SIGKILL)
                    killed.append(pid)

    killer = threading.Thread(target=kill)
    killer.start()
    faulthandler.dump_traceback_later(PATIENCE, exit=True, file=sys.__stderr__)
    try:
        yield killed
    finally:
        faulthandler.cancel_dump_traceback_later()
        stopped.set()
        killer.join()
