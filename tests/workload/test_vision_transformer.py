"""Vision transformers by their shapes, and the products of their attention, against traced networks."""

import pytest
import torch
from torch import nn

from rankfold.errors import InputError
from rankfold.workload import Product, trace
from rankfold.workload.onnx.layers import read_onnx
from rankfold.workload.vision_transformer import VisionTransformer, vision_transformer


def test_shapes_are_those_of_hugging_face_s_vit():
    transformers = pytest.importorskip("transformers")
    sizes = VisionTransformer(width=24, heads=3, blocks=2, hidden=40, patch=8, image=32, classes=5)
    config = transformers.ViTConfig(
        image_size=32,
        patch_size=8,
        hidden_size=24,
        num_hidden_layers=2,
        num_attention_heads=3,
        intermediate_size=40,
        num_labels=5,
    )
    model = transformers.AutoModelForImageClassification.from_config(config)
    traced = trace(model, (3, 32, 32), "vit")
    written = sizes.network("vit")
    assert written.layers == traced.layers
    assert written.untouched == traced.untouched


def test_sizes_are_the_published_ones():
    """Millions of parameters without biases, norms and positions: 5.7, 22 and 86 with them."""
    counts = {}
    for name in ("vit-tiny", "vit-small", "vit-base"):
        counts[name] = sum(layer.parameters for layer in vision_transformer(name).layers)
    blocks = {"vit-tiny": 192, "vit-small": 384, "vit-base": 768}
    for name, width in blocks.items():
        assert counts[name] == 12 * 12 * width**2 + 3 * 256 * width + 1000 * width
    # As the documentation has it of ViT-B/16.
    assert sum(other.macs for other in vision_transformer("vit-base").untouched) == 715_327_488
    with pytest.raises(InputError, match="unknown transformer vit-huge; known are vit-tiny"):
        vision_transformer("vit-huge")


class Attention(nn.Module):
    """Two heads of attention, as products of one's own."""

    def __init__(self):
        super().__init__()
        self.qkv = nn.Linear(8, 24)

    def forward(self, x):
        q, k, v = self.qkv(x).unflatten(-1, (3, 2, 4)).permute(2, 0, 3, 1, 4)
        return (torch.softmax(q @ k.transpose(-1, -2), -1) @ v).transpose(1, 2).flatten(2)


SCORES = Product(matrices=2, inputs=4, outputs=5, vectors=5)
USED = Product(matrices=2, inputs=5, outputs=4, vectors=5)


@pytest.mark.parametrize("batch", [1, 3])
def test_products_are_those_of_one_image(batch):
    (other,) = trace(Attention(), None, inputs=(torch.randn(batch, 5, 8),)).untouched
    assert other.products == (SCORES, USED)
    assert other.macs == SCORES.macs + USED.macs


@pytest.mark.filterwarnings("ignore::FutureWarning")  # of torch.export
def test_onnx_files_have_the_same_products(tmp_path):
    path = tmp_path / "net.onnx"
    torch.onnx.export(Attention().eval(), (torch.randn(1, 5, 8),), path, dynamo=True, verbose=False)
    products = [product for other in read_onnx(path).untouched for product in other.products]
    assert products == [SCORES, USED]


def test_keys_that_several_heads_share_are_written_once():
    class Grouped(nn.Module):
        def __init__(self):
            super().__init__()
            self.q, self.kv = nn.Linear(8, 16), nn.Linear(8, 4)

        def forward(self, x):
            q = self.q(x).unflatten(-1, (4, 4)).transpose(1, 2)
            return q.flatten(1, 2) @ self.kv(x).transpose(1, 2)

    (other,) = trace(Grouped(), None, inputs=(torch.randn(1, 5, 8),)).untouched
    assert other.products == (Product(matrices=1, inputs=4, outputs=5, vectors=4 * 5),)
