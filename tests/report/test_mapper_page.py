"""The page to step through a network: what it offers, how large it is, what it does in a browser."""

import json
import re
from dataclasses import replace

import pytest

from common.layer_sorts import ARRAY, every_sort
from rankfold.cli.main import main
from rankfold.mapping import MAPPINGS, ArraySpec
from rankfold.plan import LowRank, uniform_plan
from rankfold.plan.kinds import GroupedLayer, TrimmedLayer, WindowLayer, WindowLowRankLayer
from rankfold.report.mapper.choices import network_choices, offered_windows
from rankfold.report.mapper.page import render_mapper, write_mapper
from rankfold.workload import ConvShape, Network, zoo_network

# Kinds of layers that look their own way, by the layer of `every_sort` that becomes one.
BECOMES = {
    "stem": WindowLayer((2, 2), rows=9, support=None),
    "body": TrimmedLayer(reads="f0f0", gives="0ff0"),
    "point": GroupedLayer(2, "5555:55555555 aaaa:aaaaaaaa"),
    "parts": WindowLowRankLayer((2, 1), 3),
}


def planned(kinds=BECOMES):
    """`every_sort` as low-rank pairs where it can be, other layers as these kinds."""
    plan = uniform_plan(every_sort(), ARRAY, LowRank(groups=2, rank="1/8", force=True), mapping="sdk")
    layers = []
    for layer in plan.layers:
        kind = kinds.get(layer.name, layer.kind)
        layers.append(replace(layer, kind=kind, mapping=kind.mapping_for(layer.mapping)))
    return replace(plan, layers=tuple(layers))


def data_of(page):
    """What the page holds of the network."""
    (text,) = re.findall(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)
    return json.loads(text)


def test_fifty_layers_fit_two_megabytes(tmp_path):
    network = zoo_network("resnet50")
    plan = uniform_plan(network, ArraySpec(128, 128), LowRank(groups=4, rank="1/8"))
    layers = list(network_choices(network, plan, {}))
    assert len(layers) == 54
    write_mapper(tmp_path / "page.html", "resnet50", plan.array, layers, "layer4.0.conv2")
    assert (tmp_path / "page.html").stat().st_size < 2_000_000


def test_every_mapping_and_window_can_be_chosen():
    """What the plan has comes first; every layer has all mappings of the dense one, and windows."""
    layers = list(network_choices(every_sort(), planned(), {}))
    for layer in layers:
        dense = [choice for choice in layer.choices if choice.group == "dense layer"]
        assert len([choice for choice in dense if not choice.window]) == len(MAPPINGS)
        windows = [f"{a}x{b}" for a, b in offered_windows(layer.shape, ARRAY)]
        assert [choice.window for choice in dense if choice.window] == windows
        entry = planned().layer(layer.shape.weight)
        if entry.kind.changes_weight:
            assert layer.choices[layer.first].group == "as planned"
    # A weight that runs twice lies on two planes.
    assert layers[1].shape.weight == layers[2].shape.weight
    assert layers[1].choices is not layers[2].choices


def test_a_mapping_of_the_plan_that_is_not_offered_is_added():
    plan = uniform_plan(every_sort(), ARRAY, mapping="7x2")
    layer = next(iter(network_choices(every_sort(), plan, {})))
    assert layer.choices[layer.first].window == "7x2"


def test_windows_are_small_or_fill_the_columns():
    wide = ConvShape("wide", 64, 64, (3, 3), (9, 16))
    array = ArraySpec(64, 64)
    for shape in (wide, ConvShape("narrow", 3, 2, (1, 1), (40, 40))):
        for a, b in offered_windows(shape, array):
            assert a <= shape.output[0] and b <= shape.output[1]
            assert a * b <= 8 or a * b * shape.m <= array.columns
    assert (1, 8) in offered_windows(wide, array)
    assert (4, 8) in offered_windows(ConvShape("narrow", 3, 2, (1, 1), (40, 40)), array)


def test_names_stay_text():
    shape = ConvShape("</script><script>alert(1)</script>", 2, 2, (1, 1), (2, 2))
    network = Network("net", (2, 2, 2), (shape,))
    layers = list(network_choices(network, uniform_plan(network, ARRAY), {}))
    page = render_mapper("<b>net</b>", ARRAY, layers)
    assert "<b>" not in page and "alert(1)</script>" not in page
    assert data_of(page)["layers"][0]["name"] == shape.name


def test_channels_are_those_of_the_layer():
    """Of what is trimmed or grouped, hovering tells the layer's own channels."""
    page = data_of(render_mapper("net", ARRAY, list(network_choices(every_sort(), planned(), {}))))
    layers = {layer["name"]: page["choices"][layer["choices"]][layer["first"]] for layer in page["layers"]}
    assert layers["body"]["inputs"] == [4, 5, 6, 7, 12, 13, 14, 15]
    assert layers["body"]["outputs"] == list(range(4, 12))
    assert layers["point"]["inputs"] == [*range(0, 16, 2), *range(1, 16, 2)]
    assert "inputs" not in layers["stem"]


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ([], "give --out FILE for a picture, or --page FILE"),
        (["--out", "a.svg"], "give --layer NAME"),
        (["--page", "a.html", "--layer", "none"], "has no layer none"),
        (
            ["--page", "a.svg", "--out", "a.svg"],
            "a.svg cannot be picture and page",
        ),
        (["--page", "a.html", "--compare"], "--compare is for pictures"),
        (["--page", "pyproject.toml"], "exists and is no HTML page"),
    ],
)
def test_one_sentence_for_what_cannot_be(arguments, complaint, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pyproject.toml").write_text("[project]\n")
    assert main(["draw", "resnet8", *arguments]) == 2
    assert complaint in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["pyproject.toml"]


def test_the_page_shows_what_a_plan_has(tmp_path):
    uniform_plan(zoo_network("resnet8"), ArraySpec(64, 64), LowRank(groups=2, rank="1/4", force=True)).save(
        tmp_path / "plan.json"
    )
    page = tmp_path / "page.html"
    assert main(["draw", "resnet8", "--plan", str(tmp_path / "plan.json"), "--page", str(page)]) == 0
    data = data_of(page.read_text(encoding="utf-8"))
    (layer,) = [layer for layer in data["layers"] if layer["name"] == "layer1.0.conv1"]
    assert data["choices"][layer["choices"]][layer["first"]]["group"] == "as planned"


def test_the_command_writes_the_page(tmp_path, capsys):
    page = tmp_path / "page.html"
    assert main(["draw", "resnet8", "--array", "32x32", "--layer", "conv1", "--page", str(page)]) == 0
    assert f"page: {page}" in capsys.readouterr().out
    assert len(data_of(page.read_text(encoding="utf-8"))["layers"]) == len(zoo_network("resnet8").layers)
