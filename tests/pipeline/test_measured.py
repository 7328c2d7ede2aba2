"""The accuracy of plans before fine-tuning, measured on the arrays."""

import copy
from dataclasses import replace

import pytest
import torch
from small_network import net

from rankfold.calibration.batch_norm import reestimate_batch_norm_
from rankfold.calibration.moments import patch_moments
from rankfold.calibration.quantisers import calibrate_
from rankfold.calibration.signs import observe_signs
from rankfold.cost.energy import find_table
from rankfold.errors import InputError
from rankfold.mapping import ArraySpec
from rankfold.models.load import apply_weights, read_weights
from rankfold.plan import LayerPlan, uniform_plan, weights
from rankfold.planning.accuracy import MeasureSettings, PlanAccuracy
from rankfold.planning.exact import LayerChoices
from rankfold.planning.exact.costing import Costing
from rankfold.planning.search.outcome import SearchSettings
from rankfold.planning.search.search import search_plans
from rankfold.runs.compress import MOMENT_IMAGES, calibration_batches
from rankfold.simulator import ArrayNonIdealities, program_, simulate
from rankfold.surgery.compress import compress_, compress_on_data_, open_signs, quantise_by_plan_
from rankfold.surgery.supports import with_supports
from rankfold.training.data import load_images
from rankfold.training.loop import evaluate
from rankfold.workload import trace

CPU = torch.device("cpu")
NOISE = ArrayNonIdealities(adc_bits=5, program_noise=0.08)
NAMES = ["0", "2", "5"]


@pytest.fixture(scope="module")
def digits(image_cache):
    return load_images("digits")


@pytest.fixture(scope="module")
def model(weights):
    """A bias with no norm behind it, a norm behind a layer without a bias, and both together."""
    model = net()
    apply_weights(model, read_weights(weights), str(weights))
    return model.eval()


@pytest.fixture(scope="module")
def network(model, digits):
    return trace(model, digits.input_size, "net")


@pytest.fixture(scope="module")
def moments(model, digits):
    return patch_moments(model, calibration_batches(digits, CPU, 3, MOMENT_IMAGES), NAMES)


def plan_of(network, groups, rank, bits=4, **changes):
    """A uniform plan, in which the layers named `conv` + their number become something else."""
    plan = uniform_plan(network, ArraySpec(32, 32, cell_bits=2), groups, rank, bits)
    layers = (changes.get(f"conv{layer.name}", layer) for layer in plan.layers)
    return replace(plan, layers=tuple(layers))


def mixed_plan(network, bits=4):
    """Pruned to a support, low-rank, and low-rank on a support."""
    signed = {"weight_bits": bits, "input_bits": bits}
    first = LayerPlan("0", "pattern-pruned", pruning="support", entries=5, steering="plain", **signed)
    last = LayerPlan("5", "low-rank", 2, 8, entries=5, **signed)
    return plan_of(network, 1, 6, bits, conv0=first, conv5=last)


@pytest.mark.parametrize("noise", [ArrayNonIdealities(), NOISE], ids=["ideal", "noisy"])
def test_as_when_each_step_is_done_by_hand(model, digits, network, moments, noise):
    plan = mixed_plan(network)
    measure = PlanAccuracy(model, digits, CPU, MeasureSettings(100, 2, noise, seed=3), moments)

    def batches(images=500):
        return calibration_batches(digits, CPU, 3, images)

    by_hand = copy.deepcopy(model)
    compress_on_data_(by_hand, plan, lambda: batches(MOMENT_IMAGES))
    reestimate_batch_norm_(by_hand, batches())
    names = open_signs(plan)
    seen = observe_signs(by_hand, batches(), names.values())
    signed = plan.with_signs({name: seen[module] for name, module in names.items()})
    quantise_by_plan_(by_hand, signed)
    calibrate_(by_hand, batches())
    reestimate_batch_norm_(by_hand, batches())
    images = digits.train.sample(100, 3, skip=MOMENT_IMAGES)
    if noise.ideal:
        wanted = evaluate(by_hand, images, digits, CPU)
    else:
        arrays = simulate(by_hand, signed, noise, calibration=batches(250), seed=3)
        each = []
        for seed in (3, 4):
            program_(arrays, seed)
            each.append(evaluate(arrays, images, digits, CPU))
        assert each[0] != each[1]
        wanted = sum(each) / 2
    before = {name: value.clone() for name, value in model.state_dict().items()}
    assert measure(plan) == wanted
    assert measure(plan_of(network, 2, 2)) != wanted
    assert measure(plan) == wanted  # whatever was measured between
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert not model.training


def test_the_network_is_that_of_compress(model, digits, network, moments):
    """Every output, not only the class: biases too, where no norm follows."""
    plan = mixed_plan(network, None)
    by_hand = copy.deepcopy(model)
    compress_on_data_(by_hand, plan, lambda: calibration_batches(digits, CPU, 3, MOMENT_IMAGES))
    (x,) = calibration_batches(digits, CPU, 9, 100)
    measure = PlanAccuracy(model, digits, CPU, MeasureSettings(100, seed=3), moments)
    made = measure.compressed(plan)
    for network_ in (by_hand, made):
        reestimate_batch_norm_(network_, [x])
    with torch.no_grad():
        torch.testing.assert_close(made(x), by_hand(x), rtol=0, atol=1e-5)
    assert (made[0].bias != model[0].bias).any()


