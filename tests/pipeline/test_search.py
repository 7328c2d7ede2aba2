"""The search with NSGA-II: what it finds, how it goes on, and how processes share it."""

import errno
import itertools
import json
import math
import os
import random
import signal
import subprocess
import sys
import textwrap
import threading
import time
from dataclasses import replace
from pathlib import Path

import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rankfold.errors import InputError, MissingDependencyError
from rankfold.plan import LayerPlan
from rankfold.planning.exact import Candidate, LayerChoices, front
from rankfold.planning.search.outcome import MeasuredPlan, SearchSettings, Unwatched, not_dominated
from rankfold.planning.search.proposer import POPULATION
from rankfold.planning.search.search import front_starts, search_plans
from rankfold.planning.search.space import SearchSpace
from rankfold.planning.search.study import check_study, lock_of
from rankfold.workload import ConvShape

RANKS = (1, 2, 4, 8)


def choices_of(layers):
    """Layers that may become rank 1, 2, 4 or 8, and stay dense only before."""
    found = []
    for layer in range(layers):
        shape = ConvShape(f"conv{layer}", 8, 8, (3, 3), (8, 8))
        each = [
            Candidate(LayerPlan(shape.name, "low-rank", 1, rank), (layer % 6 + 1) * rank, 1, None, 9, 1 / rank) for rank in RANKS
        ]
        found.append(LayerChoices(shape, Candidate(LayerPlan(shape.name, "dense"), 50, 1, None, 9), tuple(each)))
    return found


LAST = Candidate(LayerPlan("fc", "dense"), 5, 1, None, 9)
CHOICES = [*choices_of(6), LayerChoices(ConvShape("fc", 8, 8, (1, 1), (1, 1)), LAST, (LAST,), "classifier")]


def accuracy(chosen):
    """Not additive: what one layer loses counts less where others lose more, and the worst layer counts twice."""
    ranks = [one.entry.rank for one in chosen if one.entry.rank is not None]
    assert len(chosen) == len(CHOICES)
    return math.prod(1 - 0.3 / rank for rank in ranks) * (0.8 + 0.2 * min(ranks) / 8)


def chosen_of(picks):
    return tuple(layer.candidates[pick] for layer, pick in zip(CHOICES, picks, strict=True))


class Counts(Unwatched):
    def __init__(self):
        self.measured_plans, self.begun, self.ended = [], None, 0

    def begin(self, trials):
        self.begun = trials

    def measured(self, done, plan):
        self.measured_plans.append((done, plan))

    def end(self):
        self.ended += 1


def found_by(trials, study=None, seed=0, starts=(), measure=accuracy, progress=None, identity=None):
    return search_plans(CHOICES, measure, starts, SearchSettings(trials, study, seed), progress, identity)


@pytest.mark.parametrize("seed", [0, 1])
def test_the_search_finds_more_than_as_many_plans_drawn_at_random(seed):
    """Sixteen layers, 4 billion plans."""
    layers, seen = choices_of(16), []

    def measure(chosen):
        seen.append(chosen)
        ranks = [one.entry.rank for one in chosen]
        return math.prod(1 - 0.1 / rank for rank in ranks) * (0.8 + 0.2 * min(ranks) / 8)

    def volume(front):
        """Area that a front dominates, against 450 cycles and no accuracy."""
        gains = zip(front, (MeasuredPlan((), 0.0), *front), strict=False)
        return sum((plan.accuracy - last.accuracy) * max(0, 450 - plan.cycles) for plan, last in gains)

    found = search_plans(layers, measure, (), SearchSettings(300, None, seed))
    count, draw = len(seen), random.Random(seed)
    assert (found.measured, found.trials) == (count, 300)
    for plan in found.front:
        assert plan.accuracy == measure(plan.chosen)
    drawn = [tuple(draw.choice(layer.candidates) for layer in layers) for _ in range(count)]
    assert volume(found.front) > 1.05 * volume(not_dominated(MeasuredPlan(chosen, measure(chosen)) for chosen in drawn))


def test_the_same_seed_finds_the_same():
    logs = [Counts() for _ in range(3)]
    for log, seed in zip(logs, (1, 1, 2), strict=True):
        found_by(60, seed=seed, progress=log)
    assert logs[0].measured_plans == logs[1].measured_plans != logs[2].measured_plans
    assert (logs[0].begun, logs[0].ended, len(logs[0].measured_plans)) == (60, 1, 60)
    assert [done for done, _ in logs[0].measured_plans] == list(range(1, 61))


