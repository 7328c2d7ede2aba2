"""The search with NSGA-II: what it finds, how it goes on, and how processes share it."""

import itertools
import json
import math
import random
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.search_problem import (
    CHOICES,
    STARTS,
    Hears,
    accuracy,
    choices_of,
    chosen_of,
    measured_in,
    ranks_of,
    search,
    trials_in,
)
from rankfold.errors import InputError, MissingDependencyError
from rankfold.planning.exact import front
from rankfold.planning.search.result import MeasuredPlan, not_dominated
from rankfold.planning.search.sampler import POPULATION
from rankfold.planning.search.search import front_starts, search_plans
from rankfold.planning.search.settings import SearchSettings


@pytest.mark.parametrize("seed", [0, 1])
def test_the_search_finds_more_than_as_many_plans_drawn_at_random(seed):
    """Sixteen layers, 4 billion plans."""
    layers, seen = choices_of(16), []

    def measure(chosen):
        seen.append(chosen)
        ranks = ranks_of(chosen)
        return math.prod(1 - 0.1 / rank for rank in ranks) * (0.8 + 0.2 * min(ranks) / 8)

    def volume(front):
        """Area that a front dominates, against 450 cycles and no accuracy."""
        gains = zip(front, (MeasuredPlan((), 0.0), *front), strict=False)
        return sum((plan.accuracy - last.accuracy) * max(0, 450 - plan.cycles) for plan, last in gains)

    result = search_plans(layers, measure, (), SearchSettings(300, None, seed))
    count, draw = len(seen), random.Random(seed)
    assert (result.measured, result.trials) == (count, 300)
    for plan in result.front:
        assert plan.accuracy == measure(plan.chosen)
    drawn = [tuple(draw.choice(layer.candidates) for layer in layers) for _ in range(count)]
    assert volume(result.front) > 1.05 * volume(
        not_dominated(MeasuredPlan(chosen, measure(chosen)) for chosen in drawn)
    )


def test_the_same_seed_finds_the_same():
    seen = []
    for seed in (1, 1, 2):
        plans = []

        def measure(chosen, plans=plans):
            plans.append(chosen)
            return accuracy(chosen)

        result = search(60, seed=seed, measure=measure)
        assert (result.trials, result.measured) == (60, len(plans))
        seen.append((plans, result))
    assert seen[0] == seen[1] != seen[2]


def test_a_search_in_parts_is_as_one_in_one_go(tmp_path):
    whole, parts = tmp_path / "whole.log", tmp_path / "parts.log"
    result = search(50, whole)
    assert result == search(50)
    search(20, parts)
    assert len(measured_in(parts)) == 20
    assert search(50, parts) == result
    assert measured_in(parts) == measured_in(whole)
    before = parts.read_bytes()
    assert search(50, parts) == result
    assert parts.read_bytes() == before  # nothing was left to try


def test_progress_hears_of_all_plans(tmp_path):
    """Of those of earlier calls too, when the first of this one is measured."""
    path, first, second, starts = tmp_path / "study.log", Hears(), Hears(), Hears()
    search(20, path, starts=STARTS, progress=first)
    assert (first.begun, first.done, first.ended) == ([("search", 20, "plans")], 20, 1)
    plan = measured_in(path)[0]
    assert first.details[0] == f"{plan.cycles} cycles {plan.accuracy:.2%}"
    search(50, path, starts=STARTS, progress=second)
    assert (second.begun, second.done, second.ended) == ([("search", 50, "plans")], 50, 1)
    assert len(second.details) == 30
    search(1, starts=STARTS, progress=starts)
    assert (starts.begun, starts.done) == ([("search", 3, "plans")], 3)


@settings(max_examples=15)
@given(
    st.lists(st.tuples(*(st.integers(0, len(layer.candidates) - 1) for layer in CHOICES)), max_size=6),
    st.integers(1, 12),
)
def test_no_start_is_better_than_what_is_found(picks, trials):
    starts = [chosen_of(one) for one in picks]
    result = search(trials, starts=starts)
    assert [plan.chosen for plan in result.starts] == list(dict.fromkeys(starts))
    for start in starts:
        share, cycles = accuracy(start), sum(one.cycles for one in start)
        assert any(plan.accuracy >= share and plan.cycles <= cycles for plan in result.front)
        assert result.most_accurate(cycles).accuracy >= share
        assert result.fewest_cycles(share).cycles <= cycles


def test_the_exact_planners_front_is_a_start():
    whole = front([layer.candidates for layer in CHOICES])
    starts = front_starts(whole, 10)
    assert 2 < len(starts) <= 10
    assert {starts[0], starts[-1]} == {whole.chosen(0), whole.chosen(len(whole) - 1)}
    result = search(20, starts=starts)
    assert result.most_accurate(0) is None
    assert result.fewest_cycles(1.1) is None
    least = result.front[0]
    assert result.most_accurate(least.cycles) == result.fewest_cycles(least.accuracy) == least


