"""The accuracy of plans before fine-tuning, measured on the arrays."""

import copy
from dataclasses import replace

import pytest
import torch

from rankfold.calibration.batch_norm import reestimate_batch_norm_
from rankfold.calibration.layer_moments import patch_moments
from rankfold.calibration.samples import MOMENT_IMAGES
from rankfold.cost.energy import find_table
from rankfold.errors import InputError
from rankfold.mapping import ArraySpec
from rankfold.plan import (
    LayerPlan,
    LowRank,
    LowRankLayer,
    PatDNNLayer,
    SupportLayer,
    uniform_plan,
    weights,
)
from rankfold.planning.accuracy import MeasureSettings, PlanAccuracy
from rankfold.planning.data import planning_data
from rankfold.planning.exact import LayerChoices
from rankfold.planning.exact.costing import Costing
from rankfold.planning.search.search import search_plans
from rankfold.planning.search.settings import SearchSettings
from rankfold.simulator import NonIdealities, program_, simulate
from rankfold.surgery.compress import compress_
from rankfold.surgery.quantise import quantise_
from rankfold.surgery.supports import with_supports
from rankfold.training.accuracy import accuracy_on_split
from rankfold.training.calibration import CalibrationImages
from rankfold.workload import trace

CPU = torch.device("cpu")
ARRAY = ArraySpec(32, 32, cell_bits=2)
NOISE = NonIdealities(adc_bits=5, program_noise=0.08)
NAMES = ["0", "2", "5"]


@pytest.fixture(scope="module")
def network(model, digits):
    return trace(model, digits.input_size, "net")


@pytest.fixture(scope="module")
def moments(model, digits):
    return patch_moments(model, CalibrationImages(digits, CPU, 3, MOMENT_IMAGES), NAMES)


def measure_of(model, data, settings, moments=None):
    return PlanAccuracy(model, planning_data(data, CPU), settings, moments)


def dense_plan(network, bits=4):
    return uniform_plan(network, ARRAY, bits=bits)


def low_rank_plan(network, groups, rank, bits=4):
    return uniform_plan(network, ARRAY, LowRank(groups=groups, rank=rank, force=True), bits=bits)


def with_kinds(plan, **kinds):
    """The plan in which the layers named `conv` + their number become something else."""
    layers = []
    for layer in plan.layers:
        kind = kinds.get(f"conv{layer.name}")
        if kind is not None:
            layer = LayerPlan(
                layer.name, kind, weight_bits=plan.layers[1].weight_bits, input_bits=plan.layers[1].input_bits
            )
        layers.append(layer)
    return replace(plan, layers=tuple(layers))


def mixed_plan(network, bits=4):
    """Pruned to a support, low-rank, and low-rank on a support."""
    plan = low_rank_plan(network, 1, 6, bits)
    return with_kinds(plan, conv0=SupportLayer(5), conv5=LowRankLayer(2, 8, entries=5))


@pytest.mark.parametrize("noise", [NonIdealities(), NOISE], ids=["ideal", "noisy"])
def test_as_when_each_step_is_done_by_hand(model, digits, network, moments, noise):
    plan = mixed_plan(network)
    measure = measure_of(model, digits, MeasureSettings(100, 2, noise, seed=3), moments)

    def batches(images=500):
        return CalibrationImages(digits, CPU, 3, images)

    by_hand = copy.deepcopy(model)
    compress_(by_hand, plan, batches(MOMENT_IMAGES), images=MOMENT_IMAGES)
    signed = quantise_(by_hand, plan, batches(), images=500)
    images = digits.train.sample(100, 3, skip=MOMENT_IMAGES)
    if noise.ideal:
        wanted = accuracy_on_split(by_hand, images, digits, CPU)
    else:
        arrays = simulate(by_hand, signed, noise, calibration=batches(250), seed=3)
        each = []
        for seed in (3, 4):
            program_(arrays, seed)
            each.append(accuracy_on_split(arrays, images, digits, CPU))
        assert each[0] != each[1]
        wanted = sum(each) / 2
    before = {name: value.clone() for name, value in model.state_dict().items()}
    assert measure(plan) == wanted
    assert measure(low_rank_plan(network, 2, 2)) != wanted
    assert measure(plan) == wanted  # whatever was measured between
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert not model.training


def test_the_network_is_that_of_compress(model, digits, network, moments):
    """Every output, not only the class: biases too, where no norm follows."""
    plan = mixed_plan(network, None)
    by_hand = copy.deepcopy(model)
    compress_(by_hand, plan, CalibrationImages(digits, CPU, 3, MOMENT_IMAGES), images=MOMENT_IMAGES)
    (x,) = CalibrationImages(digits, CPU, 9, 100)
    made = measure_of(model, digits, MeasureSettings(100, seed=3), moments).compressed(plan)
    for one in (by_hand, made):
        reestimate_batch_norm_(one, [x])
    with torch.no_grad():
        torch.testing.assert_close(made(x), by_hand(x), rtol=0, atol=1e-5)
    assert (made[0].bias != model[0].bias).any()


