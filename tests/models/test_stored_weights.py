"""Weights as small files keep them."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import nn

from rankfold.models.load import read_weights
from rankfold.models.stored_weights import expanded, with_levels
from rankfold.nn.quantised import LayerBits, QuantConv2d, replace_by_quantised_


def quantised(bits):
    model = nn.Sequential(nn.Conv2d(3, 5, 3), nn.Flatten(), nn.Linear(5 * 36, 4))
    replace_by_quantised_(model, {name: LayerBits(bits, bits, True) for name in ("0", "2")})
    for layer in (model[0], model[2]):
        layer.input_quantiser.fit_(torch.linspace(-1, 1, 99))
    return model.eval()


@given(bits=st.integers(1, 8), seed=st.integers(0, 99))
def test_levels_give_the_same_outputs_bit_by_bit(bits, seed):
    torch.manual_seed(seed)
    model, images = quantised(bits), torch.randn(2, 3, 8, 8)
    before = model(images)
    stored = with_levels(model)
    assert stored["0.weight"].dtype == stored["2.weight"].dtype == torch.int8
    # The bias is of no level.
    assert torch.equal(stored["0.bias"], model[0].bias)
    model.load_state_dict(expanded(stored))
    assert torch.equal(model(images), before)
    assert torch.equal(model[0].integer_weights(), stored["0.weight"].int())


def test_files_of_levels_and_half_precision_are_read_in_float32(tmp_path):
    model = quantised(4)
    save_file(with_levels(model), tmp_path / "levels.safetensors")
    read = read_weights(tmp_path / "levels.safetensors")
    step = model[0].weight_quantiser.scale
    assert torch.equal(read["0.weight"], model[0].integer_weights() * step)
    half = {"weight": torch.tensor([0.5, 1 / 3], dtype=torch.float16), "count": torch.tensor(3)}
    save_file(half, tmp_path / "half.safetensors")
    read = read_weights(tmp_path / "half.safetensors")
    assert read["weight"].dtype == torch.float32 and read["count"].dtype == torch.int64
    assert torch.equal(read["weight"], half["weight"].float())


def test_layers_with_masks_keep_their_weights():
    model = quantised(4)
    model[0].mask = torch.rand_like(model[0].weight) > 0.5
    assert isinstance(model[0], QuantConv2d)
    assert torch.equal(with_levels(model)["0.weight"], model[0].weight)


def test_whole_numbers_without_a_step_stay():
    assert expanded({"a.weight": torch.tensor([1], dtype=torch.int8)})["a.weight"].dtype == torch.int8


@pytest.mark.parametrize("name", ["resnet20-cifar10-4bit", "wrn16-4-cifar100-4bit"])
def test_shipped_networks_of_few_bits_are_stored_as_levels(name):
    from safetensors import safe_open

    from rankfold.models.pretrained import shipped

    with safe_open(shipped(name).weights, "pt") as file:
        assert file.get_slice("conv1.weight").get_dtype() == "I8"
