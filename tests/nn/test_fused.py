"""Compiled passes of quantisers are those of torch; the backend here only traces them, in a GPU's place."""

import pytest
import torch

from rankfold.nn import fused, learned_step
from rankfold.nn.fused import fused_passes
from rankfold.nn.quantisers import Quantiser

LAYOUTS = {
    "dense": lambda x: x,
    "channels last": lambda x: x.contiguous(memory_format=torch.channels_last),
    "with gaps": lambda x: x[:, ::2],
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_they_are_those_of_torch(layout, dtype, monkeypatch):
    """Values and gradients of the input to the last bit; that of the step to rounding; levels of any bits."""
    monkeypatch.setattr(learned_step, "_in_tiles", lambda x: False)
    random = torch.Generator().manual_seed(0)
    for bits, signed in ((4, True), (2, False)):
        values = LAYOUTS[layout](torch.randn(3, 4, 5, 6, generator=random)).to(dtype)
        dy = torch.randn(values.shape, generator=random).to(dtype)
        quantiser = Quantiser(bits, signed, batched=True)
        quantiser.fit_(values)
        found = []
        for backend in (None, "eager"):
            x = values.detach().clone().requires_grad_()
            with fused_passes(backend):
                y = quantiser(x)
            # As on a GPU, where another thread computes gradients.
            dx, step = torch.autograd.grad(y, (x, quantiser.step), dy)
            found.append((y, dx, step))
        (y, dx, step), (y_fused, dx_fused, step_fused) = found
        assert torch.equal(y, y_fused) and torch.equal(dx, dx_fused)
        assert y.dtype == y_fused.dtype == dtype
        assert torch.allclose(step, step_fused, rtol=1e-4, atol=1e-5)


def test_what_is_compiled_for_a_large_tensor_serves_small_ones(monkeypatch):
    """On a GPU a large one comes first; no numbers of theirs are kept."""
    monkeypatch.setattr(fused, "_LARGE", 1000)
    fused._seen_large.__wrapped__(torch.bfloat16, torch.float32, torch.device("cpu"), "eager")
    x, dy = torch.tensor([-1.0, 0.25, 3.0]), torch.tensor([1.0, 2.0, 4.0])
    scale = torch.tensor(0.5)
    y = fused.quantised(x, scale, 0, 3, "eager")
    dx, total = fused.gradients(x, y, dy, scale, 0, 3, backend="eager")
    assert y.tolist() == [0.0, 0.0, 1.5]
    assert dx.tolist() == [0.0, 2.0, 0.0]
    assert total.item() == pytest.approx(2 * (0 - 0.25) + 4 * 1.5)


def test_float64_is_left_to_torch():
    quantiser = Quantiser(4, signed=True)
    x = torch.linspace(-1, 1, 9, dtype=torch.float64)
    quantiser.fit_(x)
    with fused_passes("eager"):
        y = quantiser(x)
    assert y.dtype == torch.float64 and torch.equal(y, quantiser(x))
