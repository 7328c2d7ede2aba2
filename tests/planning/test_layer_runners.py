"""Layers in processes: what they may become is the same as by threads, and a killed process is told of."""

import os
import signal
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from threading import Event
from types import SimpleNamespace

import pytest

from common.planned_layers import problem
from rankfold.errors import LostProcessError
from rankfold.planning import layer_runners
from rankfold.planning.choices import layer_choices
from rankfold.planning.exact import CYCLES
from rankfold.planning.layer_runners import LayerProcesses, LayerThreads, as_ready, memory_of, studied_inputs
from rankfold.planning.statistics import LayerStatistics
from rankfold.progress import Silent


@dataclass(frozen=True)
class Killed:
    """Work that ends the process which does it."""

    def choices(self):
        os.kill(os.getpid(), signal.SIGKILL)


@pytest.fixture
def layers(monkeypatch):
    """What `layer_choices` takes, of few layers for which processes are worth their start all the same."""
    monkeypatch.setattr(layer_runners, "WORTH_A_PROCESS", 1)
    slots, model, sensitive, costing = problem(8, kinds={"low-rank", "support"})
    known = LayerStatistics(sensitivities=sensitive.layers, windows=sensitive.windows)
    return slots, model, known, costing, [CYCLES]


def test_processes_find_what_threads_find(layers, monkeypatch):
    """The same candidates with the same losses up to the last digits, none of them found here."""
    here = layer_choices(*layers, progress=Silent(), threads=1)
    monkeypatch.setattr(LayerThreads, "__call__", None)  # which nobody can call
    there = layer_choices(*layers, progress=Silent(), threads=1, runner=LayerProcesses(2))
    assert sum(len(layer.candidates) for layer in here) > len(here)
    for mine, theirs in zip(here, there, strict=True):
        # Sums of what was sent begin at other addresses, and processors add them in another order.
        losses = [candidate.loss for candidate in theirs.candidates]
        assert losses == pytest.approx([candidate.loss for candidate in mine.candidates], rel=1e-9)
        assert [replace(one, loss=0) for one in mine.candidates] == [
            replace(one, loss=0) for one in theirs.candidates
        ]


def test_a_killed_process_is_told_of(layers):
    slots = layers[0]
    with pytest.raises(LostProcessError, match="fewer threads"):
        list(LayerProcesses(2)(lambda slot: Killed(), slots))


@pytest.mark.parametrize(("limit", "worth"), [(0, 1), (1 << 40, 100)])
def test_wide_layers_and_few_of_them_are_left_to_threads(layers, monkeypatch, limit, worth):
    monkeypatch.setattr(layer_runners, "NARROW", limit)
    monkeypatch.setattr(layer_runners, "WORTH_A_PROCESS", worth)
    monkeypatch.setattr(layer_runners, "worker_pool", None)  # which nobody can call
    assert layer_choices(*layers, progress=Silent(), threads=1, runner=LayerProcesses(2))


def test_layers_that_take_too_much_together_wait_for_each_other(layers, monkeypatch):
    """No more are begun than there are threads and memory for; each is found once."""
    slots = sorted(layers[0], key=studied_inputs, reverse=True)
    monkeypatch.setattr(layer_runners, "MEMORY", memory_of(slots[0]) + memory_of(slots[1]) - 1)
    running, most = [], []

    def begin(slot):
        running.append(slot)
        most.append((len(running), sum(map(memory_of, running))))
        return pool.submit(lambda: running.remove(slot) or slot.name)

    with ThreadPoolExecutor(1) as pool:
        found = list(as_ready(begin, slots, 2))
    assert sorted(found) == sorted(slot.name for slot in slots)
    assert max(count for count, _ in most) <= 2
    assert max(memory for _, memory in most) <= layer_runners.MEMORY


def test_of_wide_layers_one_waits_for_the_other_while_narrow_ones_go_on(monkeypatch):
    def slot(name, inputs):
        shape = SimpleNamespace(n=inputs, groups=1)
        return SimpleNamespace(name=name, shape=shape, why_dense="", widths=None)

    order = [slot("first", 100), slot("second", 90), slot("third", 10), slot("fourth", 9)]
    monkeypatch.setattr(layer_runners, "MEMORY", 8 * 8 * (100**2 + 10**2))
    running, together, narrow_began = set(), [], Event()

    def found(one):
        running.add(one.name)
        together.append(frozenset(running))
        if one.name == "third":
            narrow_began.set()
        # The first one ends only after a narrow one was begun beside it.
        assert one.name != "first" or narrow_began.wait(10)
        running.remove(one.name)
        return one

    with ThreadPoolExecutor(2) as pool:
        ready = list(as_ready(lambda one: pool.submit(found, one), order, 2))
    assert sorted(one.name for one in ready) == sorted(one.name for one in order)
    assert {"first", "third"} in together
    assert not any({"first", "second"} <= names for names in together)


def test_an_error_in_a_layer_is_raised():
    failed = Future()
    failed.set_exception(ValueError("of this layer"))
    slots = problem(8, kinds={"low-rank"})[0]
    with pytest.raises(ValueError, match="of this layer"):
        list(as_ready(lambda slot: failed, slots[:1], 2))
