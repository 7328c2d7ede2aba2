"""A Ray cluster that tests share."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest


@contextmanager
def ray_cluster() -> Iterator[str]:
    """The address of a cluster of one core on this machine, whose processes are children of this one."""
    cluster_utils = pytest.importorskip("ray.cluster_utils")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("RAY_worker_niceness", "0")
        patch.setenv("OMP_NUM_THREADS", "1")
        head = {"num_cpus": 1, "include_dashboard": False, "object_store_memory": 80 * 2**20}
        cluster = cluster_utils.Cluster(initialize_head=True, head_node_args=head)
    try:
        yield cluster.address
    finally:
        cluster.shutdown()
