"""Whole networks on arrays that fall short: noise, converters and training; and what is refused."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from common.cells import CELLS
from common.simulated import images, quantised, small
from rankfold.errors import InputError
from rankfold.machine import Hardware
from rankfold.mapping import ArraySpec
from rankfold.models.zoo import build
from rankfold.plan import uniform_plan
from rankfold.simulator import NonIdealities, calibrate_adc_, only, program_, simulate, simulated_layers
from rankfold.workload import trace


def test_calibrated_ranges_fit_the_data():
    """Sums of real inputs are far below the largest possible ones; a calibrated range loses less."""
    model, plan = small()
    x = images(8, 16, seed=1)
    with torch.no_grad():
        ideal = model(x)
        errors = []
        for adc_range in ("full", "calibrated"):
            network = simulate(
                model, plan, NonIdealities(adc_bits=5, adc_range=adc_range), calibration=[images(8, 16)]
            )
            errors.append(float((network(x) - ideal).norm()))
    assert errors[1] < 0.9 * errors[0]
    network = simulate(model, plan, NonIdealities(adc_bits=5))
    with pytest.raises(
        InputError,
        match=r"a calibrated ADC range needs data; call calibrate_adc_\(network, batches\), or choose `full`",
    ):
        network(x)
    calibrate_adc_(network, [images(8, 16)])
    assert network(x).shape == (8, 10)


def test_weights_too_low_for_the_cells_are_counted():
    model, plan = small(method=None)  # for cells that hold all levels
    plan = plan.on(ArraySpec(64, 64, cell_bits=1, coding="differential"))
    with torch.no_grad():
        layer = model.get_submodule("layer1.0.conv1")
        layer.weight[0, 0, 0, :2] = -100.0
    network = simulate(model, plan)
    by_name = {layer.name: layer for layer in simulated_layers(network)}
    assert by_name["layer1.0.conv1"].saturated >= 2
    x = torch.ones(1, 16, 16, 16)
    found = by_name["layer1.0.conv1"]
    fast = found.accumulators(x)
    found.all_tiles = True
    assert torch.equal(found.accumulators(x), fast) and not torch.equal(fast, found.ideal_accumulators(x))


def test_one_image_needs_no_batch_and_layers_may_be_called_by_keyword():
    model, plan = small()
    layer = simulated_layers(simulate(model, plan))[0]
    x = images(1, 16)
    with torch.no_grad():
        assert torch.equal(layer(input=x[0]), layer(x)[0])


def test_chips_differ_by_their_seed():
    model, plan = small()
    network = simulate(model, plan, NonIdealities(program_noise=0.02), seed=1)
    x = images(4, 16)
    with torch.no_grad():
        first, again = network(x), network(x)
        program_(network, 2)
        other = network(x)
        program_(network, 1)
        assert torch.equal(first, again) and torch.equal(network(x), first) and not torch.equal(other, first)


def test_one_layer_at_a_time():
    model, plan = small()
    network = simulate(
        model, plan, NonIdealities(adc_bits=4, program_noise=0.05), calibration=[images(4, 16)]
    )
    x = images(4, 16)
    with torch.no_grad():
        ideal, all_noisy = simulate(model, plan)(x), network(x)
        outputs = []
        for layer in simulated_layers(network):
            with only(network, layer.name):
                outputs.append(network(x))
        assert torch.equal(network(x), all_noisy)
    errors = [float((found - ideal).norm()) for found in outputs]
    assert min(errors) > 0 and max(errors) < 2 * float((all_noisy - ideal).norm())
    assert len({round(float(found.sum()), 6) for found in outputs}) == len(outputs)


def test_training_with_noise_reaches_the_model_behind():
    model, plan = small()
    network = simulate(
        model, plan, NonIdealities(adc_bits=8, adc_range="full", program_noise=0.02, read_noise=0.01)
    )
    assert not ({id(p) for p in network.parameters()} ^ {id(p) for p in model.parameters()})
    network.train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    optimiser = torch.optim.SGD(network.parameters(), 0.01)
    losses = []
    for _ in range(3):
        loss = nn.functional.cross_entropy(network(images(16, 16)), torch.arange(16) % 10)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    after = model.state_dict()
    assert after.keys() == before.keys()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert any(name.endswith("reduce.weight") for name in changed) and any(
        "running_mean" in name for name in changed
    )
    assert any(name.endswith("step") for name in changed)
    assert len(set(losses)) == 3


def test_training_goes_on_where_it_stopped():
    """Noise depends on how often it was drawn, which the state remembers."""
    outputs = []
    for interrupted in (False, True):
        model, plan = small()
        chosen = NonIdealities(program_noise=0.02, read_noise=0.02)
        network = simulate(model, plan, chosen).train()
        network(images(4, 16))
        if interrupted:
            state = network.state_dict()
            network = simulate(model, plan, chosen).train()
            network.load_state_dict(state)
        outputs.append(network(images(4, 16)).detach())
    assert torch.equal(*outputs)


def test_gradients_are_those_of_the_quantised_network():
    model, plan = small(method=None)
    model = model.double()  # where no rounding puts an input on the other side of a level
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.bias)  # nor of a rectifier: a sum of exactly zero may be 1e-17 in torch
    network = simulate(model, plan)
    x = images(4, 16).double()
    wanted = torch.autograd.grad(model(x).square().sum(), list(model.parameters()))
    found = torch.autograd.grad(network(x).square().sum(), list(network.parameters()))
    by_identity = {id(p): g for p, g in zip(network.parameters(), found, strict=True)}
    for parameter, want in zip(model.parameters(), wanted, strict=True):
        torch.testing.assert_close(by_identity[id(parameter)], want, rtol=1e-9, atol=1e-9)


def test_binary_layers_are_refused():
    model = build("resnet8", 10)
    plan = uniform_plan(trace(model, (3, 16, 16)), CELLS, bits=1)
    model, plan = quantised(model, plan, images(16, 16))
    with pytest.raises(
        InputError,
        match=r"layer layer1.0.conv1 has 1-bit weights, the levels -1 and \+1, which no cell coding",
    ):
        simulate(model, plan)


def test_layers_may_stay_digital_and_float():
    model, plan = small(method=None)
    network = simulate(model, plan, digital=["fc", "conv1"])
    names = [layer.name for layer in simulated_layers(network)]
    assert names == [layer.name for layer in plan.layers if layer.name not in ("fc", "conv1")]
    with pytest.raises(InputError, match="has no layer conv9 that could be left digital"):
        simulate(model, plan, digital=["conv9"])


def test_what_cannot_be_simulated_is_refused():
    model, plan = small(method=None)
    float_plan = replace(
        plan, layers=tuple(replace(layer, weight_bits=None, input_bits=None) for layer in plan.layers)
    )
    with pytest.raises(
        InputError,
        match="gives no layer bits, and arrays compute with integers; make it with bits, such as bits=4",
    ):
        simulate(model, float_plan)
    with pytest.raises(InputError, match="is not quantised in the network, as the plan says"):
        simulate(build("resnet8", 10), plan)
    with pytest.raises(InputError, match=r"ir_drop \(=0.001\) needs real cells"):
        simulate(model, replace(plan, array=ArraySpec(64, 64)), NonIdealities(ir_drop=1e-3))
    with pytest.raises(
        InputError, match=r"cells of whole weights have signed sums, so adc_bits \(=1\) must be 2 or more"
    ):
        simulate(model, replace(plan, array=ArraySpec(64, 64)), NonIdealities(adc_bits=1))
    with pytest.raises(
        InputError, match=r"layer conv1: its sums are signed, so adc_bits \(=1\) must be 2 or more"
    ):
        simulate(model, replace(plan, array=ArraySpec(64, 64, cell_bits=2)), NonIdealities(adc_bits=1))
    fewer = replace(plan, layers=tuple(replace(layer, weight_bits=2) for layer in plan.layers))
    with pytest.raises(
        InputError, match="layer conv1 has weights and inputs of 8 and 8 bits, the plan says 2 and 8"
    ):
        simulate(model, fewer)
    with (
        pytest.raises(InputError, match="no layer nope of the network runs on arrays"),
        only(simulate(model, plan), "nope"),
    ):
        pass
    with pytest.raises(
        InputError, match="layer conv1: an input of 17x17 was not planned for; its arrays take 16x16"
    ):
        simulate(model, plan)(images(1, 17))


def test_hardware_says_all_of_the_arrays_at_once():
    """The hardware that is given, else the plan's; what it leaves open is as its component table says."""
    model, plan = small()
    hardware = Hardware(
        array=ArraySpec(32, 32, 2, "differential", 1, rows_driven=8),
        adc_bits=3,
        noise=NonIdealities(adc_range="full", program_noise=0.02),
    )
    x = images(4, 16, seed=1)
    apart = simulate(model, replace(plan, array=hardware.array), hardware.non_idealities, seed=3)
    with torch.no_grad():
        wanted = apart(x)
        assert torch.equal(simulate(model, plan, hardware, seed=3)(x), wanted)
        assert torch.equal(simulate(model, plan.on(hardware), seed=3)(x), wanted)
        assert not torch.equal(model(x), wanted)
    assert all(a.sums.rows <= 8 for layer in simulated_layers(apart) for a in layer.arrays.values())
    open_figures = simulate(model, plan, Hardware(array=ArraySpec(64, 64)), seed=3)
    for layer in simulated_layers(open_figures):
        for arrays in layer.arrays.values():
            assert (arrays.chosen.adc_bits, arrays.cell_coding.cell_bits) == (5, 2)
            assert arrays.input_coding.dac_bits == 1