def test_float_plans_from_better_to_worse(model, digits, network, moments):
    measure = measure_of(model, digits, MeasureSettings(400, seed=3), moments)
    dense = measure(dense_plan(network, None))
    assert (
        dense == accuracy_on_split(model, digits.train.sample(400, 3, skip=MOMENT_IMAGES), digits, CPU) > 0.9
    )
    most = measure(low_rank_plan(network, 1, "1/2", None))
    least = measure(low_rank_plan(network, 2, 1, None))
    assert least < most - 0.1
    assert most > dense - 0.1


def test_patterns_are_chosen_for_all_layers_together(model, digits, network):
    plan = with_kinds(dense_plan(network, None), conv2=PatDNNLayer(4), conv5=PatDNNLayer(4))
    by_hand = copy.deepcopy(model)
    compress_(by_hand, plan)
    reestimate_batch_norm_(by_hand, CalibrationImages(digits, CPU, 0, 500))
    wanted = accuracy_on_split(by_hand, digits.train.sample(400, 0, skip=MOMENT_IMAGES), digits, CPU)
    assert measure_of(model, digits, MeasureSettings(400))(plan) == wanted


def test_a_search_on_noisy_arrays(model, digits, network, moments, tmp_path):
    """From uniform plans: what is found is no worse than any of them, and is as accurate as measured."""
    measure = measure_of(model, digits, MeasureSettings(60, 1, NOISE, seed=3), moments)
    mixed = mixed_plan(network)
    plans = [
        dense_plan(network),
        low_rank_plan(network, 2, 4),
        with_supports(mixed, measure.compressed(mixed)),
    ]
    costing = Costing.of(network, plans[0], find_table(None, ARRAY))
    rows = []
    for plan in plans:
        rows.append([costing.candidate(layer) for layer in plan.layers])
    choices = []
    for shape, each in zip(weights(network).values(), zip(*rows, strict=True), strict=True):
        choices.append(LayerChoices(shape, each[0], tuple(dict.fromkeys(each))))

    def accuracy(chosen):
        return measure(replace(plans[0], layers=tuple(one.entry for one in chosen)))

    settings = SearchSettings(4, tmp_path / "study.log")
    result = search_plans(choices, accuracy, rows, settings, identity=measure.identity)
    assert [plan.accuracy for plan in result.starts] == [measure(plan) for plan in plans]
    for start in result.starts:
        assert result.most_accurate(start.cycles).accuracy >= start.accuracy
    assert all(plan.accuracy == accuracy(plan.chosen) for plan in result.front)
    noise = replace(NOISE, adc_bits=6)
    other = measure_of(model, digits, replace(measure.settings, noise=noise), moments)
    with pytest.raises(InputError, match="holds another search"):
        search_plans(choices, accuracy, rows, settings, identity=other.identity)


def test_what_accuracies_depend_on(model, digits, moments):
    """Not the last digits of the moments, which differ from machine to machine."""
    settings = MeasureSettings(seed=3)
    known = measure_of(model, digits, settings, moments).identity
    near = {name: replace(each, second=each.second * (1 + 1e-12)) for name, each in moments.items()}
    assert measure_of(copy.deepcopy(model), digits, settings, near).identity == known
    changed = copy.deepcopy(model)
    changed[0].bias.data[0] += 1e-6
    for other in (
        measure_of(changed, digits, settings, moments),
        measure_of(model, replace(digits, digest="other"), settings, moments),
        measure_of(model, digits, MeasureSettings(seed=3, images=9), moments),
        measure_of(model, digits, settings, {"0": moments["0"]}),
    ):
        assert other.identity != known


def test_measured_otherwise_with_the_same_weights(model, digits, network, moments):
    measure = measure_of(model, digits, MeasureSettings(100, seed=3), moments)
    plan = mixed_plan(network)
    ideal = measure(plan)
    noisy = measure.under(MeasureSettings(100, 1, NOISE, seed=3))
    assert noisy(plan) != ideal
    assert measure(plan) == ideal


@pytest.mark.parametrize("calibrated, skipped", [(MOMENT_IMAGES, MOMENT_IMAGES), (700, 700), (64, 500)])
def test_held_out_images_are_not_those_of_calibration(model, digits, calibrated, skipped):
    settings = MeasureSettings(10**6, seed=5, calibrated=calibrated)
    held_out = measure_of(model, digits, settings).held_out
    first = digits.train.sample(skipped, 5)
    assert len(held_out) + len(first) == len(digits.train)
    both = [image.tobytes() for split in (first, held_out.split) for image in split.images]
    assert sorted(both) == sorted(image.tobytes() for image in digits.train.images)


def test_wrong_measurements_are_refused(model, digits, network):
    with pytest.raises(InputError, match="gives no layer bits, and arrays compute with integers"):
        measure_of(model, digits, MeasureSettings(50, 1, NOISE))(low_rank_plan(network, 1, "1/4", None))
    few = replace(digits, train=digits.train.sample(MOMENT_IMAGES, 0))
    words = "512 training images, and the first 512 are for calibration, of batch norm too; none is left"
    with pytest.raises(InputError, match=words):
        measure_of(model, few, MeasureSettings())(low_rank_plan(network, 1, "1/4"))
    for wrong in ({"images": 0}, {"chips": 0}, {"seed": -1}, {"calibrated": -1}):
        with pytest.raises(InputError, match=r"must be [01] or more"):
            MeasureSettings(**wrong)
