"""Folders of `save`, made in somebody's own loop, are taken by the commands that take folders of runs."""

import json

import pytest
import torch
from torch import nn

import rankfold as rf
from common.little_network import net
from common.two_inputs import batches, inputs
from common.two_inputs import net as two_inputs
from rankfold.cli.main import main
from rankfold.plan import SharedSupport
from rankfold.training.data import load_images

FACTORY = "common.little_network:net"


@pytest.fixture(scope="module")
def data(image_cache):
    return load_images("digits")


@pytest.fixture(scope="module")
def saved(data, tmp_path_factory):
    """A trained network of an unknown name, its folder, and the digits that it gets right."""
    torch.manual_seed(0)
    model = net()
    plan = rf.uniform_plan(rf.trace(model, data.input_size), rf.ArraySpec(32, 32), SharedSupport(4), bits=4)
    rf.compress_(model, plan, data)
    plan = rf.quantise_(model, plan, data)
    optimiser = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    recipe = rf.Recipe(epochs=1, batch_size=64, augment="none")
    for x, y in data.training_batches(recipe, torch.device("cpu")).epoch():
        optimiser.zero_grad()
        nn.functional.cross_entropy(model(x), y).backward()
        optimiser.step()
    folder = tmp_path_factory.mktemp("saved") / "mine"
    rf.save(model, plan, folder)
    return str(folder), rf.cycles(rf.trace(net(), data.input_size), plan), rf.evaluate(model, data)


def answer(capsys, *words):
    assert main(list(words)) == 0
    return json.loads(capsys.readouterr().out)


def test_its_cycles_and_energy_are_counted(saved, capsys):
    folder, counted, _ = saved
    mapped = answer(capsys, "map", folder, "--model", FACTORY, "--json")
    assert mapped["total"]["planned_cycles"] == counted.chosen_cycles
    priced = answer(capsys, "energy", folder, "--model", FACTORY, "--json")
    assert priced["total"]["energy_pj"] > 0


def test_it_is_evaluated_and_simulated(saved, capsys):
    folder, _, accuracy = saved
    shown = answer(capsys, "evaluate", folder, "--model", FACTORY, "--data", "digits", "--json")
    assert shown["accuracy"] == accuracy and shown["reported"] is None
    assert main(["evaluate", folder, "--model", FACTORY, "--data", "digits"]) == 0
    assert capsys.readouterr().out == f"test accuracy {accuracy:.2%} on {shown['images']} images\n"
    few = ["--images", "40", "--repeats", "1", "--layer-images", "0", "--json"]
    chips = answer(capsys, "simulate", folder, "--model", FACTORY, "--data", "digits", *few)
    assert chips["images"] == 40 and chips["ideal"] == chips["mean"]


@pytest.mark.parametrize("target", ["arrays", "dense"])
def test_it_is_exported(saved, target, tmp_path, capsys):
    out = str(tmp_path / "out.safetensors")
    assert main(["export", saved[0], "--model", FACTORY, "--to", target, "--out", out]) == 0
    assert FACTORY in capsys.readouterr().out


@pytest.mark.parametrize("command", ["map", "evaluate"])
def test_without_a_factory_it_is_said_what_to_do(saved, command, capsys):
    words = [command, saved[0]]
    if command == "evaluate":
        words += ["--data", "digits"]
    assert main(words) == 2
    told = capsys.readouterr().err
    assert "cannot be built by its name, network" in told and "--model package.module:factory" in told


def test_another_network_and_other_data_are_refused(saved, capsys):
    folder, _, _ = saved
    assert main(["map", folder, "--model", "common.small_network:net"]) == 2
    assert "layer" in capsys.readouterr().err
    assert main(["map", "resnet20", "--model", FACTORY]) == 2
    assert "--model says what builds the network of a folder" in capsys.readouterr().err


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")  # of torch.export
def test_a_network_of_several_inputs_is_mapped_and_exported(tmp_path, capsys):
    model = two_inputs()
    plan = rf.uniform_plan(rf.trace(model, None, inputs=inputs(1)), rf.ArraySpec(32, 32), bits=4)
    rf.compress_(model, plan, batches())
    rf.save(model, rf.quantise_(model, plan, batches()), tmp_path / "two")
    words = [str(tmp_path / "two"), "--model", "common.two_inputs:net"]
    assert answer(capsys, "map", *words, "--json")["total"]["planned_cycles"] > 0
    assert main(["export", *words, "--to", "onnx", "--out", str(tmp_path / "two.onnx")]) == 0
    assert "choose the same class on 256 of 256" in capsys.readouterr().out
    assert main(["export", *words, "--to", "csv", "--out", str(tmp_path / "two.csv")]) == 0
