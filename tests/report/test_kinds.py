"""What tables, colours and pictures say of each kind of layer, and of kinds from outside."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import pytest

from common.reader import Page
from common.report_samples import run, run_of
from rankfold.errors import InputError
from rankfold.mapping import ArraySpec
from rankfold.plan import (
    ChannelLayer,
    DenseLayer,
    GarosLayer,
    GroupedLayer,
    LayerKind,
    LayerPlan,
    LowRankLayer,
    Pairs,
    Pairs2023Layer,
    Pairs2024Layer,
    PairsLayer,
    PatDNN,
    PatDNNChannelLayer,
    PatDNNLayer,
    PatDNNWholeLayer,
    SharedSupport,
    SkippedLayer,
    SupportLayer,
    TrimmedLayer,
    WindowLayer,
    WindowLowRankLayer,
    WindowMarginsLayer,
    WindowPart,
    uniform_plan,
)
from rankfold.plan.kinds import kinds, registered
from rankfold.report import method_name, summary_rows, summary_table
from rankfold.report.arrays.picture import planned_panels
from rankfold.report.charts.arrays import arrays_chart
from rankfold.report.kinds import KindPicture, families, family_of, picture_of
from rankfold.report.methods import RunMethod, colours, run_method
from rankfold.report.palette import (
    BLUE,
    BROWN,
    CRIMSON,
    GREEN,
    GREY,
    INDIGO,
    MOSS,
    OCHRE,
    PINK,
    TEAL,
    VERMILION,
    VIOLET,
)
from rankfold.report.run_page.page import render_report
from rankfold.report.summary import steered_cycles, summary_headers
from rankfold.workload import ConvShape, zoo_network

SHAPE = ConvShape("conv", 16, 16, (3, 3), (12, 12), padding=(1, 1, 1, 1))
ARRAY = ArraySpec(64, 64)
SUPPORT = " ".join(["1b0"] * 16)  # of 16 input channels, 4 of 9 positions each

# kind -> shades and words of a run, family in fronts, title and meaning of its panel
TOLD = {
    DenseLayer(): (
        None,
        "dense",
        ("SDK", "shifted and duplicated kernel: copies of the kernel fill idle columns"),
    ),
    LowRankLayer(1, 4): ((VERMILION, "plain low-rank"), "low-rank", ("Low-rank, SDK", "rank 4")),
    LowRankLayer(4, 2): (
        (BLUE, "group low-rank, g = 4"),
        "low-rank",
        ("Group low-rank, SDK", "4 groups, rank 2 each"),
    ),
    LowRankLayer(2, 2, 4, SUPPORT): (
        (VIOLET, "row-sparse low-rank, g = 2, e = 4"),
        "both",
        ("Row-sparse low-rank, SDK", "2 groups, rank 2 each, 4 of 9 positions of each input channel"),
    ),
    PatDNNLayer(4): (
        (PINK, "PatDNN, e = 4"),
        "support",
        ("PatDNN, SDK", "4 of 9 positions; a row that nothing in a tile needs is skipped"),
    ),
    PairsLayer(4): (
        (OCHRE, "PAIRS (free), e = 4"),
        "support",
        ("PAIRS (free), SDK", "4 of 9 positions; a row that nothing in a tile needs is skipped"),
    ),
    GarosLayer(4, side=2): (
        (OCHRE, "GAROS (exact), e = 4"),
        "support",
        (
            "GAROS (exact), SDK",
            "patterns of several sizes, within the rows of 4 of 9 positions; a row that nothing in a tile "
            "needs is skipped",
        ),
    ),
    PatDNNChannelLayer(3): (
        (PINK, "PatDNN by channel, e = 3"),
        "support",
        ("PatDNN by channel, SDK", "3 of 9 positions; a row that nothing in a tile needs is skipped"),
    ),
    PatDNNWholeLayer(3): (
        (PINK, "PatDNN by layer, e = 3"),
        "support",
        ("PatDNN by layer, SDK", "3 of 9 positions; a row that nothing in a tile needs is skipped"),
    ),
    Pairs2023Layer(4): (
        (OCHRE, "PAIRS 2023, e = 4"),
        "support",
        ("PAIRS 2023, SDK", "4 of 9 positions; a row that nothing in a tile needs is skipped"),
    ),
    Pairs2024Layer(4): (
        (OCHRE, "PAIRS 2024, e = 4"),
        "support",
        ("PAIRS 2024, SDK", "4 of 9 positions; a row that nothing in a tile needs is skipped"),
    ),
    SupportLayer(4, support=SUPPORT): (
        (MOSS, "shared support, e = 4"),
        "support",
        ("Shared support, SDK", "4 of 9 positions; a row that nothing in a tile needs is skipped"),
    ),
    ChannelLayer(8, 12): (
        (BROWN, "channel pruning"),
        "dense",
        ("SDK", "shifted and duplicated kernel: copies of the kernel fill idle columns"),
    ),
    TrimmedLayer("ff", "3ff", (2, 3), 64): (
        (BROWN, "trimmed channels"),
        "trimmed",
        (
            "Trimmed channels",
            "reads 8 of 16 channels, computes 10 of 16; 2x3 output pixels from 64 of 160 inputs, to be "
            "chosen on data; every cell is a weight",
        ),
    ),
    WindowLayer((2, 2), 64): (
        (TEAL, "window layers"),
        "window",
        (
            "Window layer",
            "2x2 output pixels from 64 of 256 inputs, to be chosen on data; every cell is a weight",
        ),
    ),
    WindowLowRankLayer((2, 2), 16): (
        (CRIMSON, "window low-rank"),
        "window low-rank",
        (
            "Window low-rank",
            "rank 16, 2x2 output pixels from all 256 inputs; every cell is a weight",
        ),
    ),
    SkippedLayer(): ((GREY, "skipped layers"), "skipped", None),
    GroupedLayer(4): (
        (INDIGO, "grouped convolutions, G = 4"),
        "grouped",
        ("Grouped, SDK", "4 blocks, each of 4 input to 4 output channels"),
    ),
    WindowMarginsLayer((WindowPart((0, 0), (8, 12), (2, 2), 64), WindowPart((8, 0), (4, 12), (1, 3)))): (
        (TEAL, "window layers"),
        "window",
        (
            "Window layer, 8x12 outputs from (0, 0) on",
            "2x2 output pixels from 64 of 256 inputs, to be chosen on data; every cell is a weight",
        ),
    ),
}


def test_every_kind_of_the_package_is_told_of():
    assert {type(kind) for kind in TOLD} == set(kinds())


@pytest.mark.parametrize("kind", TOLD, ids=lambda kind: kind.variant or kind.name)
def test_a_kind_has_its_words_colour_and_family(kind):
    method, family, words = TOLD[kind]
    picture = picture_of(kind)
    found = picture.method(kind)
    assert method == (None if found is None else (found.shades, found.words))
    assert picture.family_of(kind) == family_of(kind) == family and family in families()
    mask = np.arange(9).reshape(3, 3)[None, None].repeat(16, 0).repeat(16, 1) < 4
    entry = LayerPlan("conv", kind, mapping=kind.mappings[min(1, len(kind.mappings) - 1)])
    if words is None:
        with pytest.raises(InputError, match="layer conv is skipped, so that no array holds anything of it"):
            planned_panels(SHAPE, ARRAY, entry, mask)
        return
    title, meaning = words
    panel, *others = planned_panels(SHAPE, ARRAY, entry, mask)
    # A plane in parts has a picture of each.
    assert len(others) == len(getattr(kind, "parts", "1")) - 1
    assert (panel.title, panel.meaning) == (title, meaning)


def of_kind(result, kind):
    """The result as if all its low-rank layers had become `kind`."""
    content = {"groups": None, "rank": None, "entries": None, "pruning": None, **kind.to_json()}
    values = {name: content[name] for name in ("kind", "groups", "rank", "entries", "pruning")}
    values["becomes"] = kind.to_json()
    layers = [replace(layer, **values) if layer.kind == "low-rank" else layer for layer in result.layers]
    return replace(result, layers=tuple(layers))


@pytest.mark.parametrize("kind", TOLD, ids=lambda kind: kind.variant or kind.name)
def test_runs_are_named_by_what_they_made_of_all_layers(kind):
    result = of_kind(run().result, kind)
    shades, words = TOLD[kind][0] or (GREY, "dense")
    assert method_name(result) == words
    assert colours([result, result]) == shades[:2]


def test_one_other_layer_makes_a_mixed_plan():
    result = of_kind(run().result, PatDNNLayer(4))
    odd = replace(result.layers[3], entries=5, becomes=PatDNNLayer(5).to_json())
    mixed = replace(result, layers=(*result.layers[:3], odd, *result.layers[4:]))
    assert method_name(mixed) == "mixed plan"
    assert colours([mixed]) == (GREEN[0],)


def test_pointwise_layers_without_positions_to_choose_do_not_mix_a_plan():
    """They are low-rank with all their positions where the others are row-sparse."""
    result = of_kind(run().result, LowRankLayer(4, 2, 4))
    layers = list(result.layers)
    pointwise = replace(layers[3].shape, kernel=(1, 1))
    layers[3] = replace(layers[3], becomes=LowRankLayer(4, 2).to_json(), shape=pointwise)
    assert method_name(replace(result, layers=tuple(layers))) == "row-sparse low-rank, g = 4, e = 4"
    layers[3] = replace(layers[3], shape=layers[4].shape)
    assert method_name(replace(result, layers=tuple(layers))) == "mixed plan"


def test_layers_that_an_old_result_says_too_little_of_are_called_mixed():
    result = of_kind(run().result, PatDNNLayer(4))
    layers = [replace(layer, pruning=None, becomes=None) for layer in result.layers]
    assert method_name(replace(result, layers=tuple(layers))) == "mixed plan"


def pruned_run(method, mapping="sdk"):
    network = zoo_network("resnet8", (3, 32, 32), 10)
    plan = uniform_plan(network, ARRAY, method, bits=4, mapping=mapping)
    rng = np.random.default_rng(0)
    masks = {}
    layers = []
    for entry in plan.layers:
        if entry.kind.changes_weight:
            shape = next(shape for shape in network.layers if shape.weight == entry.name)
            masks[entry.name] = rng.random((shape.m, shape.n // 9, 3, 3)) < 4 / 9
            if entry.kind.shares_support:
                entry = entry.with_support(" ".join(["1b0"] * shape.in_channels))
        layers.append(entry)
    return run_of(network, replace(plan, layers=tuple(layers)), masks)


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize("mapping", ["im2col", "sdk"])
def test_pruned_runs_are_told_in_two_readings(mapping):
    pruned, dense = pruned_run(PatDNN(4), mapping), run("resnet8", None, None, label="dense")
    cycles = pruned.result.cycles
    assert steered_cycles(pruned) == cycles[f"ideal-{mapping}"] < cycles[f"pruned-{mapping}"]
    headers = summary_headers([dense, pruned])
    rows = [dict(zip(headers, row, strict=True)) for row in summary_rows([dense, pruned])]
    assert [row["ideal steering"] for row in rows] == ["-", f"{cycles[f'ideal-{mapping}']:,}"]
    assert rows[1]["SDK"] == f"{cycles['pruned-sdk']:,}" and rows[1]["VW-SDK"] == "-"
    assert rows[0]["SDK"] == f"{dense.result.cycles['sdk']:,}"
    assert "ideal steering" not in summary_headers([dense])
    assert "PatDNN, e = 4" in summary_table([pruned])
    page = Page(render_report([pruned]))
    assert any(f"{cycles[f'ideal-{mapping}']:,} cycles with ideal steering" in card for card in page.cards)
    assert Page(render_report([dense, pruned])).tables[0][-1][0] == "PatDNN, e = 4"


def test_layers_are_drawn_where_the_plan_says_which_weights_they_keep():
    supported = pruned_run(SharedSupport(4))
    assert "Shared support" in arrays_chart([supported]).svg
    for method in (PatDNN(4), Pairs(4)):
        assert arrays_chart([pruned_run(method)]) is None
    open_layers = [replace(entry, kind=SupportLayer(4)) for entry in supported.plan.layers]
    still_open = replace(supported.plan, layers=tuple(open_layers))
    assert arrays_chart([replace(supported, plan=still_open)]) is None


@pytest.mark.usefixtures("undrawn")
def test_the_plan_of_each_layer_is_on_the_page():
    page = Page(render_report([pruned_run(SharedSupport(4))]))
    head, *rows = page.tables[-1]
    found = dict(zip(head, rows[3], strict=True))
    assert (found["becomes"], found["setting"]) == ("pattern-pruned", "e4*")


@dataclass(frozen=True)
class Folded(LayerKind):
    name: ClassVar[str] = "folded"
    schema: ClassVar[Mapping[str, Any]] = {"factor": {"type": "integer"}}

    factor: int = 2


class FoldedPicture(KindPicture):
    families = ("dense",)

    def method(self, kind):
        return RunMethod(GREEN, f"folded {kind.factor} times")


def test_a_kind_from_outside_has_its_own_words():
    result = run().result
    layers = tuple(
        replace(layer, kind="folded", groups=None, rank=None, becomes=None) for layer in result.layers
    )
    folded = replace(result, layers=layers)
    with registered(Folded, picture=FoldedPicture()):
        assert run_method(folded) == RunMethod(GREEN, "folded 2 times")
        assert picture_of(Folded).panel_words(Folded(), SHAPE) is None
    with (
        registered(Folded),
        pytest.raises(InputError, match="folded layers have no picture of their own"),
    ):
        run_method(folded)
    assert method_name(folded) == "mixed plan"
