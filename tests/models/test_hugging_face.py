"""Networks of Hugging Face transformers, whose code asks layers for what they are, from tracing to arrays."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from common.array_reader import run_arrays
from common.cells import CELLS
from rankfold.export.array_images.images import write_arrays
from rankfold.nn.plain import StandIn
from rankfold.plan import LowRank, coverage, uniform_plan
from rankfold.simulator import simulate, simulated_layers
from rankfold.surgery.compress import compress_
from rankfold.surgery.quantise import quantise_
from rankfold.workload import Network, trace

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning")  # of torch.export
transformers = pytest.importorskip("transformers")

IMAGE = (3, 32, 32)
CLASSES = 4
MANY = 30  # layers, whose array images take seconds to write
TRANSFORMER = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 24}


def resnet() -> Any:
    return transformers.ResNetConfig(
        embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], layer_type="basic"
    )


def mobilenet_v2() -> Any:
    return transformers.MobileNetV2Config(depth_multiplier=0.25, image_size=32, finegrained_output=False)


def vit() -> Any:
    return transformers.ViTConfig(image_size=32, patch_size=8, **TRANSFORMER)


def swin() -> Any:
    return transformers.SwinConfig(
        image_size=32, patch_size=4, embed_dim=8, depths=[1, 1], num_heads=[2, 2], window_size=4
    )


def convnext() -> Any:
    return transformers.ConvNextConfig(hidden_sizes=[8, 16], depths=[1, 1], num_stages=2)


def segformer() -> Any:
    return transformers.SegformerConfig(
        num_encoder_blocks=2,
        depths=[1, 1],
        sr_ratios=[2, 1],
        hidden_sizes=[8, 16],
        patch_sizes=[7, 3],
        strides=[4, 2],
        num_attention_heads=[1, 2],
        mlp_ratios=[2, 2],
    )


# With the products of activations that their attention takes for one image.
NETWORKS: dict[Callable[[], Any], int] = {
    resnet: 0,
    mobilenet_v2: 0,
    vit: 2 * 17 * 17 * 16,  # QK^T and its use: 16 patches and a class token, 16 channels over all heads
    swin: 2 * (4 * 16 * 16 * 8 + 16 * 16 * 16),  # four windows of 4x4 of 8 channels, then one of 16
    convnext: 0,
    segformer: 2 * (64 * 16 * 8 + 16 * 16 * 16),  # keys of the first block on a plane half as wide
}


def built(config: Any) -> nn.Module:
    torch.manual_seed(0)
    config.num_labels = CLASSES
    model: nn.Module = transformers.AutoModelForImageClassification.from_config(config)
    return model.double().eval()


@pytest.mark.parametrize("network", NETWORKS, ids=lambda network: network.__name__)
def test_a_network_goes_from_tracing_to_arrays(network: Any, tmp_path: Path) -> None:
    model = built(network())
    images = torch.randn(4, *IMAGE).double()
    traced = trace(model, IMAGE)
    check_work(traced, NETWORKS[network])
    method = LowRank(rank=2, linear=True, pointwise=True, fit=True, force=True)
    plan = uniform_plan(traced, CELLS, method, bits=4)
    shares = coverage(traced, plan, linear=True)
    assert sum(layer.mac_share for layer in shares.layers) == pytest.approx(1)
    logits = model(images).logits
    compress_(model, plan, [images])
    assert model(images).logits.shape == logits.shape
    plan = quantise_(model, plan, [images])
    stand_ins = [module for module in model.modules() if isinstance(module, StandIn)]
    assert len(stand_ins) >= 2 * len(plan.changed)
    on_arrays = simulate(model, plan)
    assert simulated_layers(on_arrays)
    with torch.no_grad():
        quantised = model(images).logits
        torch.testing.assert_close(on_arrays(images).logits, quantised)
    if len(traced.layers) > MANY:
        return
    write_arrays(model, plan, tmp_path / "arrays")
    read = run_arrays.Network(tmp_path / "arrays")(images.numpy())
    np.testing.assert_allclose(read, quantised.numpy(), rtol=1e-6, atol=1e-8)


def check_work(traced: Network, products: int) -> None:
    """All products of activations are counted, and no weight is left without a name."""
    attention = [other for other in traced.untouched if not other.parameters]
    assert sum(other.macs or 0 for other in attention) == products
    assert all(("attention" in other.name) == ("attention" in other.what) for other in attention)


def test_layers_of_a_transformer_are_made_for_the_tokens_they_see() -> None:
    """What is reported is the error over all tokens, and none of it is in their mean."""
    name = "vit.layers.0.mlp.fc1"
    model, images = built(vit()), torch.randn(8, *IMAGE).double()
    images = images * torch.tensor([0.2, 1, 3])[:, None, None]  # so that tokens vary more in some ways
    dense = model.get_submodule(name)
    assert isinstance(dense, nn.Linear)
    seen: list[torch.Tensor] = []
    dense.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].detach()))
    model(images)
    (tokens,) = seen
    model, weight = built(vit()), dense.weight.detach()
    plan = uniform_plan(trace(model, IMAGE), CELLS, LowRank(groups=2, rank=2, linear=True, force=True))
    reports = {report.name: report for report in compress_(model, plan, [images[:4], images[4:]])}
    made = model.get_submodule(name)
    assert isinstance(made, StandIn)
    rows = tokens.flatten(0, -2)
    centred = rows - rows.mean(0)
    error = (centred @ (made.to_dense().weight - weight).T).norm() / (centred @ weight.T).norm()
    assert reports[name].output_error == pytest.approx(error.item(), rel=1e-6)
    torch.testing.assert_close(made(rows).mean(0), dense(rows).mean(0))
    by_weight = built(vit())
    compress_(by_weight, plan, decomposition="svd")
    nearest = by_weight.get_submodule(name)
    assert isinstance(nearest, StandIn)
    of_nearest = (centred @ (nearest.to_dense().weight - weight).T).norm() / (centred @ weight.T).norm()
    assert error < of_nearest