def test_a_search_in_parts_is_as_one_in_one_go(tmp_path):
    whole, parts = Counts(), [Counts(), Counts()]
    result = found_by(50, progress=whole)
    found_by(20, tmp_path / "study.log", progress=parts[0])
    assert found_by(50, tmp_path / "study.log", progress=parts[1]) == result
    assert parts[0].measured_plans + parts[1].measured_plans == whole.measured_plans
    again = Counts()
    assert found_by(50, tmp_path / "study.log", progress=again) == result
    assert again.measured_plans == []


STARTS = [chosen_of(picks) for picks in ((0,) * 7, (3, 3, 3, 3, 3, 3, 0), (1, 1, 1, 1, 1, 1, 0), (1, 1, 1, 1, 1, 1, 0))]


@settings(max_examples=15)
@given(st.lists(st.tuples(*(st.integers(0, len(layer.candidates) - 1) for layer in CHOICES)), max_size=6), st.integers(1, 12))
def test_no_start_is_better_than_what_is_found(picks, trials):
    starts = [chosen_of(one) for one in picks]
    found = found_by(trials, starts=starts)
    assert [plan.chosen for plan in found.starts] == list(dict.fromkeys(starts))
    for start in starts:
        share, cycles = accuracy(start), sum(one.cycles for one in start)
        assert any(plan.accuracy >= share and plan.cycles <= cycles for plan in found.front)
        assert found.most_accurate(cycles).accuracy >= share
        assert found.fewest_cycles(share).cycles <= cycles


def test_the_exact_planners_front_is_a_start():
    whole = front([layer.candidates for layer in CHOICES])
    starts = front_starts(whole, 10)
    assert 2 < len(starts) <= 10
    assert {starts[0], starts[-1]} == {whole.chosen(0), whole.chosen(len(whole) - 1)}
    found = found_by(20, starts=starts)
    assert found.most_accurate(0) is None
    assert found.fewest_cycles(1.1) is None
    least = found.front[0]
    assert found.most_accurate(least.cycles) == found.fewest_cycles(least.accuracy) == least


def test_starts_come_first_and_have_children():
    log = Counts()
    found_by(48, starts=STARTS, progress=log)
    plans = [plan.chosen for _, plan in log.measured_plans]
    assert plans[:3] == STARTS[:3]
    # A whole generation of starts that agree in their first layers: their children do so too, but for mutations.
    alike = [(3, 3, 3, *rest, 0) for rest in itertools.islice(itertools.product(range(4), repeat=3), POPULATION)]
    log = Counts()
    found_by(3 * POPULATION, starts=[chosen_of(picks) for picks in alike], progress=log)
    first = chosen_of(alike[0])[:3]
    children = [plan.chosen[:3] == first for _, plan in log.measured_plans[POPULATION:]]
    drawn = [chosen[:3] == first for chosen in plans[3:POPULATION]]
    assert sum(children) > len(children) / 3
    assert sum(drawn) < len(drawn) / 5


def test_plans_that_come_again_are_not_measured_again():
    measured = []

    def slow(entries):
        measured.append(entries)
        return accuracy(entries)

    found_by(200, measure=slow)
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

    log = Counts()
    with pytest.raises(Interrupt):
        found_by(40, path, starts=STARTS, measure=interrupted, progress=log)
    assert (len(log.measured_plans), log.ended) == (at - 1, 1)
    rest = Counts()
    found_by(40, path, starts=STARTS, progress=rest)
    assert len(log.measured_plans) + len(rest.measured_plans) == 40
    assert set(STARTS) <= {plan.chosen for _, plan in log.measured_plans + rest.measured_plans}


SCRIPT = textwrap.dedent("""
    import json, sys, time
    sys.path.insert(0, {folder!r})
    from pathlib import Path
    from test_search import STARTS, accuracy, found_by

    def slow(entries):
        time.sleep({pause})
        return accuracy(entries)

    found = found_by({trials}, Path({path!r}), starts=STARTS, measure=slow)
    print(json.dumps([[plan.accuracy, plan.cycles] for plan in found.front]))
""")


def started(path, trials, pause=0.01):
    code = SCRIPT.format(folder=str(Path(__file__).parent), path=str(path), trials=trials, pause=pause)
    return subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def states(path):
    storage = optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(str(path)))
    (name,) = optuna.get_all_study_names(storage)
    return optuna.load_study(study_name=name, storage=storage).trials


