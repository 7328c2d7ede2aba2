"""Compressed networks in people's own loops: optimisers, DDP, torch.compile, autocast, plain state dicts."""

import os
import signal
import subprocess
import sys
import textwrap
from contextlib import suppress
from pathlib import Path
from subprocess import PIPE

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from rankfold.calibration.quantisers import calibrate_
from rankfold.errors import InputError
from rankfold.mapping import ArraySpec
from rankfold.nn.low_rank import LowRankConv2d
from rankfold.plan import LowRank, PatDNN, SharedSupport, WindowLowRank, Windows, uniform_plan
from rankfold.surgery.by_weights import build_
from rankfold.surgery.compress import compress_
from rankfold.surgery.quantise import insert_quantisers_, quantise_
from rankfold.surgery.saving import load_, save, unwrapped
from rankfold.workload import trace


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    """Tiny layers are slower on several threads."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


class Mine(nn.Module):
    """A user's network, which knows nothing of Rankfold."""

    def __init__(self, width=8):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(3, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU(), nn.Conv2d(width, 16, 3)
        )
        self.hidden, self.head = nn.Linear(16, 12), nn.Linear(12, 4)

    def forward(self, x):
        return self.head(torch.relu(self.hidden(self.body(x).mean((2, 3)))))


def compressed(bits=None):
    torch.manual_seed(0)
    model = Mine()
    method = LowRank(groups=2, rank=2, linear=True, force=True)
    plan = uniform_plan(trace(model, (3, 8, 8)), ArraySpec(32, 32), method, bits=bits)
    compress_(model, plan)
    if bits:
        plan = plan.with_signs({layer.name: layer.name != "head" for layer in plan.layers})
        insert_quantisers_(model, plan)
        calibrate_(model, [torch.randn(16, 3, 8, 8)])
    return model, plan


def batch(count=8):
    draw = torch.Generator().manual_seed(1)
    return torch.randn(count, 3, 8, 8, generator=draw), torch.randint(4, (count,), generator=draw)


FREEZING = {
    "low-rank": LowRank(groups=2, rank=2, linear=True, force=True),
    "pattern": PatDNN(4),
    "window": Windows(row_tiles=1),
    "window-low-rank": WindowLowRank(rank=2),
    "support": SharedSupport(4),
    "dense": None,
}


@pytest.mark.parametrize("method", FREEZING.values(), ids=FREEZING)
@pytest.mark.parametrize("frozen", [("weight",), ("bias",), ("weight", "bias")])
def test_what_is_frozen_stays_frozen(method, frozen):
    """A layer's weight, whatever it becomes, and its bias; quantisers are new, and learn."""
    model = Mine()
    for name, parameter in model.body.named_parameters():
        parameter.requires_grad_(name.rpartition(".")[2] not in frozen)
    given = [] if method is None else [method]
    plan = uniform_plan(trace(model, (3, 8, 8)), ArraySpec(32, 32), *given, bits=4)
    compress_(model, plan, [batch()[0]])
    quantise_(model, plan, [batch()[0]])
    for name, parameter in model.named_parameters():
        kind = "bias" if name.endswith("bias") else "weight"
        stays = name.startswith("body.") and kind in frozen and not name.endswith("step")
        assert parameter.requires_grad != stays, name


@pytest.mark.parametrize("bits", [None, 4])
@pytest.mark.parametrize("cast", [False, True])
def test_it_trains_in_a_plain_loop_and_under_autocast(bits, cast):
    model, _ = compressed(bits)
    x, y = batch(16)
    x = x + y.view(-1, 1, 1, 1)  # the class is in the brightness
    optimiser = torch.optim.SGD(model.parameters(), 0.02, momentum=0.9)
    losses = []
    for _ in range(60):
        with torch.autocast("cpu", torch.bfloat16, enabled=cast):
            loss = F.cross_entropy(model(x), y)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert all(parameter.grad is not None for parameter in model.parameters())
    assert losses[-1] < 0.9 * losses[0]


