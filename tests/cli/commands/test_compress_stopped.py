"""`rankfold compress`, killed or interrupted, and resumed."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from common.command_line import SMALL, rankfold


@pytest.fixture(scope="module")
def uninterrupted(weights, tmp_path_factory):
    """The arguments of a longer run, and its folder."""
    arguments = ["compress", *SMALL[:-1], "8", "--groups", "4", "--rank", "1/8", "--checkpoint", weights]
    out = tmp_path_factory.mktemp("runs") / "whole"
    assert rankfold(*arguments, "--out", out).returncode == 0
    return arguments, out


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT], ids=["kill", "interrupt"])
def test_a_stopped_run_resumes_to_the_same_numbers(uninterrupted, tmp_path, how):
    """Stopped somewhere after its first epoch and resumed, a run ends with the same weights, bit for bit."""
    common, whole = uninterrupted
    parts = tmp_path / "parts"
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "rankfold.cli.main", *map(str, common), "--out", str(parts)]
    with subprocess.Popen(
        command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True, env=environment
    ) as running:
        deadline = time.monotonic() + 120
        while not (parts / "checkpoint.pt").exists() and time.monotonic() < deadline:
            time.sleep(0.01)
        running.send_signal(how)
        _, error = running.communicate(timeout=60)
    assert running.returncode == (130 if how is signal.SIGINT else -signal.SIGKILL)
    assert "Traceback" not in error
    assert not (parts / "result.json").exists()
    done = rankfold(*common, "--out", parts, "--resume")
    assert done.returncode == 0, done.stderr
    assert "fine-tuning 1/8" not in done.stderr
    assert (parts / "model.safetensors").read_bytes() == (whole / "model.safetensors").read_bytes()
    results = [json.loads((folder / "result.json").read_text()) for folder in (whole, parts)]
    assert results[0]["accuracy"] == results[1]["accuracy"]
    assert [path for path in parts.iterdir() if path.name.endswith(".tmp")] == []
