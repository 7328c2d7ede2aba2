"""Several processes that train one network together end with what one process ends with."""

import json
import os
import socket
import subprocess
import sys
from contextlib import nullcontext
from itertools import chain
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed as dist
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from rankfold.cli.arguments import processes as launcher
from rankfold.cli.arguments.processes import check_command, joined
from rankfold.errors import InputError, RankfoldError
from rankfold.models.torch_export import load_exported
from rankfold.training.batches import Batches
from rankfold.training.data import ImageSplit
from rankfold.training.processes import ALONE, Processes, none_lost
from rankfold.training.share import Share
from rankfold.training.synchronised import synchronised_norms

TESTS = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    """What `common/together.py` says of each of its scenes, process by process."""
    folder = tmp_path_factory.mktemp("together")
    paths = [TESTS, TESTS / "common", TESTS.parent / "src"]
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": os.pathsep.join(map(str, paths)),
    }
    command = [sys.executable, TESTS / "common" / "together.py", folder]
    made = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=600)
    assert made.returncode == 0, made.stderr
    return folder, json.loads(made.stdout)


@pytest.mark.skipif(sys.platform == "win32", reason="forks")
@pytest.mark.parametrize(
    ("one", "several"), [("float", "float of 2"), ("quantised", "quantised of 2"), ("float", "resumed by 3")]
)
def test_the_number_of_processes_changes_rounding_alone(scenes, one, several):
    """With shares of unequal size, a teacher and learned steps; also where another number goes on."""
    _, told = scenes
    (alone,) = told[one]
    assert len({process["hash"] for process in told[several]}) == 1
    for process in told[several]:
        np.testing.assert_allclose(process["weights"], alone["weights"], rtol=1e-3, atol=1e-4)
        np.testing.assert_allclose(process["history"], alone["history"], rtol=1e-4, atol=0.011)


def test_a_process_that_is_killed_ends_the_others_with_a_sentence(scenes):
    _, told = scenes
    killed, other = told["killed"]
    assert killed == "killed"
    assert other["error"].startswith("another process of this training has ended (")


def test_the_first_process_is_heard_by_the_others_also_where_it_has_nothing_to_say(scenes):
    _, told = scenes
    assert told["told"] == [["", None, "\0word", ""]] * 2


def test_dense_weights_that_are_trained_already_are_taken_by_all(scenes):
    _, told = scenes
    assert told["baseline"] == [True, True]


def test_one_works_alone_for_long_and_if_it_is_killed_the_other_says_so(scenes):
    _, told = scenes
    killed, other = told["first is killed"]
    assert killed == "killed" and other["may speak"]
    assert other["error"].startswith("another process of this training has ended (")


def test_nobody_waits_long_for_one_that_does_not_come(scenes):
    _, told = scenes
    first, last = told["last stays away"]
    assert first["error"].startswith("process 0 waited for the other 1 in vain (")
    assert last == {"may speak": True}


def test_processes_that_are_given_other_things_all_stop(scenes):
    _, told = scenes
    for process in told["unlike"]:
        assert process["error"].startswith("the processes were given other data; give all of them the same")


def test_one_process_writes_and_speaks(scenes):
    folder, told = scenes
    assert told["command"] == [
        {"code": 0, "said": [], "shown": True},
        {"code": 0, "said": [], "shown": False},
    ]
    result = json.loads((folder / "run" / "result.json").read_text())
    assert result["device"].endswith(", 2 processes")
    assert (folder / "run" / "report.html").exists() and not list((folder / "run").glob("*.pt"))


def test_what_is_wrong_in_one_process_is_said_once_and_nothing_is_written(scenes):
    folder, told = scenes
    first, second = told["wrong data"]
    assert first["code"] == second["code"] == 2 and first["said"] == []
    assert len(second["said"]) == 1 and "data folder nowhere does not exist" in second["said"][0]
    assert not (folder / "no run").exists()


@given(st.integers(1, 9), st.integers(0, 100))
def test_shares_are_the_batch(of, more):
    samples = list(range(of + more))
    shares = [samples[Share(number, of).places(len(samples))] for number in range(of)]
    assert list(chain(*shares)) == samples
    sizes = {len(share) for share in shares}
    assert max(sizes) - min(sizes) <= 1 and min(sizes) > 0
    if of > 1:
        with pytest.raises(InputError, match="has none for some of"):
            Share(0, of).places(of - 1)


