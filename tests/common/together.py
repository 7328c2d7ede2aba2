"""Forks processes that train together, and prints, as JSON, what came of each.

Usage: together.py FOLDER. One process for all scenes, since importing torch takes longer than all of them.
"""

import hashlib
import io
import json
import os
import signal
import socket
import sys
import time
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import torch
import torch._dynamo  # noqa: F401  # here, and not by each fork anew as soon as it trains
import torch.distributed as dist

import rankfold.cli.words.report
import rankfold.runs.train  # as above
from common.little_network import net
from rankfold.calibration.quantisers import calibrate_
from rankfold.cli.arguments import processes as launched
from rankfold.cli.main import main as rankfold
from rankfold.errors import RankfoldError
from rankfold.nn.kernels import kernels
from rankfold.nn.quantised import LayerBits, replace_by_quantised_
from rankfold.progress import Silent
from rankfold.runs.baseline import TrainedWeights, weights_digest
from rankfold.runs.folder import RunFolder
from rankfold.surgery.saving import save_weights
from rankfold.training.checkpoint import Checkpoint
from rankfold.training.data import load_images
from rankfold.training.distillation import Distillation, Teacher
from rankfold.training.loop import train
from rankfold.training.processes import ALONE, Processes
from rankfold.training.recipe import Recipe

CPU = torch.device("cpu")
# 65 cannot be divided by two or three.
RECIPE = Recipe(epochs=2, batch_size=65, peak_rate=0.1, augment="crop", precision="float32")
COMMAND = ["train", "little_network:net", "--array", "32x32", "--epochs", "1", "--batch", "64"]


def digits():
    data = load_images("digits")
    return replace(data, train=data.train.sample(260, 0), test=data.test.sample(100, 0))


def network(quantised):
    model = net()
    if quantised:
        bits = {"2": LayerBits(4, 4, False), "5": LayerBits(4, 4, False)}
        replace_by_quantised_(model, bits)
        calibrate_(model, digits().calibration_batches(64, CPU))
    return model


def together(number, count, folder):
    """The processes, of which this is one, that meet at a file."""
    folder.mkdir(parents=True, exist_ok=True)
    store = dist.FileStore(str(folder / "met"), count)
    dist.init_process_group("gloo", store=store, rank=number, world_size=count)
    return Processes.of_group()


class KilledAfter(Silent):
    """Kills its process after so many images, all epochs together."""

    def __init__(self, images):
        self.left = images

    def advance(self, count=1, detail=""):
        self.left -= count
        if self.left < 0:
            os.kill(os.getpid(), signal.SIGKILL)


def trained(processes, folder=None, quantised=False, progress=None):
    """What a training ends with: all weights, a hash of them, and the history without its times."""
    model = network(quantised)
    teacher = Teacher(net(), Distillation(0.5)) if quantised else None
    checkpoint = Checkpoint(folder / "checkpoint.pt", "run", images=130) if folder else None
    history = train(
        model,
        digits(),
        RECIPE,
        CPU,
        teacher=teacher,
        checkpoint=checkpoint,
        progress=progress,
        processes=processes,
    )
    values = torch.cat([value.flatten().double() for value in model.state_dict().values()])
    losses = [[epoch.train_loss, epoch.train_accuracy, epoch.test_accuracy] for epoch in history]
    return {
        "weights": values.tolist(),
        "hash": hashlib.sha256(values.numpy().tobytes()).hexdigest(),
        "history": losses,
    }


def scene_train(number, count, folder, quantised=False):
    return trained(together(number, count, folder), quantised=quantised)


def scene_killed(number, count, folder):
    progress = KilledAfter(260 + 150)  # in the second epoch, of which two batches are on record
    processes = together(number, count, folder / "first")
    # Others than the first need none, and stop with it at the same batches all the same.
    return trained(processes, folder if processes.is_first else None, progress=progress)


def scene_resumed(number, count, folder):
    return trained(together(number, count, folder / "second"), folder)


def scene_told(number, count, folder):
    """What each process hears from the first."""
    processes = together(number, count, folder)
    told = [processes.from_first(content if number == 0 else None) for content in (b"", None, b"\0word", b"")]
    return [None if content is None else content.decode() for content in told]