def test_two_processes_share_a_study(tmp_path):
    path = tmp_path / "study.log"
    processes = [started(path, 80, 0.03) for _ in range(2)]
    outputs = [process.communicate(timeout=120) for process in processes]
    for process, (_, error) in zip(processes, outputs, strict=True):
        assert process.returncode == 0, error
        assert error == ""
    trials = states(path)
    assert [trial.number for trial in trials] == list(range(len(trials)))
    assert {trial.state for trial in trials} == {optuna.trial.TrialState.COMPLETE}
    assert 80 <= len(trials) <= 81  # each may be measuring its last when the other ends
    journal = [json.loads(line) for line in path.read_text().splitlines()]
    assert len({line["worker_id"] for line in journal if line["op_code"] == 6}) >= 2  # both measured
    # The one that ended last has seen everything.
    whole = [[plan.accuracy, plan.cycles] for plan in found_by(80, path, starts=STARTS).front]
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
    log = Counts()
    found = found_by(20, path, starts=STARTS, progress=log)
    plans = [plan.chosen for _, plan in log.measured_plans]
    assert set(STARTS) <= set(plans)  # that of the killed process too, which never said that it is gone
    assert found.front == not_dominated(plan for _, plan in log.measured_plans)


CREATE = b'{"op_code":0,"worker_id":"x","study_name":"s","directions":[2,1]}\n'


@pytest.mark.parametrize(
    "content",
    [
        b"hello\nworld\n",
        b"no line",
        b'{"a": 1}\n',
        b'{"a": 1}',
        b'{"layers": [1, 2],\n "bits": 4}',
        b"import os\n\nprint(os.name)",
        b"\n",
        b"[1]\n",
        b"[" * 100_000 + b"\n",
        b"\xff\xfe\n\n\n",
        b'{"op_code": 99, "worker_id": "x"}\n',
        b'{"op_code":1,"worker_id":"x","study_id":0}\n',  # nothing was created
        b'{"op_code":0,"worker_id":"x"}\n',
        b'{"op_code":0,"study_name":"s","directions":[2,1]}\n',
        b'{"op_code":false,"worker_id":"x","study_name":"s","directions":[2,1]}\n',
        CREATE + b"a line of something else\n",
        CREATE + b'{"op_code":5,"worker_id":"x"}\n{"op_c',
    ],
)
@pytest.mark.parametrize("linked", [False, True])
def test_other_files_are_refused_and_kept(tmp_path, content, linked):
    path = tmp_path / "study.log"
    path.write_bytes(content)
    given = path
    if linked:
        given = tmp_path / "link"
        given.symlink_to(path)
    before = sorted(tmp_path.iterdir())
    with pytest.raises(InputError, match="is not a study, or it is damaged; give another file"):
        found_by(5, given)
    assert path.read_bytes() == content
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize("length", [1, 12, 40, len(CREATE) - 1])
def test_a_part_of_the_first_line_is_refused_with_what_to_do(tmp_path, length):
    """A process that was killed while it began leaves it."""
    path = tmp_path / "study.log"
    path.write_bytes(CREATE[:length])
    with pytest.raises(InputError, match=r"is not a study: it holds only a part of the first line.*delete the file"):
        found_by(5, path)
    assert path.read_bytes() == CREATE[:length]
    assert list(tmp_path.iterdir()) == [path]


def test_a_first_line_that_another_process_is_writing_is_waited_for(tmp_path):
    path = tmp_path / "study.log"
    lock = lock_of(path)
    path.write_bytes(b"")
    lock.acquire()
    path.write_bytes(CREATE[:40])

    def go_on():
        time.sleep(0.3)
        path.write_bytes(CREATE)
        lock.release()

    writer = threading.Thread(target=go_on)
    writer.start()
    check_study(path)
    writer.join()
    assert path.read_bytes() == CREATE


def test_half_a_line_is_cut_off_when_the_next_is_written(tmp_path):
    """Also one that a process leaves which is killed while others search on."""
    path = tmp_path / "study.log"
    found_by(5, path)
    before, log = path.read_bytes(), Counts()

    def measure(chosen):
        with open(path, "ab") as file:
            file.write(b'{"op_code":6,"worker')
        return accuracy(chosen)

    found = found_by(15, path, measure=measure, progress=log)
    assert path.read_bytes().startswith(before)
    for line in path.read_bytes().splitlines():
        json.loads(line)
    assert found == found_by(15, path)
    assert len(log.measured_plans) == 10


def test_an_empty_file_and_a_link_to_one_become_studies(tmp_path):
    path, link = tmp_path / "study.log", tmp_path / "link"
    path.write_bytes(b"")
    link.symlink_to(path)
    assert found_by(5, link) == found_by(5, path)
    assert link.is_symlink()
    assert sorted(tmp_path.iterdir()) == [link, path]


def test_a_file_with_the_name_of_the_lock_is_kept(tmp_path):
    """The lock of `poetry` is `poetry.lock`, and an old lock is removed."""
    (tmp_path / "poetry.lock").write_text("mine")
    with pytest.raises(InputError, match=r"poetry\.lock is no lock of a search"):
        found_by(5, tmp_path / "poetry")
    assert [path.name for path in tmp_path.iterdir()] == ["poetry.lock"]
    assert (tmp_path / "poetry.lock").read_text() == "mine"


