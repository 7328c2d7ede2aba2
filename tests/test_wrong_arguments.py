"""What the verbs say to arguments of a wrong type, shape or value: one sentence, an `InputError`."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import rankfold as rf
from common.two_convolutions import net
from rankfold.arguments import LONGEST, TEXT, WHOLE, Wanted, shown, takes
from rankfold.cost import Chip
from rankfold.cost.energy import energy_of
from rankfold.export.array_images.images import write_arrays
from rankfold.export.onnx.write import write_onnx
from rankfold.export.workloads import write_csv
from rankfold.machine import DEFAULT_HARDWARE
from rankfold.mapping import map_layer
from rankfold.plan import ChannelPruning, LayerRule, Pairs, PatDNN, Quantise, coverage, register_kind
from rankfold.runs.state import RunNotes
from rankfold.surgery.channels import channel_plan
from rankfold.workload import ConvShape

ARRAY = rf.ArraySpec(32, 32)


def images(*shape, dtype=torch.float32):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0)).to(dtype)


class Scored(nn.Module):
    """Gives its scores by name."""

    def __init__(self):
        super().__init__()
        self.body = net()

    def forward(self, x):
        return {"scores": self.body(x)}


NETWORK = rf.trace(net(), (3, 8, 8), "small")
PLAN = rf.uniform_plan(NETWORK, ARRAY, rf.LowRank(groups=2, rank=2), bits=4)
DENSE = rf.uniform_plan(NETWORK, ARRAY, bits=4)
CLASSES = torch.arange(8) % 4
GOOD = [(images(8, 3, 8, 8), CLASSES)]
DATA = rf.LoaderData(GOOD, GOOD)
HALF = rf.Budget("cycles", 0.5, share=True)


def quantised(plan=PLAN):
    model = net()
    rf.compress_(model, plan, GOOD)
    return model, rf.quantise_(model, plan, GOOD)


def simulated():
    return rf.simulate(*quantised())


def compressed(x):
    rf.compress_(net(), PLAN, [x])


TYPES = {
    "trace of a text": (lambda: rf.trace("resnet20", (3, 8, 8)), "model must be a torch.nn.Module, not the"),
    "trace of a class": (lambda: rf.trace(Scored, (3, 8, 8)), "not the class Scored"),
    "trace on two sizes": (lambda: rf.trace(net(), (8, 8)), r"image \(=\(8, 8\)\) must be \(C, H, W\)"),
    "trace on a negative": (lambda: rf.trace(net(), (3, -8, 8)), "three positive whole numbers"),
    "trace on a number": (lambda: rf.trace(net(), 32), r"image \(=32\) must be \(C, H, W\)"),
    "plan of a model": (lambda: rf.uniform_plan(net(), ARRAY), "network must be a Network, as trace"),
    "plan for a text": (lambda: rf.uniform_plan(NETWORK, "64x64"), r"array must be an ArraySpec.*'64x64'"),
    "plan by a class": (lambda: rf.uniform_plan(NETWORK, ARRAY, rf.LowRank), "not the class LowRank"),
    "half bits": (lambda: rf.uniform_plan(NETWORK, ARRAY, bits=4.5), r"bits \(=4.5\) must be a whole"),
    "bits as text": (lambda: rf.uniform_plan(NETWORK, ARRAY, bits="4"), r"bits \(=4\) must be a whole"),
    "budget as text": (lambda: rf.best_plan(net(), GOOD, ARRAY, "60%"), r"budgets must be a Budget, such as"),
    "second budget": (
        lambda: rf.best_plan(net(), GOOD, ARRAY, rf.Budget("cycles", 9.0), 9),
        "budgets must be a Budget.*not 9",
    ),
    "data by name": (
        lambda: rf.compress_(net(), PLAN, "digits"),
        "the text 'digits'; .*load_images",
    ),
    "path for a plan": (lambda: rf.compress_(net(), Path("plan.json")), r"plan must be a Plan.*'plan.json'"),
    "plan for a model": (lambda: rf.compress_(PLAN, net()), "model must be a torch.nn.Module, not a Plan"),
    "planning": (lambda: rf.quantise_(net(), NETWORK, GOOD), "plan must be a Plan.*not a Network"),
    "cells as a number": (
        lambda: rf.quantise_(net(), DENSE, GOOD, hardware=4),
        "hardware must be an ArraySpec.*or a Hardware",
    ),
    "half an image": (lambda: rf.quantise_(net(), DENSE, GOOD, images=0.5), "images must be a whole number"),
    "cycles of a model": (lambda: rf.cycles(net(), PLAN), "network must be a Network"),
    "table as number": (lambda: energy_of(NETWORK, PLAN, 22), "table must be a ComponentTable, the name"),
    "coverage": (lambda: coverage(NETWORK, "plan.json"), "plan must be a Plan"),
    "simulate": (
        lambda: rf.simulate(net(), PLAN, 6),
        r"chosen must be NonIdealities\(...\) or a Hardware, not 6",
    ),
    "saved plan": (lambda: rf.save(net(), "plan.json", "out"), "plan must be a Plan"),
    "saved where": (lambda: rf.save(net(), DENSE, 5), "folder must be a path, not 5"),
    "loaded": (lambda: rf.load_("out", net()), "model must be a torch.nn.Module, not the text 'out'"),
    "loaded run": (lambda: rf.load_run(net()), "path must be a path, not a Sequential"),
    "evaluated": (lambda: rf.evaluate("net", GOOD), "model must be a torch.nn.Module"),
    "onnx": (lambda: write_onnx("net", (3, 8, 8), "x.onnx"), "model must be a torch.nn.Module"),
    "arrays": (lambda: write_arrays(net(), None, "x"), "plan must be a Plan.*not None"),
    "channels": (lambda: channel_plan(net(), NETWORK, ARRAY, 0.5), r"method must be ChannelPruning\(ratio\)"),
    "run on batches": (lambda: rf.run(net(), GOOD, PLAN, out="x"), "data must be a data set: .*LoaderData"),
    "run by a number": (lambda: rf.run(net(), DATA, PLAN, out="x", name=5), "name must be a text, not 5"),
    "run by 3": (lambda: rf.run(net(), DATA, PLAN, 3, out="x"), "recipe must be a Recipe"),
    "notes": (lambda: rf.run(net(), DATA, PLAN, out="x", notes="x"), r"notes must be RunNotes\(...\)"),
    "noise": (lambda: rf.run(net(), DATA, PLAN, out="x", noise=0.1), "noise must be NonIdealities"),
    "model by number": (lambda: rf.load_model(20, 10), "name must be a text, not 20"),
    "images by number": (lambda: rf.load_images(20), "source must be a path, not 20"),
    "zoo image": (lambda: rf.zoo_network("resnet20", 32), r"image \(=32\) must be \(C, H, W\)"),
    "support": (
        lambda: map_layer(NETWORK.layers[0], ARRAY, "best", [1]),
        "support must be an array of",
    ),
    "no classes": (lambda: rf.load_model("resnet20", -3), r"classes \(=-3\) must be 1 or more"),
    "image size": (lambda: rf.load_images("digits", 5), r"image_size \(=5\) must be \(H, W\)"),
    "class names": (lambda: rf.LoaderData(GOOD, GOOD, classes=[1, 2]), "the name of a class must be a text"),
    "half a class": (
        lambda: rf.LoaderData(GOOD, GOOD, classes=2.5),
        "classes must be their number or",
    ),
    "three bits": (lambda: rf.uniform_plan(NETWORK, ARRAY, bits=(4, 4, 4)), "must be one number, or two"),
    "loaded plan": (lambda: rf.Plan.load(5), "path must be a path, not 5"),
    "half a seed": (lambda: rf.best_plan(net(), GOOD, ARRAY, HALF, seed=1.5), "seed must be a whole number"),
    "progress": (
        lambda: rf.best_plan(net(), GOOD, ARRAY, HALF, progress=5),
        "progress.Progress, not 5",
    ),
    "points": (lambda: rf.best_plan(net(), GOOD, ARRAY, max_drop=1), "max_drop=0.01 is one point"),
    "masks": (lambda: rf.cycles(NETWORK, PLAN, masks=5), "masks must be a dictionary of masks by layer"),
    "digital": (
        lambda: rf.simulate(*quantised(), digital="0"),
        "digital must be names of layers",
    ),
    "evaluated on": (lambda: rf.evaluate(net(), None), "data is a NoneType; give an iterable of batches"),
    "hardware": (lambda: rf.hardware(5), "name must be a path, not 5"),
    "another trace": (
        lambda: channel_plan(net(), rf.zoo_network("resnet20"), ARRAY, ChannelPruning(0.5)),
        "the network has no module conv1, which its trace names",
    ),
    "inputs": (lambda: rf.trace(net(), None, inputs=5), "inputs must be the inputs by position or by name"),
    "kind": (lambda: register_kind("kind"), "kind must be a class of layers"),
    "huge image": (lambda: rf.trace(net(), (3, 10**6, 10**6)), "positions, and 67,108,864 are the most"),
    "trace of another": (
        lambda: rf.best_plan(net(), GOOD, ARRAY, HALF, network=rf.trace(Scored(), (3, 8, 8))),
        "network has a layer body.*, which the model does not have; give rf.trace of this very model",
    ),
    "swapped": (lambda: write_csv(NETWORK, "a.csv", PLAN), "path must be a path, not a Network"),
    "plan for other images": (
        lambda: rf.cycles(rf.trace(net(), (3, 16, 16)), PLAN),
        r"the plan is for images of \(3, 8, 8\) \(C, H, W\), the network gets \(3, 16, 16\)",
    ),
    "energy of another": (
        lambda: rf.energy(rf.zoo_network("resnet8"), PLAN),
        "the plan is for another network",
    ),
    "simulated again": (
        lambda: rf.simulate(simulated(), PLAN),
        "lies on simulated arrays already; give the one that simulate was given",
    ),
    "simulated file": (
        lambda: write_onnx(simulated(), (3, 8, 8), "x.onnx"),
        "on simulated arrays already",
    ),
}
FIELDS = {
    "budget nan": (lambda: rf.Budget("cycles", float("nan")), r"amount \(=nan\) must be positive"),
    "budget text": (lambda: rf.Budget("cycles", "60%"), r"Budget.parse\('cycles', '60%'\) reads it"),
    "budget of what": (lambda: rf.Budget("time", 3), "must be one of cycles, arrays, energy"),
    "budget share": (lambda: rf.Budget("cycles", 0.4, "yes"), "share must be True or False"),
    "rows": (lambda: rf.ArraySpec(True, 32), r"array rows \(=True\) must be a whole number from 1"),
    "columns": (lambda: rf.ArraySpec(32, "32"), r"array columns \(='32'\) must be a whole number from 1"),
    "no groups": (lambda: rf.LowRank(rank=2, groups=0, fit=True), r"groups \(=0\) must be 1 or more"),
    "noise": (lambda: rf.Hardware(array=ARRAY, noise=0.1), r"noise \(=0.1\) must be NonIdealities"),
    "budget of 3": (lambda: rf.Budget.parse(3, "4"), "the quantity of a budget must be a text, not 3"),
    "budget parsed": (lambda: rf.Budget.parse("cycles", 5000), "budget of cycles must be a text, not 5000"),
    "rule": (lambda: LayerRule(None, True), "LayerRule pattern must be a text, not None"),
    "rule without": (lambda: LayerRule("a", "no"), "LayerRule include must be True or False"),
    "rank": (lambda: rf.LowRank(rank=2.5), "LowRank rank must be a whole number or a fraction"),
    "groups": (lambda: rf.LowRank(rank=2, groups="4"), "LowRank groups must be a whole number, not the"),
    "rules": (lambda: rf.LowRank(rank=2, include_exclude=("a",)), r"must be a LayerRule\(pattern, include\)"),
    "entries": (lambda: PatDNN("4"), "PatDNN entries must be a whole number"),
    "half entries": (lambda: Pairs(4.5), "Pairs entries must be a whole number"),
    "pointwise": (lambda: Quantise(pointwise=1), "Quantise pointwise must be True or False, not 1"),
    "rate": (lambda: rf.Recipe(peak_rate="0.1"), "Recipe peak_rate must be a number, not the text '0.1'"),
    "compiled": (lambda: rf.Recipe(compiled=1), "Recipe compiled must be True or False"),
    "shape": (
        lambda: ConvShape("a", 3, 4, 3, 8),
        r"layer a: kernel must be a pair of numbers \(vertical, horizontal\), not 3",
    ),
    "name": (lambda: ConvShape(5, 3, 4, (3, 3), (8, 8)), "ConvShape name must be a text, not 5"),
    "plan": (lambda: rf.Plan("x", 5, ARRAY, PLAN.layers), r"image \(=5\) must be \(C, H, W\)"),
    "layers": (lambda: rf.Plan("x", (3, 8, 8), ARRAY, (1,)), "Plan layers must be a LayerPlan, not 1"),
    "compensation": (lambda: rf.NonIdealities(drift_compensation="yes"), "must be True or False"),
    "command": (lambda: RunNotes(5), "RunNotes command must be a text"),
}
BATCHES = {
    "channels": (
        lambda: compressed(images(8, 5, 8, 8)),
        r"fails on a batch of \(8, 5, 8, 8\) float32",
    ),
    "what the plan is for": (
        lambda: compressed(images(8, 5, 8, 8)),
        r"plan is for images of \(3, 8, 8\)",
    ),
    "type": (lambda: compressed(images(8, 3, 8, 8, dtype=torch.float64)), r"\(8, 3, 8, 8\) float64"),
    "no batch": (lambda: compressed(images(3, 8, 8)), r"that of one image \(C, H, W\); give batches"),
    "quantise": (lambda: rf.quantise_(net(), DENSE, [images(8, 5, 8, 8)]), "the plan is for images"),
    "calibration": (
        lambda: rf.simulate(*quantised(), rf.NonIdealities(adc_bits=6), calibration=[images(8, 5, 8, 8)]),
        "layer 0: an input of 5 channels; its arrays take 3; the plan is for images",
    ),
    "evaluation": (
        lambda: rf.evaluate(net(), [*GOOD, (images(8, 5, 8, 8), CLASSES)]),
        r"batch 2 of the data, inputs of \(8, 5, 8, 8\) float32",
    ),
    "outputs by name": (lambda: rf.evaluate(Scored(), GOOD), "gives a dict; accuracy needs scores"),
    "planes": (lambda: rf.evaluate(net()[:3], GOOD), r"gives \(8, 8, 8, 8\) for 8 samples"),
    "targets": (lambda: rf.evaluate(net(2), GOOD), "the class 3, and the network 2 classes"),
    "planned targets": (
        lambda: rf.best_plan(net(2), GOOD * 300, ARRAY, max_drop=0.5, images=8),
        "the class 3, and the network 2 classes",
    ),
}


@pytest.mark.parametrize(("act", "match"), TYPES.values(), ids=TYPES)
def test_arguments_of_a_wrong_type(act, match, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(rf.InputError, match=match) as caught:
        act()
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())  # nothing was written


@pytest.mark.parametrize(("make", "match"), FIELDS.values(), ids=FIELDS)
def test_fields_of_a_wrong_type(make, match):
    with pytest.raises(rf.InputError, match=match):
        make()


@pytest.mark.parametrize(("act", "match"), BATCHES.values(), ids=BATCHES)
def test_batches_that_a_network_does_not_take(act, match):
    with pytest.raises(rf.InputError, match=match) as caught:
        act()
    assert "\n" not in str(caught.value)


def pairs_that_do_not_belong_together():
    other = rf.uniform_plan(NETWORK, ARRAY, rf.LowRank(groups=1, rank=2), bits=4)
    model, plan = quantised()
    layers = {layer.name: layer for layer in plan.layers}
    settled = other.with_signs(dict.fromkeys(layers, False))
    return {
        "another rank": (model, settled, "is not g1 r2, as the plan says"),
        "dense": (net(), plan, r"layer 2 of the network is not .*call compress_"),
        "not quantised": (net(), quantised(DENSE)[1], "layer 0 is not quantised .* call quantise_ first"),
        "a float plan": (model, replace(plan, layers=rename(layers, "other")), "names layer other"),
        "other bits": (model, bits(plan, 3), "has weights and inputs of 4 and 4 bits, the plan says 3 and 3"),
        "other signs": (model, signs(plan), "input_signed is True in the plan and False in the network"),
        "open signs": (model, PLAN, r"input_signed is open.*quantise_\(model, plan, data\)"),
    }


def rename(layers, name):
    first, *others = layers.values()
    return (replace(first, name=name), *others)


def bits(plan, width):
    changed = [replace(plan.layers[1], weight_bits=width, input_bits=width)]
    return replace(plan, layers=(plan.layers[0], *changed, *plan.layers[2:]))


def signs(plan):
    changed = replace(plan.layers[1], input_signed=True)
    return replace(plan, layers=(plan.layers[0], changed, *plan.layers[2:]))


PAIRS = pairs_that_do_not_belong_together()


@pytest.mark.parametrize(("model", "plan", "match"), PAIRS.values(), ids=PAIRS)
def test_a_network_is_not_saved_with_the_plan_of_another(model, plan, match, tmp_path):
    with pytest.raises(rf.InputError, match=match):
        rf.save(model, plan, tmp_path / "out")
    assert not list(tmp_path.iterdir())


def test_a_layer_with_hooks_is_not_taken_for_what_the_plan_makes_of_it(tmp_path):
    model = net()
    model[2].register_forward_hook(lambda *_: None)
    with pytest.raises(rf.InputError, match="layer 2 of the network is not g2 r2, as the plan says"):
        rf.quantise_(model, PLAN, GOOD)
    with pytest.raises(rf.InputError, match="layer 2 of the network is not g2 r2, as the plan says"):
        rf.save(model, quantised()[1], tmp_path / "out")


def test_a_network_is_not_quantised_twice_or_by_another_plan():
    model, plan = quantised()
    with pytest.raises(rf.InputError, match="layer 0 is quantised already"):
        rf.quantise_(model, plan, GOOD)
    with pytest.raises(rf.InputError, match="layer 2 of the network is not"):
        rf.quantise_(net(), PLAN, GOOD)


def test_what_is_shown_of_a_value():
    assert shown("x" * 100) == f"the text {'x' * LONGEST + '...'!r}"
    assert [shown(value) for value in (None, 5, [1], net(), Path("a"))] == [
        "None",
        "5",
        "a list",
        "a Sequential",
        "the path 'a'",
    ]
    assert shown(iter({}.items())) == "a dict_itemiterator" and shown(OSError()) == "an OSError"


def test_numbers_of_numpy_are_numbers_and_truth_values_are_none():
    WHOLE.check("n", torch.arange(3).numpy()[1])
    with pytest.raises(rf.InputError, match="n must be a whole number, not True"):
        WHOLE.check("n", True)
    Wanted("a list", list).or_none.check("n", None)


NUMPY = {
    "array": lambda n: rf.ArraySpec(n(64), n(64), cell_bits=n(2), dac_bits=n(1), rows_driven=n(8)),
    "noise": lambda n: rf.NonIdealities(adc_bits=n(5), adc_range=n(3)),
    "recipe": lambda n: rf.Recipe(epochs=n(3), batch_size=n(64), seed=n(1), peak_rate=n(1)),
    "low-rank": lambda n: rf.LowRank(groups=n(2), rank=n(4)),
    "pattern": lambda n: PatDNN(n(4)),
    "budget": lambda n: rf.Budget("cycles", n(200)),
    "chip": lambda n: Chip(ARRAY, n(4)),
    "shape": lambda n: ConvShape("a", n(3), n(4), (n(3), n(3)), (n(8), n(8)), padding=(n(1),) * 4),
    "plan": lambda n: rf.uniform_plan(NETWORK, ARRAY, bits=n(4)),
    "hardware": lambda n: replace(DEFAULT_HARDWARE, adc_bits=n(6), mux=n(4)),
}


@pytest.mark.parametrize("make", NUMPY.values(), ids=NUMPY)
@pytest.mark.parametrize("number", [np.int64, np.uint8])
def test_numbers_of_numpy_become_pythons(make, number):
    """The same record, which is shown and kept alike."""
    assert repr(make(number)) == repr(make(int))


def test_shares_of_numpy_become_pythons():
    noise = rf.NonIdealities(program_noise=np.float32(0.5), stuck=np.float64(0.25))
    assert repr(noise) == repr(rf.NonIdealities(program_noise=0.5, stuck=0.25))


def test_a_plan_with_numbers_of_numpy_is_saved_and_read(tmp_path):
    plan = rf.uniform_plan(NETWORK, ARRAY, rf.LowRank(groups=np.int64(2), rank=np.int64(2)), bits=np.int64(4))
    model, ready = quantised(plan)
    rf.save(model, ready, tmp_path / "out")
    assert rf.load_(net(), tmp_path / "out") == ready


def test_python_itself_complains_of_arguments_that_are_not_there():
    @takes(name=TEXT)
    def verb(name, *, size=1):
        return name, size

    assert verb("a", size=3) == ("a", 3)
    with pytest.raises(TypeError, match="takes 1 positional argument"):
        verb("a", "b")
    with pytest.raises(TypeError, match="missing 1 required"):
        verb()
