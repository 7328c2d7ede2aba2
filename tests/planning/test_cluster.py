"""Layers as Ray tasks: what they may become is the same as by threads, also where a worker dies."""

from pathlib import Path

import pytest

from common.planned_layers import problem
from common.ray_cluster import a_worker_is_killed, is_alive
from rankfold.cli.main import main
from rankfold.planning.choices import layer_choices
from rankfold.planning.cluster import RayLayers
from rankfold.planning.exact import CYCLES
from rankfold.planning.statistics import LayerStatistics
from rankfold.progress import Silent


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="finds the worker to kill in /proc")
def test_a_cluster_that_loses_a_worker_finds_what_threads_find(cluster_address):
    """Candidates and losses to the last bit."""
    slots, model, sensitive, costing = problem(8, kinds={"low-rank", "support"})
    known = LayerStatistics(sensitivities=sensitive.layers, windows=sensitive.windows)

    def found(runner=None):
        return layer_choices(
            slots, model, known, costing, [CYCLES], progress=Silent(), threads=1, runner=runner
        )

    here = found()
    runner = RayLayers(cluster_address)
    runner.connect()
    with a_worker_is_killed("find_layer", lambda: True) as killed:
        there = found(runner)
    assert len(killed) == 1 and not is_alive(killed[0])
    assert there == here
    assert sum(len(layer.candidates) for layer in here) > len(slots)


def test_a_cluster_that_is_not_there_is_told_of(tmp_path, capsys):
    command = ["plan", "resnet20", "--data", "digits", "--array", "32x32", "--max-cycles", "50%"]
    assert main([*command, "--ray", "127.0.0.1:1", "--out", str(tmp_path / "plan.json")]) == 2
    assert "no Ray cluster at 127.0.0.1:1: " in capsys.readouterr().err