def test_a_device_or_a_file_that_cannot_be_read_is_refused(tmp_path, monkeypatch):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InputError, match="is no plain file"):
        found_by(5, tmp_path / "pipe")
    path = tmp_path / "study.log"
    path.write_bytes(CREATE)

    def refused(*_, **__):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr("builtins.open", refused)
    with pytest.raises(InputError, match=r"cannot read .*: Permission denied; give another file"):
        found_by(5, path)
    monkeypatch.undo()
    assert path.read_bytes() == CREATE
    assert sorted(one.name for one in tmp_path.iterdir()) == ["pipe", "study.log"]


def test_another_search_is_refused(tmp_path):
    path = tmp_path / "study.log"
    found_by(5, path, identity={"data": "one"})
    with open(path, "ab") as file:
        file.write(b'{"op_code":6,"worker')  # not even this is mended in the study of another search
    before = path.read_bytes()
    for other in ({"identity": {"data": "two"}}, {"identity": {"data": "one"}, "seed": 1}):
        with pytest.raises(InputError, match="holds another search, with other layers, data or settings; give another file"):
            found_by(5, path, **other)
    assert path.read_bytes() == before
    with pytest.raises(InputError, match="is a folder; give a file"):
        found_by(5, tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"cannot write .*; free some space or choose another file"):
        found_by(5, tmp_path / "file" / "study.log")


def test_all_processes_take_the_candidates_of_the_first(tmp_path):
    """Another machine's calibration may find others; they must not be mixed up, nor must the search be refused."""
    path, log = tmp_path / "study.log", Counts()
    found_by(30, path, starts=STARTS)
    others = [replace(CHOICES[0], candidates=CHOICES[0].candidates[1:]), *CHOICES[1:]]
    found = search_plans(others, accuracy, STARTS[1:], SearchSettings(40, path), log)
    assert found.trials == 40
    assert [plan.chosen for plan in found.starts] == list(dict.fromkeys(STARTS))
    for _, plan in log.measured_plans:
        assert all(one in layer.candidates for one, layer in zip(plan.chosen, CHOICES, strict=True))
    assert found == found_by(40, path, starts=STARTS)


def test_when_two_begin_at_once_the_first_in_the_journal_counts(tmp_path):
    studies = []
    for _ in range(2):
        journal = optuna.storages.journal.JournalFileBackend(str(tmp_path / "study.log"))
        storage = optuna.storages.JournalStorage(journal)
        studies.append(optuna.create_study(storage=storage, study_name="s", load_if_exists=True, directions=["maximize"] * 2))
    fewer = [replace(CHOICES[0], candidates=CHOICES[0].candidates[1:]), *CHOICES[1:]]
    spaces = [SearchSpace.of(choices, ()) for choices in (fewer, CHOICES)]
    for study, space, name in zip(studies, spaces, ("space b", "space a"), strict=True):
        study.set_user_attr(name, space.to_json())  # neither had seen the other's
    assert [space.shared(study) for study, space in zip(studies, spaces, strict=True)] == [spaces[0], spaces[0]]


@pytest.mark.parametrize("damage", ["cycles", "name", "kind", "start"])
def test_damaged_candidates_are_refused(tmp_path, damage):
    path = tmp_path / "study.log"
    found_by(5, path, starts=STARTS)
    old, new = {
        "cycles": ('"cycles":4,', '"cycles":"4",'), "name": ('"name":"conv1"', '"name":"conv7"'),
        "kind": ('"kind":"low-rank"', '"kind":"other"'), "start": ("[3,3,3,3,3,3,0]", "[3,3,3,3,3,9,0]"),
    }[damage]  # fmt: skip
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(InputError, match="is not a study, or it is damaged; give another file"):
        found_by(10, path, starts=STARTS)


def test_wrong_searches_are_refused(monkeypatch):
    with pytest.raises(InputError, match="there is nothing to search"):
        search_plans(CHOICES[-1:], accuracy, (), SearchSettings(5))
    for start in (STARTS[0][:6], (*STARTS[0][:6], STARTS[0][0]), (*STARTS[0], STARTS[0][0])):
        with pytest.raises(InputError, match="a plan to start from"):
            found_by(5, starts=[start])
    for wrong in ({"trials": 0}, {"seed": -1}):
        with pytest.raises(InputError, match=r"must be [01] or more"):
            SearchSettings(**wrong)
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(
        MissingDependencyError, match=r"^a search needs optuna, which is not installed; pip install 'rankfold\[search\]'$"
    ):
        found_by(5)
