"""Copies, mappings, buffers, traffic and energy of a network on a described chip."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import product

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from common.chips import FAST, chip, chips, networks
from rankfold.chip.best import OBJECTIVES, run_on_chip
from rankfold.chip.graph import rows_read
from rankfold.chip.mappings import ChipMappings
from rankfold.chip.run import ChipRun
from rankfold.chip.study import ChipStudy
from rankfold.chip.traffic import links_between
from rankfold.cost.energy import hardware_table, network_energy, precise_plan
from rankfold.errors import InputError
from rankfold.machine import ChipSpec, OffChip, Writing, chip_names, load_chip
from rankfold.mapping import MAPPINGS
from rankfold.plan import Plan, uniform_plan
from rankfold.workload import ConvShape, Network, zoo_network
from rankfold.workload.flow import INPUT, FlowRecorder

EXAMPLES = settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def planned(network: Network, described: ChipSpec) -> Plan:
    plan = uniform_plan(network, described.hardware.array, bits=4)
    return precise_plan(network, plan.on(described.hardware), hardware_table(described.hardware))[0]


@given(networks(), chips())
@EXAMPLES
def test_mappings_of_the_shortest_interval_are_those_of_brute_force(
    network: Network, described: ChipSpec
) -> None:
    network = replace(network, layers=network.layers[-2:], flow=None)
    mappings = ChipMappings(network, planned(network, described), {}, free=True)
    best: int | None = None
    for chosen in product(*mappings._choices.values()):
        loads = [load for option in chosen for load in option.loads]
        if sum(tiles for tiles, _ in loads) > described.arrays:
            continue
        # The least t for which copies fit, tried one after another.
        interval = 1
        while sum(tiles * -(-times // interval) for tiles, times in loads) > described.arrays:
            interval += 1
        best = interval if best is None else min(best, interval)
    if best is None:
        with pytest.raises(InputError, match="for its weights to stay"):
            mappings.interval(described.arrays)
    else:
        assert mappings.interval(described.arrays) == best


@given(networks(), chips(), st.sampled_from(sorted(OBJECTIVES)))
@settings(EXAMPLES, max_examples=8)
def test_mappings_that_are_chosen_are_no_worse_than_one_for_all_layers(
    network: Network, described: ChipSpec, objective: str
) -> None:
    plan = uniform_plan(network, described.hardware, bits=4)
    worth = OBJECTIVES[objective]
    try:
        best = worth(run_on_chip(network, plan, described, objective=objective, choose_mappings=True))
    except InputError:
        best = None
    for mapping in MAPPINGS:
        simple = uniform_plan(network, described.hardware, bits=4, mapping=mapping)
        try:
            run = run_on_chip(network, simple, described, objective=objective)
        except InputError:
            continue
        assert best is not None and best <= worth(run) * (1 + 1e-12)


def test_links_do_not_make_the_default_slower_than_one_mapping() -> None:
    described, network = load_chip("isaac"), zoo_network("resnet8")
    plan = uniform_plan(network, described.hardware, bits=4)
    chosen = run_on_chip(network, plan, described, choose_mappings=True)
    assert "interconnect" in chosen.limit
    # Mappings of the shortest interval on the arrays alone are slower here, on any number of them.
    study = ChipStudy(network, plan, described, choose_mappings=True)
    arrays = study.mappings.fewest
    while arrays <= described.arrays:
        assert study.staying(arrays).interval > chosen.interval
        arrays *= 2


@pytest.mark.parametrize("stride, padding, kernel, height", list(product((1, 2), (0, 1), (1, 3), (5, 8))))
@pytest.mark.parametrize("window", [1, 2, 3])
def test_rows_that_a_bundle_needs_and_frees(
    stride: int, padding: int, kernel: int, height: int, window: int
) -> None:
    shape = ConvShape(
        "c", 1, 1, (kernel, kernel), (height, 9), (stride, stride), padding=(padding, padding, 0, 0)
    )
    needs, frees = rows_read(shape, window, height)
    outputs = shape.output[0]
    reads = []  # of each bundle, by definition
    for first in range(0, outputs, window):
        rows = set()
        for output in range(first, min(first + window, outputs)):
            for position in range(kernel):
                row = output * stride - padding + position
                if 0 <= row < height:
                    rows.add(row)
        reads.append(rows)
    assert len(needs) == len(frees) == len(reads)
    for bundle, rows in enumerate(reads):
        assert needs[bundle] >= max(rows, default=-1) + 1
        # Whatever is freed is read by no later bundle, and has come.
        later = set().union(*reads[bundle + 1 :])
        assert all(row >= frees[bundle] for row in later)
        assert frees[bundle] <= needs[bundle]
    assert needs[-1] == frees[-1] == height
    assert list(needs) == sorted(needs) and list(frees) == sorted(frees)


def test_ways_on_a_mesh_are_shortest_and_shared_where_they_are_the_same() -> None:
    described = chip(cores=16)
    for source, core in product(range(16), repeat=2):
        (row, column), (other_row, other_column) = described.place(source), described.place(core)
        apart = abs(row - other_row) + abs(column - other_column)
        assert len(links_between(described, source, [core])) == apart
    assert len(links_between(described, 0, range(16))) == 15  # a tree over all cores
    # Neighbours in number are neighbours in place.
    assert all(len(links_between(described, core, [core + 1])) == 1 for core in range(15))
    assert len(links_between(chip(kind="bus"), 0, [1, 2, 3])) == 1


@given(networks(), chips())
@EXAMPLES
def test_cores_of_a_task_have_all_of_it_and_nobody_gets_more_than_there_is(
    network: Network, described: ChipSpec
) -> None:
    study = ChipStudy(network, planned(network, described), described, choose_mappings=True)
    try:
        run = study.staying(described.arrays)
    except InputError:
        return
    assert run.pipeline is not None
    placement, sent = run.pipeline.placement, run.pipeline.traffic
    for index, task in enumerate(run.graph.tasks):
        parts = placement.parts[index]
        assert sum(part.share for part in parts) == pytest.approx(1)
        assert all(0 < part.needs <= 1 for part in parts)
        # Together they need every value at least once.
        assert sum(part.needs for part in parts) >= 1 - 1e-9
        made = max(
            (run.graph.tasks[reader].reads[number].bits for reader, number in run.graph.readers[index]),
            default=0,
        )
        for part, way in zip(parts, sent.maps[index], strict=True):
            assert way.most <= part.share * made * (1 + 1e-9)
        if task.arrays is not None:
            held = sum(
                tiles * copies
                for (tiles, _), copies in zip(task.matrices, placement.copies[index], strict=True)
            )
            assert held <= described.cores.arrays * len(parts)


@given(networks(), chips())
@EXAMPLES
def test_no_interval_is_below_its_bound_and_energies_add_up(network: Network, described: ChipSpec) -> None:
    run = run_on_chip(network, planned(network, described), described, choose_mappings=True)
    assert 1e3 * run.interval >= run.least_interval * (1 - 1e-9)
    content = run.to_json()
    json.dumps(content)
    assert content["energy_pj"] == pytest.approx(sum(content["energy_by_part_pj"].values()))
    if run.pipeline is not None:
        assert run.arrays_used <= described.arrays
        # The arrays do what they do in `rankfold energy`, less what the chip describes itself.
        whole = network_energy(network, run.plan, hardware_table(described.hardware), linear=True)
        named = content["energy_of_arrays_pj"]
        assert named == {name: whole.components[name] for name in named}


def test_objectives_are_the_best_of_what_is_found() -> None:
    network, described = zoo_network("resnet8"), chip(cores=25, arrays=16)
    plan = planned(network, described)
    runs = {name: run_on_chip(network, plan, described, objective=name) for name in OBJECTIVES}
    for name, worth in OBJECTIVES.items():
        assert all(worth(runs[name]) <= worth(run) for run in runs.values())


def test_without_traffic_copies_reach_the_bound() -> None:
    network = zoo_network("resnet20")
    described = load_chip("rram-22nm")
    free = replace(
        described,
        interconnect=replace(described.interconnect, rate=FAST),
        buffer=replace(described.buffer, rate=FAST),
        cores=replace(described.cores, rate=FAST),
    )
    run = run_on_chip(network, planned(network, free), free, choose_mappings=True)
    assert 1e3 * run.interval == pytest.approx(run.least_interval)


def one_way(described: ChipSpec) -> ChipRun:
    network = zoo_network("resnet8")
    return run_on_chip(network, planned(network, described), described)


def test_what_does_not_fit_runs_layer_by_layer() -> None:
    small = one_way(chip(cores=4, arrays=4))
    assert small.layer_by_layer is not None and small.layer_by_layer.way.written > 0
    assert "for its weights to stay" in small.why_not_pipelined
    # Enough arrays, and buffers that hold next to nothing.
    crowded = one_way(chip(cores=64, arrays=32, buffer=64))
    assert crowded.layer_by_layer is not None and crowded.layer_by_layer.way.written == 0
    assert "buffer/size" in crowded.why_not_pipelined
    with pytest.raises(InputError, match="small has no memory beside it"):
        one_way(replace(chip(cores=4, arrays=4), memory=None))


@pytest.mark.parametrize("name", chip_names())
def test_chips_of_the_package_have_sources_and_run(name: str) -> None:
    described = load_chip(name)
    assert described.warnings == ()
    assert len(described.sources) >= 10
    assert one_way(described).interval > 0


def test_everything_that_is_slow_is_felt_layer_by_layer() -> None:
    described = chip(cores=4, arrays=4)
    fast = one_way(described).latency
    slow = [
        replace(described, cores=replace(described.cores, rate=0.01)),
        replace(described, buffer=replace(described.buffer, rate=0.01)),
        replace(described, memory=OffChip(rate=0.01, energy=1.0)),
        replace(described, interconnect=replace(described.interconnect, rate=0.01)),
    ]
    assert all(one_way(other).latency > 2 * fast for other in slow)


def test_writing_is_as_the_chip_states_it() -> None:
    described = chip(cores=4, arrays=4)
    slow = replace(described, writing=Writing(write_time=1e4, write_energy=1e5, endurance=1e3))
    stated, table = one_way(slow).layer_by_layer, one_way(described).layer_by_layer
    assert stated is not None and table is not None
    assert stated.writing_energy == pytest.approx(1e-3 * 1e5 * stated.way.cells)
    assert stated.writing_time > 10 * table.writing_time
    assert stated.images_endured == pytest.approx(
        1e3 * (described.arrays - stated.way.kept) / stated.way.written
    )


def test_memory_that_is_slow_limits_a_pipeline() -> None:
    described = chip(cores=25, arrays=16)
    run = one_way(replace(described, memory=OffChip(rate=0.1, energy=1.0)))
    assert run.pipeline is not None
    # 3 x 32 x 32 values of 8 bits.
    assert 1e3 * run.interval == pytest.approx(3 * 32 * 32 * 8 / 0.1)
    assert run.limit == "off-chip memory (the image)"


def test_one_core_sends_nothing() -> None:
    run = one_way(chip(cores=1, arrays=16))
    assert (
        run.layer_by_layer is not None
        and run.layer_by_layer.sending_time == run.layer_by_layer.sent_bits == 0
    )


def test_deep_networks_of_gates_are_read_at_once() -> None:
    flow, layers, made_by = FlowRecorder(), [], INPUT
    for number in range(60):
        shape = ConvShape(f"gate{number}", 3, 3, (1, 1), (4, 4))
        layers.append(shape)
        flow.layer(shape.name, made_by)
        gated = flow.join(((made_by, 48), (shape.name, 48)), 48, (4, 4))
        made_by = flow.join(((made_by, 48), (gated, 48)), 48, (4, 4))
    layers.append(ConvShape("fc", 3, 2, (1, 1), (1, 1), kind="linear"))
    flow.layer("fc", made_by)
    network = Network("gates", (3, 4, 4), tuple(layers), flow=flow.flow(layers))
    described = chip(cores=16, arrays=16)
    run = ChipStudy(network, planned(network, described), described).staying(256)
    assert sum(task.arrays is None for task in run.graph.tasks) == 121


@given(networks(), chips())
@EXAMPLES
def test_frugal_mappings_keep_their_interval_and_convert_least(network: Network, described: ChipSpec) -> None:
    network = replace(network, layers=network.layers[-2:], flow=None)
    mappings = ChipMappings(network, planned(network, described), {}, free=True)
    if mappings.fewest > described.arrays:
        return
    interval = 2 * mappings.interval(described.arrays)
    plan, arrays = mappings.frugal(described.arrays, interval)
    chosen = [
        next(one for one in options if one.mapping == plan.layer(name).mapping)
        for name, options in mappings._choices.items()
    ]

    def needed(options: tuple) -> int:
        return sum(tiles * -(-times // interval) for one in options for tiles, times in one.loads)

    assert needed(tuple(chosen)) == arrays <= described.arrays
    # At the price that it is the best at: fewer conversions take more arrays than it has.
    conversions = sum(one.conversions for one in chosen)
    for others in product(*mappings._choices.values()):
        if sum(one.conversions for one in others) < conversions:
            assert needed(others) > arrays


def test_other_objectives_gain_from_mappings_of_few_conversions() -> None:
    network, described = zoo_network("resnet8"), load_chip("rram-22nm")
    plan = planned(network, described)
    shortest = run_on_chip(network, plan, described, choose_mappings=True)
    for name, worth in OBJECTIVES.items():
        run = run_on_chip(network, plan, described, objective=name, choose_mappings=True)
        assert worth(run) <= worth(shortest)
    assert (
        run_on_chip(network, plan, described, objective="energy", choose_mappings=True).total_energy
        < 0.97 * shortest.total_energy
    )
