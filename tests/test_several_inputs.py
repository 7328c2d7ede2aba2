"""Every verb takes networks of several inputs, by position or by name, with numbers among them."""

import importlib.util
import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import rankfold as rf
from common.two_inputs import batches, inputs, net
from rankfold.calibration.samples import call
from rankfold.export.array_images.images import write_arrays
from rankfold.workload import InputSpec

spec = importlib.util.spec_from_file_location(
    "run_arrays", Path(__file__).parents[1] / "examples" / "run_arrays.py"
)
run_arrays = importlib.util.module_from_spec(spec)
spec.loader.exec_module(run_arrays)

NAME = "common.two_inputs:net"
ARRAY = rf.ArraySpec(32, 32, cell_bits=2, dac_bits=1)


@pytest.fixture(scope="module", params=[False, True], ids=["by position", "by name"])
def by_name(request):
    return request.param


@pytest.fixture(scope="module")
def plan(by_name):
    network = rf.trace(net(), None, NAME, inputs(1, by_name))
    return rf.uniform_plan(network, ARRAY, rf.LowRank(groups=2, rank=4), bits=4)


@pytest.fixture(scope="module")
def quantised(plan, by_name):
    model = net()
    rf.compress_(model, plan, batches(by_name))
    return model.eval(), rf.quantise_(model, plan, batches(by_name))


def test_a_plan_says_how_its_network_is_called(plan, by_name, tmp_path):
    image, depth, scale = plan.inputs
    assert (image.shape, depth.shape, scale.value) == ((1, 3, 8, 8), (1, 1, 8, 8), 0.5)
    assert [spec.name for spec in plan.inputs] == (["image", "depth", "scale"] if by_name else ["", "", ""])
    plan.save(tmp_path / "plan.json")
    assert rf.Plan.load(tmp_path / "plan.json") == plan


def test_a_network_of_one_image_says_nothing_of_it():
    model = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3))
    by_size, by_batch = rf.trace(model, (3, 8, 8)), rf.trace(model, None, inputs=(torch.zeros(1, 3, 8, 8),))
    assert by_size == by_batch and by_size.inputs == ()
    assert "inputs" not in rf.uniform_plan(by_size, ARRAY).to_json()


@pytest.mark.filterwarnings("ignore::FutureWarning")  # of torch.export
def test_ideal_arrays_and_their_images_give_what_the_network_gives(quantised, by_name, tmp_path):
    model, plan = quantised
    x = inputs(8, by_name, seed=5)
    exact = rf.simulate(model, plan)
    noisy = rf.simulate(
        model, plan, rf.NonIdealities(adc_bits=6, program_noise=0.05), calibration=batches(by_name)
    )
    write_arrays(model, plan, tmp_path / "arrays")
    read = run_arrays.Network(tmp_path / "arrays")
    given = x.values() if by_name else x
    with torch.no_grad():
        wanted = call(model, x)
        assert torch.allclose(call(exact, x), wanted, atol=1e-5)
        assert not torch.allclose(call(noisy, x), wanted, atol=1e-3)
    found = read(*[values for values in given if isinstance(values, torch.Tensor)])
    assert torch.allclose(torch.from_numpy(found).float(), wanted, atol=1e-4)


def test_a_run_with_noise_is_loaded_and_simulated(plan, by_name, tmp_path):
    data = rf.LoaderData(batches(by_name), batches(by_name))
    bare = replace(plan, inputs=())  # of shapes alone, as somebody may have written it
    recipe = rf.Recipe(epochs=1, precision="float32")
    noise = rf.NonIdealities(adc_bits=6)
    result = rf.run(net(), data, bare, recipe, out=tmp_path / "run", name=NAME, noise=noise, device="cpu")
    model, loaded, _ = rf.load_run(tmp_path / "run", trust_code=True)
    assert loaded.inputs == plan.inputs
    assert rf.evaluate(model, data) == result.accuracy.final
    given, _, _ = rf.load_run(tmp_path / "run", model=net())
    assert rf.evaluate(rf.simulate(given, loaded), data) == result.accuracy.final


def test_inputs_that_no_plan_holds_are_refused_where_they_are_needed(plan, quantised):
    model, _ = quantised
    odd = replace(plan, inputs=(*plan.inputs[:-1], InputSpec(plan.inputs[-1].name, other="Generator")))
    with pytest.raises(rf.InputError, match="as a Generator, of which a plan can hold nothing"):
        rf.simulate(model, replace(odd, layers=quantised[1].layers))


@pytest.mark.parametrize(
    ("entry", "match"),
    [
        ({"name": "x", "shape": [1 << 40]}, "at most 268,435,456 elements"),
        ({"shape": [1, 3]}, "must all have a name, or none"),
        ({"name": "x", "dtype": "nothing"}, "nothing"),
    ],
)
def test_wrong_inputs_in_a_plan_file_are_refused(entry, match):
    network = rf.trace(net(), None, NAME, inputs(1, by_name=True))
    content = json.loads(json.dumps(rf.uniform_plan(network, ARRAY).to_json()))
    content["inputs"][0] = entry
    with pytest.raises(rf.InputError, match=match):
        rf.Plan.from_json(content)
