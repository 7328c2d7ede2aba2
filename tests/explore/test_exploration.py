"""Points are what `rankfold chip` finds of each, whoever evaluates them and however often that is stopped."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from common.spaces import SPACE, edited, small_network, small_space
from rankfold.chip.best import run_on_chip
from rankfold.cli.main import main
from rankfold.cost.energy import choose_mappings, hardware_table
from rankfold.cost.energy.table import table_text
from rankfold.errors import InputError, LostProcessError
from rankfold.explore import Exploration, LocalPool, Search, Space, explore, plans
from rankfold.explore.evaluate import Evaluator
from rankfold.explore.exploration import MARKER, POINTS
from rankfold.explore.space_file import space_from_json
from rankfold.machine.description import load_hardware
from rankfold.machine.description import to_json as hardware_to_json
from rankfold.mapping import ArraySpec
from rankfold.plan import LowRank, uniform_plan
from rankfold.workload import zoo_network

COSTS = ("energy", "latency", "area")


def records(folder: Path) -> list[str]:
    return sorted((folder / POINTS).read_text().splitlines())


@pytest.fixture(scope="module")
def whole() -> Exploration:
    return explore([small_network()], small_space(), objectives=COSTS)


def test_every_point_is_what_the_chip_command_finds(whole: Exploration) -> None:
    """Written out: the plan of the setting, mappings of the rule, and the best run on the edited chip."""
    space, network = whole.space, small_network()
    assert sorted(whole.outcomes) == list(range(space.size(1)))
    told = set()
    for outcome in whole.outcomes.values():
        point = space.point(outcome.number, 1)
        chip = space.chip(point)
        method = LowRank(groups=2, rank=4) if point.plan else None
        plan = uniform_plan(network, chip.hardware, method, bits=4)
        plan = choose_mappings(network, plan, hardware_table(chip.hardware))
        try:
            run = run_on_chip(network, plan, chip, choose_mappings=True)
        except InputError as error:
            assert outcome.figures is None and outcome.why == str(error)
            told.add("why")
            continue
        found = outcome.figures
        assert found is not None
        assert (found.interval, found.latency, found.energy) == (run.interval, run.latency, run.total_energy)
        assert found.area == sum(run.area.values()) and (found.mode, found.limit) == (run.mode, run.limit)
        told.add(found.mode)
    assert len(told) > 1


def test_a_point_equals_the_command_itself(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    content = edited(plans=[{"method": "low-rank", "groups": 2, "rank": "1/4"}], vary={"cores/count": [32]})
    path = tmp_path / "space.yaml"
    path.write_text(yaml.safe_dump(content))
    out = str(tmp_path / "out")
    command = [
        "explore",
        "resnet8",
        "--space",
        str(path),
        "--out",
        out,
        "--front",
        "energy",
        "--workers",
        "1",
    ]
    assert main([*command, "--json"]) == 0
    (point,) = json.loads(capsys.readouterr().out)["front"]
    assert main(["chip", "--show", "rram-22nm"]) == 0
    chip = yaml.safe_load(capsys.readouterr().out)
    chip["cores"]["count"] = 32
    (tmp_path / "chip.yaml").write_text(yaml.safe_dump(chip))
    options = ["--groups", "2", "--rank", "1/4", "--bits", "4", "--json"]
    assert main(["chip", "resnet8", "--chip", str(tmp_path / "chip.yaml"), *options]) == 0
    run = json.loads(capsys.readouterr().out)
    assert point["interval"] == run["interval_us"] and point["latency"] == run["latency_us"]
    assert point["energy"] == run["energy_pj"] and point["area"] == pytest.approx(run["area_mm2"])


def test_a_plan_for_the_chip_of_a_point_keeps_its_copies(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    made = ["plan", "resnet8", "--mappings-only", "--chip", "rram-22nm", "--objective", "energy"]
    assert main([*made, "--max-latency", "9us", "--out", str(tmp_path / "plan.json")]) == 0
    capsys.readouterr()
    assert (
        main(["chip", "resnet8", "--plan", str(tmp_path / "plan.json"), "--chip", "rram-22nm", "--json"]) == 0
    )
    run = json.loads(capsys.readouterr().out)
    content = {**SPACE, "plans": [{"file": "plan.json"}], "vary": {}}
    network = zoo_network("resnet8")
    (kept,) = explore([network], space_from_json(content, "s", tmp_path), objectives=COSTS).outcomes.values()
    content["objective"] = "interval"
    (anew,) = explore([network], space_from_json(content, "s", tmp_path), objectives=COSTS).outcomes.values()
    assert kept.figures is not None and anew.figures is not None
    assert (kept.figures.energy, kept.figures.latency) == (run["energy_pj"], run["latency_us"])
    assert anew.figures.interval < kept.figures.interval


def test_what_cannot_run_is_recorded_with_its_reason(tmp_path: Path) -> None:
    from rankfold.machine import load_chip

    space = replace(small_space(), chips=(replace(load_chip("rram-22nm"), memory=None),))
    vary = {"hardware/adc/mux": [8, 64]}
    odd = replace(space, axes=small_space(vary={**SPACE["vary"], **vary}).axes)
    found = explore([small_network()], odd, tmp_path / "out", objectives=COSTS)
    whys = {outcome.why for outcome in found.outcomes.values() if outcome.figures is None}
    assert any("no memory beside it" in why for why in whys)
    assert any("mux (=64) must be a whole number from 1 to 32" in why for why in whys)
    assert len(found.outcomes) == odd.size(1) == len(records(tmp_path / "out")) > found.runs > 0


def test_half_a_line_and_missing_points_are_made_again(whole: Exploration, tmp_path: Path) -> None:
    out = tmp_path / "out"
    explore([small_network()], small_space(), out, objectives=COSTS)
    expected = records(out)
    for kept in (0, 1, len((out / POINTS).read_bytes()) // 2, len((out / POINTS).read_bytes()) - 1):
        (out / POINTS).write_bytes((out / POINTS).read_bytes()[:kept])
        again = explore([small_network()], small_space(), out, objectives=COSTS)
        assert records(out) == expected and again.outcomes == whole.outcomes and again.front == whole.front


def test_points_that_are_done_are_not_evaluated_again(
    whole: Exploration, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    explore([small_network()], small_space(), out, objectives=COSTS)

    def refused(*_: Any) -> None:
        raise AssertionError("evaluated again")

    monkeypatch.setattr(Evaluator, "outcome", refused)
    assert explore([small_network()], small_space(), out, objectives=COSTS).outcomes == whole.outcomes


CHANGED = [
    (small_space(vary={"cores/count": [1]}), small_network(), "vary"),
    (small_space(plans=[{"bits": 8}]), small_network(), "plans"),
    (small_space(chip="sram-22nm"), small_network(), "chips"),
    (small_space(), small_network("other"), "networks"),
]


@pytest.mark.parametrize(("space", "network", "words"), CHANGED)
def test_another_exploration_is_refused(space: Space, network: Any, words: str, tmp_path: Path) -> None:
    out = tmp_path / "out"
    first = small_space(vary={"cores/count": [4]})
    explore([small_network()], first, out, objectives=COSTS)
    before = (out / POINTS).read_bytes()
    with pytest.raises(InputError, match=f"holds the points of another exploration .*{words}"):
        explore([network], space, out, objectives=COSTS)
    assert (out / POINTS).read_bytes() == before


def test_a_plan_of_other_bits_in_the_same_file_is_another_exploration(tmp_path: Path) -> None:
    """Of as many layers of each kind, and so shown in the same words."""
    file, out, network = tmp_path / "plan.json", tmp_path / "out", small_network()

    def explored(bits: int, loss: float = 0.25) -> None:
        uniform_plan(network, ArraySpec(64, 64), bits=bits).predicting(loss).save(file)
        plans._loaded.cache_clear()  # as in a process of its own
        space = small_space(vary={"cores/count": [4]}, plans=[{"file": str(file)}])
        explore([network], space, out, objectives=COSTS)

    explored(4)
    with pytest.raises(InputError, match=r"holds the points of another exploration .*plans"):
        explored(3)
    with pytest.raises(InputError, match=r"holds the points of another exploration .*plans"):
        explored(4, loss=0.5)
    explored(4)


def test_a_network_of_other_layers_is_another_exploration(tmp_path: Path) -> None:
    """Of the same name and as many layers."""
    out, network = tmp_path / "out", small_network()
    space = small_space(vary={"cores/count": [4]})
    explore([network], space, out, objectives=COSTS)
    *first, last = network.layers
    other = replace(network, layers=(*first, replace(last, out_channels=last.out_channels + 1)))
    assert repr(other) == repr(network)
    with pytest.raises(InputError, match=r"holds the points of another exploration .*networks"):
        explore([other], space, out, objectives=COSTS)


@pytest.mark.parametrize("place", ["hardware/technology", "hardware"])
def test_an_edited_component_table_is_another_exploration(place: str, tmp_path: Path) -> None:
    """The space names the file as before, and its points would cost something else."""
    table, hardware, out = tmp_path / "table.yaml", tmp_path / "hardware.json", tmp_path / "out"
    table.write_text(table_text("rram-22nm"))
    content = hardware_to_json(load_hardware("rram-22nm"))
    hardware.write_text(json.dumps({**content, "technology": str(table)}))
    named = {"hardware/technology": table, "hardware": hardware}[place]
    space = small_space(vary={place: [str(named)], "cores/count": [4]})
    explore([small_network()], space, out, objectives=COSTS)
    table.write_text(table_text("sram-22nm"))
    with pytest.raises(InputError, match=r"holds the points of another exploration .*chips"):
        explore([small_network()], space, out, objectives=COSTS)


def test_a_folder_of_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match="is not empty and holds no exploration"):
        explore([small_network()], small_space(), tmp_path, objectives=COSTS)
    out = tmp_path / "out"
    one = small_space(vary={"cores/count": [4]})
    explore([small_network()], one, out, objectives=COSTS)
    (out / POINTS).write_text('{"point": 0}\n')
    with pytest.raises(InputError, match=r"points\.jsonl, line 1, is no such record"):
        explore([small_network()], one, out, objectives=COSTS)
    (out / POINTS).write_text("point\n")
    with pytest.raises(InputError, match="line 1, is no such record"):
        explore([small_network()], one, out, objectives=COSTS)


@pytest.mark.skipif(sys.platform == "win32", reason="no locks")
def test_two_processes_do_not_write_one_folder(tmp_path: Path) -> None:
    from rankfold.explore.outcome import SCHEMA
    from rankfold.records.lines import Lines
    from rankfold.records.schema import strict_validator

    out = tmp_path / "out"
    one = small_space(vary={"cores/count": [4]})
    explore([small_network()], one, out, objectives=COSTS)
    with (
        Lines(out / POINTS, strict_validator(SCHEMA)),
        pytest.raises(InputError, match="is being written by another process"),
    ):
        explore([small_network()], one, out, objectives=COSTS)


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="finds the process to kill in /proc")
def test_a_process_that_is_killed_is_told_of_and_the_rest_is_kept(whole: Exploration, tmp_path: Path) -> None:
    from common.ray_cluster import descendants

    out = tmp_path / "out"

    class Killer(LocalPool):
        def _run(self, pool: Any, chunks: Any) -> Any:
            for outcomes in super()._run(pool, chunks):
                yield outcomes
                for pid in pool._processes:
                    with suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)

    with pytest.raises(LostProcessError, match="the same command goes on"):
        explore([small_network()], small_space(), out, objectives=COSTS, runner=Killer(1))
    kept = len(records(out))
    assert 0 < kept < len(whole.outcomes)
    # Two processes do the rest, and find what one does.
    again = explore([small_network()], small_space(), out, objectives=COSTS, runner=LocalPool(2))
    assert again.outcomes == whole.outcomes
    assert not [name for _, name in descendants(os.getpid()) if "spawn_main" in name]


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_a_command_that_is_stopped_goes_on(how: signal.Signals, tmp_path: Path) -> None:
    """Killed once there are points, and not all of them; then the same command ends, with what a whole one
    finds.
    """
    vary = {"cores/count": [4, 8], "cores/rate": {"from": 1, "to": 40}}
    path = tmp_path / "space.yaml"
    path.write_text(yaml.safe_dump(edited(vary=vary, plans=[{"bits": 4}])))
    command = ["explore", "resnet8", "--space", str(path), "--front", "energy,area", "--workers", "1"]
    stopped = tmp_path / "stopped"
    points = 80
    run = subprocess.Popen(
        [sys.executable, "-m", "rankfold", *command, "--out", str(stopped)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    while run.poll() is None and not (stopped / POINTS).exists():
        time.sleep(0.01)
    while run.poll() is None and not (stopped / POINTS).read_bytes():
        time.sleep(0.01)
    run.send_signal(how)
    _, said = run.communicate(timeout=60)
    if how == signal.SIGINT:
        assert run.returncode == 130 and "the same command goes on where it stopped" in said
    before = len(records(stopped))
    assert 0 < before < points
    assert main([*command, "--out", str(stopped)]) == 0
    assert main([*command, "--out", str(tmp_path / "whole")]) == 0
    assert records(stopped) == records(tmp_path / "whole") and len(records(stopped)) == points
    for name in ("points.csv", "front.csv", "front.html"):
        assert (stopped / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


@pytest.mark.parametrize("sampler", ["nsga2", "tpe"])
def test_a_search_asks_the_same_and_goes_on(sampler: str, whole: Exploration, tmp_path: Path) -> None:
    pytest.importorskip("optuna")
    out = tmp_path / "out"

    def searched(trials: int, folder: Path | None = None, **others: Any) -> Exploration:
        search = Search(trials, sampler, seed=3)
        return explore([small_network()], small_space(), folder, objectives=COSTS, search=search, **others)

    alone = searched(70)
    assert 10 < len(alone.outcomes) <= 70
    assert all(whole.outcomes[number] == outcome for number, outcome in alone.outcomes.items())
    searched(55, out)
    (out / POINTS).write_bytes((out / POINTS).read_bytes()[:-30])
    assert searched(70, out).outcomes == alone.outcomes
    # Fewer trials again: what others asked for is no part of them.
    assert set(searched(10, out).outcomes) <= set(alone.outcomes)
    with pytest.raises(InputError, match=r"another exploration .*search"):
        explore([small_network()], small_space(), out, objectives=COSTS, search=Search(5, sampler, seed=4))


def test_a_search_finds_the_front_of_a_space_that_it_has_seen_whole(whole: Exploration) -> None:
    pytest.importorskip("optuna")
    found = explore([small_network()], small_space(), objectives=COSTS, search=Search(200, "nsga2"))
    assert len(set(found.front) & set(whole.front)) >= len(whole.front) // 2


def test_each_network_has_a_front_of_its_own(whole: Exploration) -> None:
    larger = replace(small_network("larger"), layers=small_network().layers[::-1][:1])
    both = explore([small_network(), larger], small_space(), objectives=COSTS)
    size = whole.space.size(1)
    assert tuple(number for number in both.front if number < size) == whole.front
    assert any(number >= size for number in both.front)


def test_what_does_not_go_together_is_refused() -> None:
    network, space = small_network(), small_space()
    with pytest.raises(InputError, match="name a network"):
        explore([], space)
    with pytest.raises(InputError, match="must be different ones"):
        explore([network, network], space)
    with pytest.raises(InputError, match="has no predicted loss; give data"):
        explore([network], space)
    with pytest.raises(InputError, match="accuracy is measured with trained weights"):
        explore([network], space, objectives=COSTS, measure=10)
    with pytest.raises(InputError, match="must be one of energy, latency"):
        explore([network], space, objectives=["power"])
    with pytest.raises(InputError, match="which is none of small"):
        explore([network], small_space(plans=[{"bits": 4, "network": "resnet20"}]))
    with pytest.raises(InputError, match="at most 1,000,000 are tried one by one"):
        vary = {"cores/rate": {"from": 1, "to": 2000}, "cores/energy": {"from": 1, "to": 300}}
        explore([network], small_space(vary=vary))
    with pytest.raises(InputError, match="made under a budget, which needs trained weights"):
        explore([network], small_space(plans=[{"budget": "cycles=50%"}]))
    assert explore([network], small_space(plans=[{"bits": 4}])).objectives[-1] == "loss"


def test_the_marker_says_what_was_explored(tmp_path: Path) -> None:
    space = small_space(vary={"cores/count": [4]})
    explore([small_network()], space, tmp_path / "out", objectives=COSTS)
    marker = json.loads((tmp_path / "out" / MARKER).read_text())
    assert marker["space"] == space.content and marker["identity"]["search"] is None
