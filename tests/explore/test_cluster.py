"""Points as Ray tasks: the same as here, also where a worker dies."""

from pathlib import Path

import pytest

from common.ray_cluster import a_worker_is_killed, is_alive
from common.spaces import SPACE, small_network, small_space
from rankfold.cli.main import main
from rankfold.explore import explore
from rankfold.explore.cluster import RayPool
from rankfold.explore.exploration import POINTS

COSTS = ("energy", "latency", "area")


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="finds the worker to kill in /proc")
def test_a_cluster_that_loses_a_worker_finds_what_one_process_finds(cluster_address, tmp_path):
    space = small_space(vary={**SPACE["vary"], "cores/rate": [8, 16]})
    here = explore([small_network()], space, objectives=COSTS)
    pool = RayPool(cluster_address)
    pool.connect()
    with a_worker_is_killed("evaluate_points", lambda: True) as killed:
        there = explore([small_network()], space, tmp_path / "out", objectives=COSTS, runner=pool)
    assert len(killed) == 1 and not is_alive(killed[0])
    assert there.outcomes == here.outcomes and there.front == here.front
    lines = (tmp_path / "out" / POINTS).read_text().splitlines()
    assert len(lines) == space.size(1)


def test_a_cluster_that_is_not_there_is_told_of(tmp_path, capsys):
    import yaml

    path = tmp_path / "space.yaml"
    path.write_text(yaml.safe_dump(SPACE))
    command = ["explore", "resnet8", "--space", str(path), "--out", str(tmp_path / "out")]
    assert main([*command, "--front", "energy", "--ray", "127.0.0.1:1"]) == 2
    assert "no Ray cluster at 127.0.0.1:1: " in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