def made(share, shuffle):
    draw = np.random.default_rng(0)
    split = ImageSplit(draw.integers(0, 256, (50, 8, 8, 1), dtype=np.uint8), np.arange(50))
    batches = Batches(
        split,
        (0.5,),
        (0.5,),
        7,
        torch.device("cpu"),
        augment="crop-flip" if shuffle else "none",
        shuffle=shuffle,
        share=share,
    )
    return list(batches.epoch(3))


def test_shares_of_augmented_batches_are_their_images_to_the_bit():
    shares = [made(Share(number, 3), True) for number in range(3)]
    for whole, *parts in zip(made(Share(), True), *shares, strict=True):
        for place in (0, 1):
            assert torch.equal(whole[place], torch.cat([part[place] for part in parts]))


def test_processes_test_batch_after_batch_in_turn():
    whole = made(Share(), False)
    for number in range(3):
        own = made(Share(number, 3), False)
        assert [y.tolist() for _, y in own] == [y.tolist() for _, y in whole[number::3]]


@pytest.fixture
def group():
    """A process group of this process alone, which does all that one of several does."""
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    try:
        yield Processes.of_group()
    finally:
        dist.destroy_process_group()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize(("shape", "affine"), [((6, 5, 4, 3), True), ((6, 5), True), ((6, 5, 4, 3), False)])
def test_synchronised_norms_are_batch_norms(group, shape, affine, dtype):
    draw = torch.Generator().manual_seed(0)
    wide = torch.float64 if dtype == torch.float64 else torch.float32

    def drawn(*sizes):
        return torch.randn(sizes, generator=draw, dtype=torch.float64)

    x, dy = 3 * drawn(*shape) + 20, drawn(*shape)
    parameters = [drawn(5), drawn(5)] if affine else [None, None]
    ends = []
    for processes in (ALONE, group):
        # The first in float64 as torch computes it, which the second has to come near.
        kind = torch.float64 if processes.alone else wide
        own = [x.to(dtype).to(kind if processes.alone else dtype).requires_grad_()]
        own += [value.to(wide).to(kind).requires_grad_() for value in parameters if value is not None]
        running = [torch.zeros(5, dtype=kind), torch.ones(5, dtype=kind)]
        with synchronised_norms(processes):
            y = F.batch_norm(own[0], *running, *(own[1:] or (None, None)), training=True, momentum=0.3)
        y.backward(dy.to(dtype).to(y.dtype))
        ends.append([y.detach(), *running, *(value.grad for value in own)])
        assert y.dtype == own[0].dtype
    tolerance = {torch.float64: 1e-10, torch.float32: 1e-4, torch.bfloat16: 0.03}[dtype]
    for wanted, found in zip(*ends, strict=True):
        scale = float(wanted.abs().max())
        assert float((found.double() - wanted).abs().max()) <= tolerance * scale


def test_networks_that_were_exported_in_training_mode_are_refused(group, tmp_path):
    norm = nn.Sequential(nn.BatchNorm1d(3))
    x = torch.randn(4, 3)
    for mode in (True, False):
        exported = torch.export.export(norm.train(mode), (x,))
        torch.export.save(exported, tmp_path / "norm.pt2")
        network, *_ = load_exported(tmp_path / "norm.pt2")
        with synchronised_norms(ALONE):
            alone = network(x)
        refused = pytest.raises(InputError, match="exported in training mode") if mode else nullcontext()
        with refused, synchronised_norms(group):
            assert torch.equal(network(x), alone)


