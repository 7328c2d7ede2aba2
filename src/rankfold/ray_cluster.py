"""A Ray cluster: found at its address, or begun on this machine; the extra `cluster`."""

from __future__ import annotations

import logging
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rankfold.errors import InputError, MissingDependencyError

LOCAL = "local"
RETRIES = 3  # of a task whose worker is lost
PATIENCE = 10  # seconds for a machine to answer at its port


def load_ray() -> Any:
    """The module.

    Raises:
        MissingDependencyError: Ray is not installed.
    """
    try:
        import ray
    except ImportError as error:
        raise MissingDependencyError(
            "work on a cluster needs Ray: pip install 'rankfold[cluster]'"
        ) from error
    return ray


def connect(address: str) -> None:
    """Connect to a cluster, before anything long is begun.

    Args:
        address: of a running cluster (`auto`, `host:port`, `ray://host:port`), or `local` for one on this
            machine alone.

    Raises:
        InputError: there is none at the address.
        MissingDependencyError: Ray is not installed.
    """
    ray = load_ray()
    asked: str | None = address
    dashboard = None  # as Ray likes
    if address == LOCAL:
        asked, dashboard = None, False
    try:
        _knock(address)
        ray.init(address=asked, include_dashboard=dashboard, log_to_driver=False, logging_level=logging.ERROR)
    except (OSError, ValueError, RuntimeError) as error:
        raise InputError(f"no Ray cluster at {address}: {' '.join(str(error).split())}") from None


@dataclass(frozen=True)
class OnRay:
    """Work that is done on a Ray cluster.

    Attributes:
        address: of a running cluster (`auto`, `host:port`, `ray://host:port`), or `local` for one on this
            machine alone.
    """

    address: str

    def connect(self) -> None:
        """Connect to the cluster, before anything long is begun; errors as of `ray_cluster.connect`."""
        connect(self.address)


def _knock(address: str) -> None:
    """Fail at once where nothing answers at `host:port`; Ray itself goes on trying for minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    # `auto` and `local` have no port: Ray looks for these itself.
    if host and port.isdecimal():
        socket.create_connection((host, int(port)), timeout=PATIENCE).close()


def machines(ray: Any) -> list[Mapping[str, float]]:
    """What each machine of the cluster has, such as `CPU` and `GPU`."""
    return [node["Resources"] for node in ray.nodes() if node["Alive"]]


def slots(ray: Any) -> int:
    """Tasks of one core that a cluster can hold at once; one may wait for a cluster that is about to grow."""
    return max(1, sum(int(machine.get("CPU", 0)) for machine in machines(ray)))
