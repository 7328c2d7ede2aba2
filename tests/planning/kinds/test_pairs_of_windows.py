"""Pairs of windows as candidates: where they are asked for, and that they lose what those of surgery do."""

from dataclasses import replace

import pytest
from torch import nn

from common.planned_layers import problem, studied
from rankfold.calibration.sensitivity import predicted_loss
from rankfold.mapping import ArraySpec
from rankfold.mapping.window_low_rank import window_low_rank_cycles
from rankfold.mapping.window_matrix import window_cycles, window_weight
from rankfold.plan import WindowLowRankLayer
from rankfold.planning.exact.slots import layer_slots
from rankfold.planning.kinds import candidates_of
from rankfold.surgery.kinds.window_low_rank import PART as PAIR
from rankfold.workload import trace

SMALL = ArraySpec(8, 8)


def test_pairs_of_windows_lose_what_those_of_surgery_do():
    """2x2 windows, of which some reach over the edge of a plane of 7x7, strided and in groups; one pixel."""
    slots, model, found, _ = problem(4, SMALL, side=7, kinds={"window-low-rank"})
    part, seen = candidates_of(WindowLowRankLayer), set()
    for slot, conv, layer, windows in studied(slots, model, found):
        for entry in part.entries(slot, None):
            kind = part.settled(entry.kind, layer)
            known = windows[kind.window]
            loss = part.loss(kind, layer, found.layers[slot.name])
            # Surgery makes the same of the plan, and chooses the same inputs where it names none.
            for one in (kind, entry.kind):
                named = replace(entry, kind=one)
                module = PAIR.replace(named, conv, known.weighed_moments.centred(), None).module
                made = module.weight.detach().numpy().astype(float)
                copies = window_weight(layer.weight, conv.groups, conv.stride, conv.dilation, kind.window)
                assert predicted_loss(copies, made, known) == pytest.approx(loss, rel=1e-4, abs=1e-12)
            pair = window_low_rank_cycles(slot.shape, kind.window, kind.rank, SMALL, kind.rows)
            assert pair < window_cycles(slot.shape, kind.window, SMALL, kind.rows)
            seen.add((kind.window, conv.groups, kind.rows is None, bool(known.moments.by_pixel)))
    assert {(window, groups) for window, groups, _, _ in seen} == {((1, 1), 1), ((2, 2), 1), ((2, 2), 2)}
    assert {whole for _, _, whole, _ in seen} == {over for _, _, _, over in seen} == {False, True}


def test_pairs_of_windows_are_asked_for_where_they_take_fewer_tiles():
    """k + c < k c for k row and c column tiles of the window's matrix, with the highest rank of one tile."""
    part, entries = candidates_of(WindowLowRankLayer), {}
    network = trace(nn.Sequential(nn.Conv2d(4, 16, 3, padding=1), nn.Conv2d(16, 40, 3)), (4, 8, 8))
    (slot,) = [slot for slot in layer_slots(network, ArraySpec(32, 16), 4) if not slot.why_dense]
    for entry in part.entries(slot, None):
        assert entry.kind.rank == 16
        entries.setdefault(entry.kind.window, []).append(entry.kind.rows)
    # One pixel: n = 144, 5 row and 3 column tiles. 2x2: n = 256, 8 row and 10 column tiles.
    assert entries == {
        (1, 1): [64, 96, 128, None],
        (2, 2): [64, 96, 128, 160, 192, 224, None],
    }
    for narrow in (ArraySpec(32, 64), ArraySpec(256, 16)):  # no second column tile; no second row tile
        (slot,) = [slot for slot in layer_slots(network, narrow, 4) if not slot.why_dense]
        assert not list(part.entries(slot, None))
