"""Low-rank pairs of windows in networks: surgery with and without data, quantisation, files, arrays."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from rankfold.calibration.batch_norm import reestimate_batch_norm_
from rankfold.calibration.observation import evaluating
from rankfold.errors import InputError
from rankfold.export.merge import merge
from rankfold.mapping import ArraySpec
from rankfold.nn.quantised import QuantConv2d
from rankfold.nn.window import WindowConv2d
from rankfold.nn.window_low_rank import WindowLowRankConv2d
from rankfold.plan import LayerPlan, LowRank, Plan, WindowLowRank, WindowLowRankLayer, uniform_plan
from rankfold.plan.methods import Method
from rankfold.simulator import NonIdealities, simulate
from rankfold.surgery.compress import compress_, kept_parameters
from rankfold.surgery.quantise import quantise_
from rankfold.surgery.save import load_, save
from rankfold.surgery.supports import check_supports, with_supports
from rankfold.workload import trace

IMAGE = (3, 12, 12)
ARRAY = ArraySpec(24, 24)


def network(*, bias: bool = False, seed: int = 0) -> nn.Sequential:
    """Three convolutions, one of them strided and one with groups, with norms behind two of them."""
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(3, 6, 3, padding=1, bias=False),
        nn.BatchNorm2d(6),
        nn.ReLU(),
        nn.Conv2d(6, 8, 3, padding=1, bias=bias),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Conv2d(8, 8, 3, stride=2, padding=1, groups=2, bias=bias),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(8 * 36, 4),
    )


def batches(count: int = 3) -> list[Tensor]:
    """Smooth images: inputs of a window that tell of each other, as those of real images do."""
    generator = torch.Generator().manual_seed(1)
    images = []
    for _ in range(count):
        coarse = torch.randn(16, 3, 4, 4, generator=generator)
        images.append(nn.functional.interpolate(coarse, size=IMAGE[1:], mode="bilinear"))
    return images


def settled(model: nn.Module) -> nn.Module:
    """The network with the statistics of the data in its norms."""
    reestimate_batch_norm_(model, batches())
    return model.eval()


def planned(model: nn.Module, method: Method) -> Plan:
    """Its uniform plan."""
    return uniform_plan(trace(model, IMAGE, "net"), ARRAY, method)


SOME = WindowLowRank(rank="1/2", row_tiles=1, window=(2, 3))
# Planes of 12x12 and 6x6, which the window does not divide.
OVERHANGING = WindowLowRank(rank=1, row_tiles=1, window=(5, 4))


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


@pytest.mark.parametrize("decomposition", ["data", "sequential", "svd"])
def test_rows_are_chosen_and_written_in_the_plan(decomposition: str) -> None:
    model = settled(network())
    plan = planned(model, SOME)
    made = compress_(model, plan, batches(), decomposition=decomposition)
    reports = {report.name: report for report in made}
    output_error = reports["3"].output_error
    assert output_error is None if decomposition == "svd" else 0 < (output_error or 0) < 1
    # The weight's own error is that of the matrix which stands in.
    copies = WindowConv2d.from_conv(settled(network())[3], (2, 3)).weight
    error = float((model[3].weight - copies).detach().norm() / copies.detach().norm())
    assert reports["3"].error == pytest.approx(error, rel=1e-5)
    assert kept_parameters(model) < sum(parameter.numel() for parameter in model.parameters())
    filled = with_supports(plan, model)
    for layer in filled.layers:
        if isinstance(layer.kind, WindowLowRankLayer):
            assert layer.kind.rows == 24 and layer.kind.support is not None
            layer.kind.check(trace(settled(network()), IMAGE, "net").layers[int(layer.name) // 3])
    check_supports(filled, model)
    # Made again from the plan, it is the same network.
    again = settled(network())
    compress_(again, filled, batches(), decomposition=decomposition)
    for name, value in model.state_dict().items():
        torch.testing.assert_close(again.state_dict()[name], value, msg=name, rtol=1e-4, atol=1e-5)


# Ratios carry over to variances that were averaged over batches, which differ a little from those of all.
@pytest.mark.parametrize(
    ("method", "decomposition", "within"),
    [(SOME, "data", 0.02), (SOME, "sequential", 1e-4), (OVERHANGING, "data", 0.02)],
    ids=["data", "sequential", "overhanging"],
)
def test_means_and_variances_of_outputs_are_set_right(
    method: Method, decomposition: str, within: float
) -> None:
    model = settled(network())
    dense = copy.deepcopy(model)
    compress_(model, planned(model, method), batches(), decomposition=decomposition)
    every = torch.cat(batches())
    with evaluating(model), evaluating(dense), torch.no_grad():
        fed = dense[:3](every)
        before, after = dense[3](fed), model[3](fed)
        norm = model[4]
        torch.testing.assert_close(after.mean((0, 2, 3)), before.mean((0, 2, 3)), rtol=1e-3, atol=1e-4)
        assert isinstance(norm, nn.BatchNorm2d) and norm.running_var is not None
        seen = after.var((0, 2, 3), correction=0)
        torch.testing.assert_close(norm.running_var, seen, rtol=within, atol=1e-6)


def test_quantised_saved_simulated_and_not_folded(tmp_path: Path) -> None:
    model = settled(network())
    array = replace(ARRAY, columns=96, cell_bits=2, dac_bits=1)
    plan = uniform_plan(trace(model, IMAGE, "net"), array, SOME, bits=4)
    compress_(model, plan, batches())
    plan = with_supports(quantise_(model, plan, batches()), model)
    layer = model[3]
    assert isinstance(layer.reduce, QuantConv2d) and not layer.reduce.mask.all()
    # What is between the stages is signed, whatever the layer reads.
    assert isinstance(layer.expand, QuantConv2d) and layer.expand.input_quantiser.signed
    assert not layer.reduce.input_quantiser.signed
    images = batches(1)[0]
    model.eval()
    # Arrays that are ideal give the very integers; others change the outputs.
    ideal = simulate(model, plan).eval()
    torch.testing.assert_close(ideal(images), model(images), rtol=1e-5, atol=1e-5)
    noisy = simulate(model, plan, NonIdealities(adc_bits=3, adc_range="full")).eval()
    assert not torch.allclose(noisy(images), model(images), rtol=1e-3)
    save(model, plan, tmp_path)
    fresh = network(seed=5).eval()
    assert load_(fresh, tmp_path) == plan
    assert torch.equal(fresh(images), model(images))
    with pytest.raises(InputError, match="layer 6: a WindowLowRankConv2d computes what no plain layer can"):
        merge(model)


@pytest.mark.parametrize(
    ("name", "kind", "message"),
    [
        ("9", WindowLowRankLayer((1, 1), 1), "layer 9: a window needs an output plane"),
        ("3", WindowLowRankLayer((2, 2), 2, 97), r"layer 3: rows \(=97\) must be at most 96"),
        ("3", WindowLowRankLayer((2, 2), 33), r"layer 3: rank \(=33\) must be at most 32"),
        ("6", WindowLowRankLayer((2, 2), 9, 8), r"layer 6: rank \(=9\) must be at most 8"),
    ],
)
def test_what_cannot_be_one(name: str, kind: WindowLowRankLayer, message: str) -> None:
    model = network()
    with pytest.raises(InputError, match=message):
        compress_(model, Plan("net", IMAGE, ARRAY, (LayerPlan(name, kind, mapping="im2col"),)))