@pytest.mark.parametrize("training", [False, True])
def test_operators_of_batch_norm_are_refused_in_training_alone(group, training):
    x, mean, variance = torch.randn(4, 3), torch.zeros(3), torch.ones(3)
    operators = torch.ops.aten
    calls = [
        lambda: torch.batch_norm(x, None, None, mean, variance, training, 0.1, 1e-5, False),
        lambda: torch.native_batch_norm(x, None, None, mean, variance, training, 0.1, 1e-5),
        lambda: operators._native_batch_norm_legit.no_stats(x, None, None, training, 0.1, 1e-5),
        lambda: operators.batch_norm(
            x, None, None, mean, variance, training=training, momentum=0.1, eps=1e-5, cudnn_enabled=False
        ),
    ]
    if training:
        calls.append(lambda: operators._batch_norm_with_update(x, None, None, mean, variance, 0.1, 1e-5))
    else:
        calls[2] = lambda: operators._batch_norm_no_update(x, None, None, mean, variance, 0.1, 1e-5)
    for call in calls:
        refused = pytest.raises(InputError, match=r"batch_norm.* in training") if training else nullcontext()
        with refused, synchronised_norms(group):
            call()


def test_a_single_value_has_no_statistics(group):
    with synchronised_norms(group), pytest.raises(InputError, match="more than one value a channel"):
        nn.BatchNorm1d(3)(torch.zeros(1, 3))


@pytest.fixture
def launched(monkeypatch):
    """Lets this process be the first of two, whose port is taken; gives the port."""
    launcher._met.cache_clear()
    with socket.socket() as taken:
        taken.bind(("", 0))
        taken.listen()
        port = taken.getsockname()[1]
        names = {"RANK": 0, "LOCAL_RANK": 0, "WORLD_SIZE": 2, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
        for name, value in names.items():
            monkeypatch.setenv(name, str(value))
        yield port
    launcher._met.cache_clear()


@pytest.mark.parametrize("wrong", [{}, {"MASTER_PORT": "70000"}, {"MASTER_PORT": "here"}, {"RANK": "one"}])
def test_processes_that_cannot_meet_say_so_each(launched, monkeypatch, wrong):
    for name, value in wrong.items():
        monkeypatch.setenv(name, value)
    place = f"127.0.0.1:{wrong.get('MASTER_PORT', launched)}"
    with (
        pytest.raises(InputError, match=f"does not meet the others at {place} .*; start all 2 of them"),
        launcher.joined("cpu"),
    ):
        pass
    assert launcher.may_speak()


def test_one_gpu_is_not_for_several_processes(launched):
    with pytest.raises(InputError, match="--device cuda:1 names one GPU for all"), launcher.joined("cuda:1"):
        pass


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (dist.DistBackendError("NCCL error in: a.cpp:1, invalid usage (...)"), "a free GPU of its own"),
        (dist.DistBackendError("NCCL error in: a.cpp:1, remote process exited"), "has ended .*a.cpp:1"),
        (dist.DistNetworkError("Connection reset by peer"), "has ended .*reset by peer"),
    ],
)
def test_an_error_of_this_process_is_not_said_of_another(error, said):
    with pytest.raises(RankfoldError, match=said), none_lost():
        raise error


def test_other_commands_run_in_one_process(monkeypatch):
    for name, value in {"RANK": 0, "WORLD_SIZE": 2, "MASTER_ADDR": "here", "MASTER_PORT": 1}.items():
        monkeypatch.setenv(name, str(value))
    check_command("train")
    with pytest.raises(InputError, match="evaluate runs in one process; start it without torchrun"):
        check_command("evaluate")
    monkeypatch.setenv("WORLD_SIZE", "1")
    check_command("evaluate")


def test_a_process_without_a_number_is_told_so(monkeypatch):
    for name, value in {"RANK": 0, "WORLD_SIZE": 2, "MASTER_ADDR": "here", "MASTER_PORT": 1}.items():
        monkeypatch.setenv(name, str(value))
    for wrong in ("first", "²"):
        monkeypatch.setenv("LOCAL_RANK", wrong)
        with (
            pytest.raises(InputError, match=f"LOCAL_RANK is '{wrong}'; processes are numbered"),
            joined("cpu"),
        ):
            pass
    monkeypatch.setenv("WORLD_SIZE", "²")
    assert not launcher.started_together()


@pytest.mark.parametrize(("here", "first"), [(None, True), ("0", True), ("1", False)])
def test_the_first_of_a_machine_is_told_by_the_number_there(here, first, monkeypatch):
    monkeypatch.setenv("RANK", "3")
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    if here is not None:
        monkeypatch.setenv("LOCAL_RANK", here)
    assert launcher._goes_first() == first
