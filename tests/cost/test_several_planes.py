"""A weight that runs on planes of several sizes: every count of what is stored says the same."""

from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from common.stored_cells import arrays_by_cells, cells_of
from rankfold.chip.mappings import ChipMappings
from rankfold.chip.tasks import task_graph
from rankfold.cost import placed_cycles, schedule
from rankfold.cost.energy import load_table, network_energy
from rankfold.cost.stored import stages_of
from rankfold.mapping import MAPPINGS, ArraySpec
from rankfold.plan import DenseLayer, LayerPlan, LowRankLayer, Plan
from rankfold.planning.exact import AREA, ARRAYS, INTERVAL
from rankfold.planning.exact.costing import Costing
from rankfold.workload import trace

TABLE = load_table("rram-22nm")


class Pyramid(nn.Module):
    """A head that runs on planes of falling size, as detectors' do; tied ones are several modules."""

    def __init__(self, runs, *, tied):
        super().__init__()
        self.heads = nn.ModuleList([nn.Conv2d(4, 4, 3, padding=1, bias=False)])
        for _ in range(runs - 1):
            head = self.heads[0]
            if tied:
                head = nn.Conv2d(4, 4, 3, padding=1, bias=False)
                head.weight = self.heads[0].weight
            self.heads.append(head)
        self.pools = nn.ModuleList([nn.AvgPool2d(4), nn.Identity(), nn.AvgPool2d(2)])

    def forward(self, x):
        for head, pool in zip(self.heads, [*self.pools, nn.Identity()], strict=False):
            x = pool(head(x))
        return x


def planned(runs, array, mapping, *, tied=False, kind=None):
    """A pyramid under one mapping, and its plan."""
    network = trace(Pyramid(runs, tied=tied), (4, 16, 16), "pyramid")
    names = dict.fromkeys(layer.weight for layer in network.layers)
    entry = LayerPlan("", kind or DenseLayer(), mapping=mapping, weight_bits=4, input_bits=4)
    layers = tuple(replace(entry, name=name) for name in names)
    return network, Plan.of(network, array, layers)


arrays_of_any_size = st.builds(
    ArraySpec, st.integers(8, 80), st.integers(16, 160), cell_bits=st.just(2), dac_bits=st.just(1)
)
mappings = st.sampled_from([*MAPPINGS, "1x8", "4x4", "3x2"])
kinds = st.sampled_from([None, LowRankLayer(1, 2)])


@settings(max_examples=25)
@given(st.integers(2, 4), arrays_of_any_size, mappings, st.booleans(), kinds)
def test_every_count_of_arrays_is_that_of_the_cells(runs, array, mapping, tied, kind):
    if kind is not None and mapping not in kind.mappings:
        mapping = "sdk"
    network, plan = planned(runs, array, mapping, tied=tied, kind=kind)
    placed = placed_cycles(network, plan)
    energy = network_energy(network, plan, TABLE)
    arrays = arrays_by_cells([layer.executed.stages for layer in placed.layers])

    assert energy.arrays == arrays
    assert schedule(placed, arrays).tiles == arrays
    tasks = task_graph(network, placed, energy).tasks
    of_tasks = {task.arrays: sum(tiles for tiles, _ in task.matrices) for task in tasks if task.matrices}
    assert sum(of_tasks.values()) == arrays
    assert ChipMappings(network, plan, {}, free=False).fewest == arrays
    if not tied:
        # Layers of one parameter are planned apart.
        costing = Costing.of(network, plan, TABLE)
        candidate = costing.candidate(plan.layers[0], (ARRAYS, AREA, INTERVAL))
        assert candidate.arrays == arrays
        assert candidate.area == pytest.approx(energy.area)
        assert candidate.interval == pytest.approx(energy.interval)


@settings(max_examples=25)
@given(st.integers(2, 4), arrays_of_any_size, mappings, st.booleans())
def test_shared_arrays_do_the_work_of_all_runs(runs, array, mapping, tied):
    """Of each tile, by its cells: what all runs activate it."""
    network, plan = planned(runs, array, mapping, tied=tied)
    placed = placed_cycles(network, plan)
    work = Counter()
    for layer in placed.layers:
        (stage,) = layer.executed.stages
        for stored, times in stage.loads:
            for number, tile in enumerate(stored.tiles()):
                work[cells_of(stage), number, tile.weight_index.tobytes()] += times * layer.slices[0]
    found = []
    for stage in stages_of(placed):
        for tiles, times in stage.loads:
            found += [times] * tiles
    assert sorted(found) == sorted(work.values())


def test_a_window_cut_to_a_small_plane_is_stored_for_itself():
    """1x8 pixels on 16x16 and, cut, 2x2 on the planes of 2x2, of which there are two."""
    array = ArraySpec(256, 256, cell_bits=2, dac_bits=1)
    for runs, arrays in ((1, 1), (2, 2), (3, 2)):
        network, plan = planned(runs, array, "2x8")
        assert network_energy(network, plan, TABLE).arrays == arrays
