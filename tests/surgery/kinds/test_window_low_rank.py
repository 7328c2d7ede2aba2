"""Low-rank pairs of windows in networks: of full rank, and beside pairs of the kernel."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from common.window_network import ARRAY, IMAGE, batches, network, planned, settled
from rankfold.nn.window_low_rank import WindowLowRankConv2d
from rankfold.plan import LayerPlan, LowRank, Plan, WindowLowRank, WindowLowRankLayer
from rankfold.plan.methods import Method
from rankfold.surgery.compress import compress_


@pytest.mark.parametrize("data", [None, "batches"])
def test_of_full_rank_and_all_rows_the_network_computes_what_it_computed(data: str | None) -> None:
    model = settled(network(bias=True)).double()
    images = batches(1)[0].double()
    expected = model(images)
    # Two pixels of eight outputs, and of four in each group.
    entries = (LayerPlan("3", WindowLowRankLayer((1, 2), 16), mapping="im2col"),)
    entries += (LayerPlan("6", WindowLowRankLayer((2, 1), 8), mapping="im2col"),)
    given = None if data is None else [batch.double() for batch in batches()]
    compress_(model, Plan("net", IMAGE, ARRAY, entries), given)
    assert isinstance(model[3], WindowLowRankConv2d) and isinstance(model[6], WindowLowRankConv2d)
    torch.testing.assert_close(model(images), expected, rtol=0, atol=1e-10)


FREE = WindowLowRank(rank="1/4", window=(2, 3))
TIED = LowRank(rank="1/4", force=True)


def errors(model: nn.Module, method: Method) -> list[float]:
    """Of the outputs of the two layers that the method makes pairs of, in the network's order."""
    reports = compress_(model, planned(model, method), batches())
    found = [report.output_error for report in reports if report.output_error is not None]
    assert len(found) == 2
    return found


@torch.no_grad()
def test_free_cells_lose_less_than_copies_at_equal_rank_and_cycles() -> None:
    """Of the layers' outputs, and more so of what they are made for: what the network says."""
    dense, models = settled(network()), (settled(network()), settled(network()))
    free, tied = (errors(model, method) for model, method in zip(models, (FREE, TIED), strict=True))
    assert all(own < 0.9 * other for own, other in zip(free, tied, strict=True))
    images = torch.cat(batches())
    said = dense(images).log_softmax(1)
    apart = []
    for model in models:
        found = model.eval()(images).log_softmax(1)
        apart.append(nn.functional.kl_div(found, said, log_target=True, reduction="batchmean"))
    assert apart[0] < 0.6 * apart[1]


def test_they_do_where_outputs_count_alike() -> None:
    """Of maps, of which no loss is known."""
    free, tied = (
        errors(settled(nn.Sequential(*network()[:8], nn.Linear(6, 4))), method) for method in (FREE, TIED)
    )
    assert all(own < 0.8 * other for own, other in zip(free, tied, strict=True))