def test_starts_come_first_and_have_children(tmp_path):
    search(48, tmp_path / "a.log", starts=STARTS)
    plans = [plan.chosen for plan in measured_in(tmp_path / "a.log")]
    assert plans[:3] == STARTS[:3]
    # A whole generation of starts that agree in their first layers: so do their children, but for mutations.
    alike = [
        (3, 3, 3, *rest, 0) for rest in itertools.islice(itertools.product(range(4), repeat=3), POPULATION)
    ]
    search(3 * POPULATION, tmp_path / "b.log", starts=[chosen_of(picks) for picks in alike])
    first = chosen_of(alike[0])[:3]
    children = [plan.chosen[:3] == first for plan in measured_in(tmp_path / "b.log")[POPULATION:]]
    drawn = [chosen[:3] == first for chosen in plans[3:POPULATION]]
    assert sum(children) > len(children) / 3
    assert sum(drawn) < len(drawn) / 5


def test_plans_that_come_again_are_not_measured_again():
    measured = []

    def slow(entries):
        measured.append(entries)
        return accuracy(entries)

    search(200, measure=slow)
    assert len(measured) == len(set(measured)) < 200


class Interrupt(BaseException):
    pass


@pytest.mark.parametrize("at", [1, 2, 20])
def test_an_interrupted_search_goes_on(tmp_path, at):
    """The plan that was being measured is measured again where it was one to start from."""
    path, count = tmp_path / "study.log", itertools.count(1)

    def interrupted(entries):
        if next(count) == at:
            raise Interrupt
        return accuracy(entries)

    heard = Hears()
    with pytest.raises(Interrupt):
        search(40, path, starts=STARTS, measure=interrupted, progress=heard)
    assert len(measured_in(path)) == heard.done == at - 1
    assert heard.ended == 1
    search(40, path, starts=STARTS)
    assert len(measured_in(path)) == 40
    assert set(STARTS) <= {plan.chosen for plan in measured_in(path)}


SCRIPT = textwrap.dedent("""
    import json, sys, time
    sys.path.insert(0, {folder!r})
    from pathlib import Path
    from common.search_problem import STARTS, accuracy, search

    def slow(chosen):
        time.sleep({pause})
        return accuracy(chosen)

    result = search({trials}, Path({path!r}), starts=STARTS, measure=slow)
    print(json.dumps([[plan.accuracy, plan.cycles] for plan in result.front]))
""")


def started(path, trials, pause=0.01):
    code = SCRIPT.format(folder=str(Path(__file__).parents[2]), path=str(path), trials=trials, pause=pause)
    return subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def test_two_processes_share_a_study(tmp_path):
    path = tmp_path / "study.log"
    processes = [started(path, 80, 0.03) for _ in range(2)]
    outputs = [process.communicate(timeout=120) for process in processes]
    for process, (_, error) in zip(processes, outputs, strict=True):
        assert process.returncode == 0, error
        assert error == ""
    trials = trials_in(path)
    assert [trial.number for trial in trials] == list(range(len(trials)))
    assert {trial.state for trial in trials} == {optuna.trial.TrialState.COMPLETE}
    assert 80 <= len(trials) <= 81  # each may be measuring its last when the other ends
    journal = [json.loads(line) for line in path.read_text().splitlines()]
    assert len({line["worker_id"] for line in journal if line["op_code"] == 6}) >= 2  # both measured
    # The one that ended last has seen everything.
    whole = [[plan.accuracy, plan.cycles] for plan in search(80, path, starts=STARTS).front]
    assert whole in [json.loads(output) for output, _ in outputs]


def test_a_killed_process_is_no_hindrance(tmp_path):
    path = tmp_path / "study.log"
    killed = started(path, 1000, 60)
    deadline = time.monotonic() + 60
    while not (path.exists() and path.read_text().count("param_name") == 6) and time.monotonic() < deadline:
        time.sleep(0.02)
    time.sleep(0.3)  # now it measures, without the lock, which others would respect for half a minute
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    with open(path, "ab") as file:
        file.write(b'{"op_code":6,"worker')  # what a killed process may leave behind
    result = search(20, path, starts=STARTS)
    plans = measured_in(path)
    # That of the killed process too, which never said that it is gone.
    assert set(STARTS) <= {plan.chosen for plan in plans}
    assert result.front == not_dominated(plans)


def test_wrong_searches_are_refused(monkeypatch):
    with pytest.raises(InputError, match="there is nothing to search"):
        search_plans(CHOICES[-1:], accuracy, (), SearchSettings(5))
    for start in (STARTS[0][:6], (*STARTS[0][:6], STARTS[0][0]), (*STARTS[0], STARTS[0][0])):
        with pytest.raises(InputError, match="a plan to start from"):
            search(5, starts=[start])
    for wrong in ({"trials": 0}, {"seed": -1}):
        with pytest.raises(InputError, match=r"must be [01] or more"):
            SearchSettings(**wrong)
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(
        MissingDependencyError,
        match=r"^a search needs optuna, which is not installed; pip install 'rankfold\[search\]'$",
    ):
        search(5)