@pytest.mark.parametrize("bits", [None, 4])
def test_it_is_saved_and_loaded_without_the_class_knowing(bits, tmp_path):
    model, plan = compressed(bits)
    save(model, plan, tmp_path / "net")
    assert sorted(path.name for path in (tmp_path / "net").iterdir()) == ["model.safetensors", "plan.json"]
    again = Mine()
    assert load_(again, tmp_path / "net") == plan
    assert isinstance(again.body[3], LowRankConv2d)
    x, _ = batch()
    torch.testing.assert_close(again.eval()(x), model.eval()(x), rtol=0, atol=0)
    # And through nothing but torch: the state dict holds tensors only.
    torch.save(model.state_dict(), tmp_path / "state.pt")
    third = Mine()
    build_(third, plan)
    insert_quantisers_(third, plan)
    third.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    torch.testing.assert_close(third.eval()(x), model(x), rtol=0, atol=0)


def test_wrong_folders_are_refused(tmp_path):
    model, plan = compressed()
    with pytest.raises(InputError, match=r"holds no saved network \(no plan.json\)"):
        load_(Mine(), tmp_path)
    save(model, plan, tmp_path)
    other = Mine(width=6)
    with pytest.raises(InputError, match="is for another network or number of classes"):
        load_(other, tmp_path)


@pytest.mark.filterwarnings("ignore")  # of the compiler
@pytest.mark.parametrize("bits", [None, 4])
def test_it_compiles_as_one_graph(bits):
    model, _ = compressed(bits)
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    x, y = batch()
    wanted = F.cross_entropy(model(x), y)
    wanted.backward()
    gradients = [parameter.grad.clone() for parameter in model.parameters()]
    model.zero_grad()
    model.body[1].reset_running_stats()
    found = F.cross_entropy(compiled(x), y)
    found.backward()
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-6)
    for parameter, gradient in zip(model.parameters(), gradients, strict=True):
        torch.testing.assert_close(parameter.grad, gradient, rtol=1e-3, atol=1e-5)
    assert unwrapped(compiled) is model


WORKER = """
    import os, sys, warnings
    import torch
    import torch.distributed as dist
    from torch.nn import functional as F
    from torch.nn.parallel import DistributedDataParallel
    sys.path.insert(0, {folder!r})
    from test_drop_in import batch, compressed

    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    # What takes long to import is imported once.
    child = os.fork()
    rank = int(child == 0)
    dist.init_process_group("gloo", init_method="file://" + sys.argv[1], rank=rank, world_size=2)
    model, plan = compressed(4)
    model.eval()  # so that both halves are normalised alike
    x, y = batch(8)
    alone = F.cross_entropy(model(x), y)
    alone.backward()
    wanted = [parameter.grad.clone() for parameter in model.body.parameters() if parameter.ndim > 1]
    model.zero_grad()
    parallel = DistributedDataParallel(model)
    half = slice(rank * 4, rank * 4 + 4)
    F.cross_entropy(parallel(x[half]), y[half]).backward()
    found = [parameter.grad for parameter in model.body.parameters() if parameter.ndim > 1]
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)
    optimiser = torch.optim.SGD(parallel.parameters(), 0.1)
    optimiser.step()
    total = torch.stack([parameter.detach().double().sum() for parameter in model.parameters()]).sum()
    both = [torch.zeros_like(total) for _ in range(2)]
    dist.all_gather(both, total)
    assert both[0] == both[1], both
    dist.barrier()
    del parallel
    dist.destroy_process_group()
    print("done", flush=True)
    if rank == 0:
        os._exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    os._exit(0)  # threads of gloo that are still ending would abort an interpreter that ends before them
"""


def test_two_processes_train_it_as_one(tmp_path):
    """Gradients of two halves of a batch, averaged by DDP, are those of the whole batch."""
    script = tmp_path / "worker.py"
    script.write_text(textwrap.dedent(WORKER.format(folder=str(Path(__file__).parent))))
    command = [sys.executable, script, tmp_path / "meeting"]
    with subprocess.Popen(command, stdout=PIPE, stderr=PIPE, text=True, start_new_session=True) as worker:
        try:
            worker.wait(300)
        finally:
            # The other process, which is a fork of this one, waits for it for ever where it failed.
            with suppress(ProcessLookupError):
                os.killpg(worker.pid, signal.SIGKILL)
            said, complained = worker.communicate()
            print(complained)  # seen where the test fails, or its time is over
    assert worker.returncode == 0 and said.split() == ["done", "done"]
