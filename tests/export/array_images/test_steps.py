"""Steps of array images, one operator at a time: the independent reader computes what torch does."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from common.array_reader import run_arrays
from rankfold.errors import InputError
from rankfold.export.array_images.program import write_program

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning")  # of torch.export
IMAGE = (4, 7, 6)


class Function(nn.Module):
    """A network that is one function."""

    def __init__(self, function):
        super().__init__()
        self.function = function
        self.norm = nn.BatchNorm2d(IMAGE[0])
        self.plain_norm = nn.BatchNorm2d(IMAGE[0], affine=False)
        generator = torch.Generator().manual_seed(0)
        for norm in (self.norm, self.plain_norm):
            norm.running_mean.copy_(torch.randn(IMAGE[0], generator=generator))
            norm.running_var.copy_(torch.rand(IMAGE[0], generator=generator) + 0.5)
        self.eval()

    def forward(self, x):
        return self.function(self, x)


def read(program, images, output):
    """What the independent reader makes of a program without layers: the value of this name."""
    reader = object.__new__(run_arrays.Network)
    reader.digital = program.constants
    reader.content = {
        "inputs": [{"name": name} for name in program.inputs],
        "steps": list(program.steps),
        "output": output,
    }
    return reader(images)


# Exported together, since an export takes long; what they have in common.
FUNCTIONS = {
    "norms": (
        lambda net, x: net.norm(x),
        lambda net, x: net.plain_norm(x),
        lambda net, x: F.layer_norm(x, IMAGE[1:]) + F.layer_norm(x, (IMAGE[2],), torch.ones(6).double() * 2),
        lambda net, x: F.layer_norm(x, (6,), bias=torch.arange(6.0).double()).softmax(1) + x.softmax(-1),
    ),
    "activations": (
        lambda net, x: F.relu(x) + 2 * torch.sigmoid(x) + 0.5,
        lambda net, x: F.relu6(4 * x) + F.hardtanh(x) + F.hardtanh(x, -0.2, 0.3),
        lambda net, x: F.gelu(x) - F.gelu(x, approximate="tanh") / 3 + F.silu(x) * torch.tanh(x),
        lambda net, x: F.hardswish(4 * x) + x.clamp(max=0.5) + x.clamp(min=-0.1),
    ),
    "windows": (
        lambda net, x: F.max_pool2d(x, 2) + F.avg_pool2d(x, (2, 2)),
        lambda net, x: F.max_pool2d(x, 3, stride=2, padding=1),
        lambda net, x: F.max_pool2d(x, (2, 3), stride=(1, 2)),
        lambda net, x: F.adaptive_avg_pool2d(x, (7, 2)) + F.adaptive_avg_pool2d(x, (1, 2)),
        lambda net, x: F.pad(F.pad(x, ()), (1, 2, 0, 3), value=1.5),
        lambda net, x: F.pad(x[:, :, ::2, 1:], (0, 0, 0, 0, 1, 1)),
        lambda net, x: F.pad(x, (1, 2, 3, 0), "reflect") + F.pad(x, (1, 2, 3, 0), "replicate"),
        lambda net, x: x[:, [3, -1, 0, 0]] + x[:, :, :, [2]],
    ),
    "places": (
        lambda net, x: torch.cat((x, x[:, :2]), 1).mean((2, 3), keepdim=True),
        lambda net, x: x.flatten(1).view(x.shape[0], 4, -1).transpose(1, 2).mean(2),
        lambda net, x: torch.cat((x, x), -1).permute(0, 2, 3, 1).contiguous(),
        lambda net, x: x.roll((1, -2), (2, 3)) + x[:, 1:2] + x[:, :, -1].unsqueeze(2),
        lambda net, x: torch.cat((torch.arange(42.0).double().view(1, 1, 7, 6).expand(1, 2, 7, 6), x), 1),
        # Windows of 7 x 3 of one image, one after the other, and back.
        lambda net, x: (
            x.view(1, 4, 7, 2, 3).permute(0, 3, 1, 2, 4).reshape(2, 4, 7, 3).softmax(1).view(1, 2, 4, 7, 3)
        ),
    ),
    "products": (
        lambda net, x: F.scaled_dot_product_attention(x, x + 1, x[:, :, :, :5]),
        lambda net, x: F.scaled_dot_product_attention(x, x, x, torch.eye(7).double(), scale=2.0),
        lambda net, x: F.scaled_dot_product_attention(x, x, x, torch.ones(7, 7).tril().bool()),
        lambda net, x: x @ x.transpose(2, 3) @ torch.eye(7).double(),
    ),
}


@pytest.mark.parametrize("functions", FUNCTIONS.values(), ids=FUNCTIONS)
def test_the_reader_computes_what_torch_does(functions):
    def together(net, x):
        return torch.cat([function(net, x).reshape(len(x), -1) for function in functions], 1)

    model = Function(together).double()
    x = torch.randn(3, *IMAGE, generator=torch.Generator().manual_seed(1)).double()
    program = write_program(model, {}, IMAGE)
    made = {step["output"]: step for step in program.steps}
    flat = made[program.output]["inputs"]
    for function, name in zip(functions, flat, strict=True):
        with torch.no_grad():
            # One by one: what mixes images would show.
            wanted = torch.cat([function(model, image[None]) for image in x]).numpy()
        (result,) = made[name]["inputs"]
        np.testing.assert_allclose(read(program, x.numpy(), result), wanted, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize(
    "function, words",
    [
        (lambda net, x: torch.erf(x), "the network computes erf between its layers"),
        (lambda net, x: F.avg_pool2d(x, 3, padding=1), "the network computes avg_pool2d between its layers"),
        (
            lambda net, x: F.max_pool2d(x, 2, dilation=2),
            "the network computes max_pool2d_with_indices between",
        ),
        (lambda net, x: F.adaptive_avg_pool2d(x, (3, 2)), "in a way that no step of an array image has"),
        (lambda net, x: F.max_pool2d(x, 2, return_indices=True)[1], "gives several values, which no step"),
        (lambda net, x: torch.add(x, x, alpha=2), "the network computes add between its layers"),
        (lambda net, x: torch.div(x, 0.5, rounding_mode="floor"), "the network computes div between its"),
        (lambda net, x: x.mean(), "the network computes mean between its layers"),
        (lambda net, x: x.mean(()), "the network computes mean between its layers"),
        (lambda net, x: x + x.mean(0), "the network computes mean between its layers"),
        (lambda net, x: x.mean((1, -4), keepdim=True), "the network computes mean between its layers"),
        (lambda net, x: x.softmax(0), "the network computes _softmax between its layers"),
        (lambda net, x: x.roll(1, 0), "the network computes roll between its layers"),
        (lambda net, x: torch.cat([x, x]).mean(1), "the network computes cat between its layers"),
        (lambda net, x: x[1:], "the network computes slice between its layers"),
        (lambda net, x: F.pad(x, (0, 0, 0, 0, 0, 0, 0, 1)), "the network computes constant_pad_nd between"),
        (lambda net, x: F.layer_norm(x, (1, *IMAGE)), "the network computes native_layer_norm between its"),
        (lambda net, x: net.norm.weight.view(1, 4) * 2, "the network gives the same for every image"),
        (lambda net, x: x[[0, 0]].mean(1), "the network computes index between its layers"),
        (lambda net, x: x[:, [0, 1], [2, 3]], "the network computes index between its layers"),
        (lambda net, x: None, "the network gives 0 tensors, and array images need one"),
        (lambda net, x: F.pad(x, (-1, 0, 0, 0)), "in a way that no step of an array image has"),
        (lambda net, x: (x, x * 2), "the network gives 2 tensors, and array images need one; wrap it"),
        (lambda net, x: x.reshape(2, -1), r"gives a result of \(2, 84\) for one image"),
        (lambda net, x: x if x.sum() > 0 else -x, "torch cannot write the network down as a graph"),
    ],
)
def test_what_no_step_says_is_refused(function, words):
    with pytest.raises(InputError, match=words):
        write_program(Function(function), {}, IMAGE)
