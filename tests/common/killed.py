"""Does pieces of work again and again, each time killed a step later, until they end; prints what is there,
a line for each work.

Usage: killed.py FOLDER WORK ... A step is whatever changes the file system below FOLDER. Several pieces of
work in one call share what they import.
"""

import hashlib
import json
import os
import signal
import sys
from dataclasses import replace
from pathlib import Path

from rankfold.errors import InputError

COUNTED = ("os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.chmod", "fcntl.flock")


def claim(folder):
    from rankfold.runs.folder import RunFolder

    return lambda number: RunFolder.claim(folder / str(number), {"model": "small"}, resume=True)


def grid(folder):
    from rankfold.progress import Silent
    from rankfold.reproduce.grid import load_grid
    from rankfold.reproduce.run import reproduce

    smoke = load_grid("smoke")
    one = replace(smoke, cells=smoke.cells[:1])
    return lambda number: reproduce(one, folder / str(number), Silent(), time_limit=0, device="cpu")


def arrays(folder):
    """The network is read once, since that takes long; the files are made and written each time."""
    import torch
    from torch import nn

    import rankfold.export.array_images.images as module
    from rankfold.calibration.quantisers import calibrate_
    from rankfold.mapping import ArraySpec
    from rankfold.plan import uniform_plan
    from rankfold.surgery.compress import compress_
    from rankfold.surgery.quantise import insert_quantisers_
    from rankfold.workload import trace

    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 2, 2), nn.ReLU(), nn.Flatten(), nn.Linear(18, 2)).eval()
    plan = uniform_plan(trace(model, (1, 4, 4)), ArraySpec(16, 8), bits=4)
    compress_(model, plan)
    plan = plan.with_signs({layer.name: True for layer in plan.layers})
    insert_quantisers_(model, plan)
    calibrate_(model, [torch.randn(4, 1, 4, 4)])
    for name in ("planned_mappings", "write_program"):
        original = getattr(module, name)
        known = []

        def once(*given, original=original, known=known):
            if not known:
                known.append(original(*given))
            return known[0]

        setattr(module, name, once)
    module.write_arrays(model, plan, folder / "first")
    return lambda number: module.write_arrays(model, plan, folder / str(number))


def onnx(folder):
    import numpy as np
    from onnx import TensorProto, helper, numpy_helper, save

    import rankfold.runs.decompose_onnx as module
    from rankfold.mapping import ArraySpec
    from rankfold.plan import LayerPlan, LowRankLayer, Plan
    from rankfold.workload.onnx.layers import analyse_onnx

    values = np.random.default_rng(0).normal(size=(8, 4, 3, 3)).astype(np.float32)
    weight = numpy_helper.from_array(values, "weight")
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, (1, 4, 8, 8))
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, (1, 8, 6, 6))
    network = helper.make_graph([helper.make_node("Conv", ["x", "weight"], ["y"])], "net", [x], [y], [weight])
    folder.mkdir(parents=True)
    opsets = [helper.make_opsetid("", 17)]
    save(helper.make_model(network, opset_imports=opsets, ir_version=8), str(folder / "net.onnx"))
    source = analyse_onnx(folder / "net.onnx")
    layers = (LayerPlan("weight", LowRankLayer(1, 2)),)
    plan = Plan(source.network.name, source.network.input, ArraySpec(32, 32), layers)
    module._runners = lambda *_: None  # sessions of onnxruntime have threads, which a fork loses
    module.decompose_to_folder(source, plan, folder / "first")
    return lambda number: module.decompose_to_folder(source, plan, folder / str(number))


def killed_at(step, folder):
    """From now on, the process is killed before its `step`-th step."""
    done = 0

    def count():
        nonlocal done
        done += 1
        if done == step:
            os.kill(os.getpid(), signal.SIGKILL)

    def hear(event, given):
        below = bool(given) and (str(given[0]).startswith(str(folder)) or event == "fcntl.flock")
        if event == "open":
            below = below and bool(given[2] & (os.O_WRONLY | os.O_RDWR))
        if event in ("os.remove", "os.rmdir"):
            below = below or given[1] != -1  # of a folder that is being removed
        if below and event in (*COUNTED, "open"):
            count()

    flush = os.fsync

    def flush_and_count(handle):
        count()
        flush(handle)

    os.fsync = flush_and_count
    sys.addaudithook(hear)


def forked(work, number, folder, step=None):
    """How a process that does the work ends: `killed`, `done`, or the words of an error."""
    reading, writing = os.pipe()
    process = os.fork()
    if process == 0:
        try:
            if step is not None:
                killed_at(step, folder)
            work(number)
            words = "done"
        except InputError as error:
            words = str(error)
        except BaseException as error:
            words = f"unexpected {error!r}"
        os.write(writing, words.encode())
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as told:
        words = told.read()
    os.waitpid(process, 0)
    return words or "killed"


def files(folder):
    found = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        found[name] = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "folder"
    return found


WORKS = {"claim": claim, "grid": grid, "onnx": onnx, "arrays": arrays}


def rounds_of(work, folder):
    """What each round left and ended with, and what the next starts made of it."""
    rounds = []
    ends = ["killed"]
    while ends[0] == "killed":
        number = len(rounds) + 1
        ends = [forked(work, number, folder, number), files(folder / str(number))]
        forked(work, number, folder, number)  # killed as well, perhaps while it cleans up
        ends += [forked(work, number, folder), files(folder / str(number))]
        rounds.append(ends)
    return rounds


def main(folder, *names):
    for name in names:
        # At once, in a line of its own: nothing that happens later takes it back.
        print(json.dumps([name, rounds_of(WORKS[name](folder / name), folder / name)]), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