def test_float_plans_from_better_to_worse(model, digits, network, moments):
    measure = PlanAccuracy(model, digits, CPU, MeasureSettings(400, seed=3), moments)
    dense = measure(plan_of(network, None, None, None))
    assert dense == evaluate(model, digits.train.sample(400, 3, skip=MOMENT_IMAGES), digits, CPU) > 0.9
    most, least = measure(plan_of(network, 1, "1/2", None)), measure(plan_of(network, 2, 1, None))
    assert least < most - 0.1
    assert most > dense - 0.1


def test_patterns_are_chosen_for_all_layers_together(model, digits, network):
    pruned = [LayerPlan(name, "pattern-pruned", pruning="patdnn", entries=4, steering="plain") for name in NAMES]
    plan = plan_of(network, None, None, None, conv2=pruned[1], conv5=pruned[2])
    by_hand = copy.deepcopy(model)
    compress_(by_hand, plan)
    reestimate_batch_norm_(by_hand, calibration_batches(digits, CPU, 0, 500))
    wanted = evaluate(by_hand, digits.train.sample(400, 0, skip=MOMENT_IMAGES), digits, CPU)
    assert PlanAccuracy(model, digits, CPU, MeasureSettings(400))(plan) == wanted


def test_a_search_on_noisy_arrays(model, digits, network, moments, tmp_path):
    """From uniform plans: what is found is no worse than any of them, and its accuracies are those measured."""
    measure = PlanAccuracy(model, digits, CPU, MeasureSettings(60, 1, NOISE, seed=3), moments)
    mixed = mixed_plan(network)
    plans = [plan_of(network, None, None), plan_of(network, 2, 4), with_supports(mixed, measure.compressed(mixed))]
    costing = Costing.of(network, plans[0], find_table(None, plans[0].array))
    rows = [[costing.candidate(layer) for layer in plan.layers] for plan in plans]
    choices = [
        LayerChoices(shape, each[0], tuple(dict.fromkeys(each)))
        for shape, each in zip(weights(network).values(), zip(*rows, strict=True), strict=True)
    ]

    def accuracy(chosen):
        return measure(replace(plans[0], layers=tuple(one.entry for one in chosen)))

    settings = SearchSettings(4, tmp_path / "study.log")
    found = search_plans(choices, accuracy, rows, settings, identity=measure.identity)
    assert [plan.accuracy for plan in found.starts] == [measure(plan) for plan in plans]
    assert all(found.most_accurate(start.cycles).accuracy >= start.accuracy for start in found.starts)
    assert all(plan.accuracy == accuracy(plan.chosen) for plan in found.front)
    other = PlanAccuracy(model, digits, CPU, replace(measure.settings, noise=replace(NOISE, adc_bits=6)), moments)
    with pytest.raises(InputError, match="holds another search"):
        search_plans(choices, accuracy, rows, settings, identity=other.identity)


def test_what_accuracies_depend_on(model, digits, moments):
    """Not the last digits of the moments, which differ from machine to machine."""
    known = PlanAccuracy(model, digits, CPU, MeasureSettings(seed=3), moments).identity
    near = {name: replace(each, second=each.second * (1 + 1e-12)) for name, each in moments.items()}
    assert PlanAccuracy(copy.deepcopy(model), digits, CPU, MeasureSettings(seed=3), near).identity == known
    changed = copy.deepcopy(model)
    changed[0].bias.data[0] += 1e-6
    for one, data, settings, each in (
        (changed, digits, MeasureSettings(seed=3), moments),
        (model, replace(digits, digest="other"), MeasureSettings(seed=3), moments),
        (model, digits, MeasureSettings(seed=3, images=9), moments),
        (model, digits, MeasureSettings(seed=3), {"0": moments["0"]}),
    ):
        assert PlanAccuracy(one, data, CPU, settings, each).identity != known


@pytest.mark.parametrize("calibrated, skipped", [(MOMENT_IMAGES, MOMENT_IMAGES), (700, 700), (64, 500)])
def test_held_out_images_are_not_those_of_calibration(model, digits, calibrated, skipped):
    held_out = PlanAccuracy(model, digits, CPU, MeasureSettings(10**6, seed=5, calibrated=calibrated)).held_out
    first = digits.train.sample(skipped, 5)
    both = sorted(image.tobytes() for split in (first, held_out) for image in split.images)
    assert both == sorted(image.tobytes() for image in digits.train.images)


def test_wrong_measurements_are_refused(model, digits, network):
    with pytest.raises(InputError, match="gives no layer bits, and arrays compute with integers"):
        PlanAccuracy(model, digits, CPU, MeasureSettings(50, 1, NOISE))(plan_of(network, 1, "1/4", None))
    few = replace(digits, train=digits.train.sample(MOMENT_IMAGES, 0))
    with pytest.raises(InputError, match="512 training images, all of which are needed for calibration; none is left"):
        PlanAccuracy(model, few, CPU, MeasureSettings())(plan_of(network, 1, "1/4"))
    for wrong in ({"images": 0}, {"chips": 0}, {"seed": -1}, {"calibrated": -1}):
        with pytest.raises(InputError, match=r"must be [01] or more"):
            MeasureSettings(**wrong)
