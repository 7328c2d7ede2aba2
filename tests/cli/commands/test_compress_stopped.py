"""`rankfold compress`, killed or interrupted, and resumed."""

import json
import signal
import subprocess
import sys

import pytest

from common.command_line import PAIRS, SMALL, no_pages
from rankfold.cli.main import main

pytestmark = pytest.mark.usefixtures("few_digits")

# Runs of the same arguments, each in a process of its own: the first argument has its name, and the signal
# that it gets at one moment on fast and on slow machines, after its first epoch. What takes long to import is
# imported once, and torch has no threads before it computes. Prints how each of them ended.
STOPPED = """
import json, os, signal, sys
import torch._dynamo
from rankfold.cli.main import main
from rankfold.training.checkpoint import Checkpoint
import rankfold.runs.run

signals, folder, *arguments = sys.argv[1:]
save = Checkpoint.save

def stopped(number, out):
    def save_and_stop(checkpoint, state):
        save(checkpoint, state)
        os.kill(os.getpid(), number)

    Checkpoint.save = save_and_stop
    # A shell that starts tests in the background lets them ignore it.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    return main([*arguments, "--out", out])

codes = {}
for name, number in json.loads(signals).items():
    process = os.fork()
    if not process:
        os._exit(stopped(number, f"{folder}/{name}"))
    codes[name] = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
print(json.dumps(codes))
"""
SIGNALS = {"kill": int(signal.SIGKILL), "interrupt": int(signal.SIGINT)}


@pytest.fixture(scope="module")
def arguments(weights):
    """Those of the run `finished`."""
    return ["compress", *SMALL, *PAIRS, "--checkpoint", str(weights)]


@pytest.fixture(scope="module")
def stopped(arguments, tmp_path_factory):
    """The folder with the runs that were stopped, and how each of them ended."""
    folder = tmp_path_factory.mktemp("stopped")
    command = [sys.executable, "-c", STOPPED, json.dumps(SIGNALS), str(folder), *arguments]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    return folder, json.loads(done.stdout)


@pytest.mark.parametrize(("how", "code"), [("kill", -signal.SIGKILL), ("interrupt", 130)])
def test_a_stopped_run_resumes_to_the_same_numbers(finished, arguments, stopped, how, code, capsys):
    """Stopped after its first epoch and resumed, a run ends with the same weights, bit for bit."""
    folder, codes = stopped
    parts = folder / how
    assert codes[how] == code
    assert not (parts / "result.json").exists()
    capsys.readouterr()
    with no_pages():
        assert main([*arguments, "--out", str(parts), "--resume"]) == 0
    told = capsys.readouterr().err
    assert "fine-tuning 2/2" in told and "fine-tuning 1/2" not in told
    assert (parts / "model.safetensors").read_bytes() == (finished / "model.safetensors").read_bytes()
    results = [json.loads((run / "result.json").read_text()) for run in (finished, parts)]
    assert results[0]["accuracy"] == results[1]["accuracy"]
    assert [path for path in parts.iterdir() if path.name.endswith(".tmp")] == []
