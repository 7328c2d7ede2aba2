"""`rankfold compress`, killed or interrupted, and resumed."""

import json
import os
import signal
import subprocess
import sys

import pytest

from common.command_line import SMALL, rankfold

# Gets a signal, the first argument, at one moment on fast and on slow machines: after its first epoch.
STOPPED = """
import os, signal, sys
from rankfold.cli.main import main
from rankfold.training.checkpoint import Checkpoint

number, save = int(sys.argv.pop(1)), Checkpoint.save
# A shell that starts tests in the background lets them ignore it.
signal.signal(signal.SIGINT, signal.default_int_handler)

def save_and_stop(checkpoint, state):
    save(checkpoint, state)
    os.kill(os.getpid(), number)

Checkpoint.save = save_and_stop
sys.exit(main())
"""


@pytest.fixture(scope="module")
def uninterrupted(weights, tmp_path_factory):
    """The arguments of a longer run, and its folder."""
    arguments = ["compress", *SMALL[:-1], "3", "--groups", "4", "--rank", "1/8", "--checkpoint", weights]
    out = tmp_path_factory.mktemp("runs") / "whole"
    assert rankfold(*arguments, "--out", out).returncode == 0
    return arguments, out


@pytest.mark.parametrize(
    ("how", "code"),
    [(signal.SIGKILL, -signal.SIGKILL), (signal.SIGINT, 130)],
    ids=["kill", "interrupt"],
)
def test_a_stopped_run_resumes_to_the_same_numbers(uninterrupted, tmp_path, how, code):
    """Stopped after its first epoch and resumed, a run ends with the same weights, bit for bit."""
    common, whole = uninterrupted
    parts = tmp_path / "parts"
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", STOPPED, str(int(how)), *map(str, common), "--out", str(parts)]
    stopped = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert stopped.returncode == code
    assert "Traceback" not in stopped.stderr
    assert not (parts / "result.json").exists()
    done = rankfold(*common, "--out", parts, "--resume")
    assert done.returncode == 0, done.stderr
    assert "fine-tuning 1/3" not in done.stderr
    assert (parts / "model.safetensors").read_bytes() == (whole / "model.safetensors").read_bytes()
    results = [json.loads((folder / "result.json").read_text()) for folder in (whole, parts)]
    assert results[0]["accuracy"] == results[1]["accuracy"]
    assert [path for path in parts.iterdir() if path.name.endswith(".tmp")] == []