def scene_baseline(number, count, folder):
    """Dense weights that an earlier call has trained, in the folder of the first process alone."""
    processes = together(number, count, folder)
    own, model = None, net()
    if processes.is_first:
        own = RunFolder.claim(folder / "run", {"model": "net"}, resume=False)
        save_weights(own.baseline, model)
    for value in model.parameters():
        value.data.fill_(number)
    # Too fast for any training: were they trained, there would be NaN.
    weights = TrainedWeights(replace(RECIPE, peak_rate=1e9))
    weights.make_(model, digits(), CPU, folder=own, processes=processes)
    return weights_digest(model) == weights_digest(net())


def scene_unlike(number, count, folder):
    together(number, count, folder).check_alike({"model": "net", "data": number // 2})


def scene_command(number, count, folder, port, data):
    """The command line, as a launcher would start it; process 1 may be given other data."""
    as_launched(number, count, port)
    out, error = io.StringIO(), io.StringIO()
    command = [*COMMAND, "--threads", "1", "--out", str(folder), "--data", data[number]]
    with redirect_stdout(out), redirect_stderr(error):
        code = rankfold(command)
    said = [line for line in error.getvalue().splitlines() if line.startswith("rankfold: ")]
    return {"code": code, "said": said, "shown": "report" in out.getvalue()}


def as_launched(number, count, port):
    """The variables that a launcher sets."""
    os.environ.update(RANK=str(number), LOCAL_RANK=str(number), WORLD_SIZE=str(count))
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))


def scene_first_is_killed(number, count, port):
    """The first works alone, for longer than work of all may take, and is killed afterwards."""
    as_launched(number, count, port)
    launched.PATIENCE = timedelta(seconds=1)
    with launched.joined("cpu") as (processes, _):
        with launched.one_first(processes):
            time.sleep(1.5 * (number == 0))
        if number == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        try:
            processes.sum_(torch.zeros(1))
        except RankfoldError as error:
            return {"error": str(error), "may speak": launched.may_speak()}


def scene_last_stays_away(number, count, port):
    """The last process says what is wrong with it, and ends before it works with the others."""
    as_launched(number, count, port)
    if number == count - 1:
        return {"may speak": launched.may_speak()}
    launched._met()
    launched.MEETING = timedelta(seconds=0.5)
    with launched.joined("cpu"):
        return {}


def forked(count, scene, *given):
    """What `scene` gives in each of `count` processes, or how it ended."""
    started = []
    for number in range(count):
        reading, writing = os.pipe()
        process = os.fork()
        if process == 0:
            try:
                told = scene(number, count, *given)
            except RankfoldError as error:
                told = {"error": str(error)}
            except BaseException as error:
                told = {"unexpected": repr(error)}
            with os.fdopen(writing, "w") as file:
                json.dump(told, file)
            os._exit(0)
        os.close(writing)
        started.append((process, reading))
    ends = []
    for process, reading in started:
        with os.fdopen(reading) as file:
            told = file.read()
        os.waitpid(process, 0)
        ends.append(json.loads(told) if told else "killed")
    return ends


def free_port():
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return listening.getsockname()[1]


def scenes(folder):
    digits()  # decoded once
    kernels()  # and compiled once
    both = ["digits", "digits"]
    return {
        "float": forked(1, lambda *_: trained(ALONE)),
        "float of 2": forked(2, scene_train, folder / "float"),
        "quantised": forked(1, lambda *_: trained(ALONE, quantised=True)),
        "quantised of 2": forked(2, scene_train, folder / "quantised", True),
        "killed": forked(2, scene_killed, folder / "stopped"),
        "resumed by 3": forked(3, scene_resumed, folder / "stopped"),
        "told": forked(2, scene_told, folder / "told"),
        "first is killed": forked(2, scene_first_is_killed, free_port()),
        "last stays away": forked(2, scene_last_stays_away, free_port()),
        "baseline": forked(2, scene_baseline, folder / "baseline"),
        "unlike": forked(3, scene_unlike, folder / "unlike"),
        "command": forked(2, scene_command, folder / "run", free_port(), both),
        "wrong data": forked(2, scene_command, folder / "no run", free_port(), ["digits", "nowhere"]),
    }


if __name__ == "__main__":
    print(json.dumps(scenes(Path(sys.argv[1]))))
