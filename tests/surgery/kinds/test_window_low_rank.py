"""Low-rank pairs of windows in networks: of full rank, and beside pairs of the kernel."""

from __future__ import annotations

import pytest
import torch

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


def test_free_cells_lose_less_than_copies_at_equal_rank_and_cycles(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of what both are made for, as all outputs count alike."""
    monkeypatch.setattr("rankfold.surgery.compress.gives_scores", lambda *_: False)

    @torch.no_grad()
    def errors(method: Method) -> list[float]:
        model = settled(network())
        reports = compress_(model, planned(model, method), batches())
        return [report.output_error for report in reports if report.output_error is not None]

    free = errors(WindowLowRank(rank="1/4", window=(2, 3)))
    tied = errors(LowRank(rank="1/4", force=True))
    assert len(free) == len(tied) == 2
    assert all(own < 0.8 * other for own, other in zip(free, tied, strict=True))
