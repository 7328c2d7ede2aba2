"""Work on layers side by side: batches in their order, errors raised, and the numbers of one by one."""

import threading
import time

import numpy as np
import pytest
import torch
from torch import nn

from common.planned_layers import problem
from rankfold.calibration.side_by_side import NARROW, side_by_side, threads_for


@pytest.fixture
def two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def test_sensitivities_are_those_of_one_thread(two_threads):
    """But for the rounding of the network's own run."""
    _, _, several, _ = problem(8)
    torch.set_num_threads(1)
    _, _, alone, _ = problem(8)
    for name, layer in alone.layers.items():
        found = several.layers[name]
        assert np.allclose(found.moments.second, layer.moments.second, rtol=1e-4, atol=1e-6)
        assert np.allclose(found.gradient, layer.gradient, rtol=1e-4, atol=1e-6 * layer.gradient.max())
        assert found.power.sum() == pytest.approx(layer.power.sum(), rel=1e-4)


def test_a_layer_has_its_batches_in_their_order_and_others_at_the_same_time():
    done = []
    meeting = threading.Barrier(2, timeout=10)

    def work(name, batch):
        if batch == 0:
            meeting.wait()  # passed only where both layers are worked on at once
        time.sleep(0.01 * (3 - batch))
        done.append((name, batch))

    with side_by_side(2) as begin:
        for batch in range(3):
            for name in ("a", "b"):
                begin(name, work, name, batch)
    for name in ("a", "b"):
        assert [batch for one, batch in done if one == name] == [0, 1, 2]


@pytest.mark.parametrize("threads", [1, 2])
def test_an_error_is_raised(threads):
    def fail():
        raise ValueError("of this layer")

    with pytest.raises(ValueError, match="of this layer"), side_by_side(threads) as begin:
        begin("a", fail)


def test_no_more_layers_are_held_than_there_are_threads():
    """Also none that would wait for a thread, whose tensors take memory all the same."""
    begun, done, held = 0, [], []

    def work():
        time.sleep(0.005)
        done.append(1)

    with side_by_side(2) as begin:
        for number in range(8):
            begin(str(number), work)
            begun += 1
            held.append(begun - len(done))
    assert len(done) == 8 and max(held) <= 2


def test_wide_layers_are_worked_on_one_by_one(two_threads):
    narrow, wide = nn.Conv2d(NARROW, 4, 1), nn.Linear(NARROW + 1, 4)
    assert threads_for(narrow, [narrow]) == 2
    assert threads_for(wide, [narrow, wide]) == 1
