"""Which layers can be replaced, and what is said of the others."""

from __future__ import annotations

from typing import Any

import pytest
from torch import Tensor, nn
from torch.nn.utils import parametrizations
from torch.nn.utils.parametrize import is_parametrized

from rankfold.errors import UnsupportedLayerError
from rankfold.surgery.convertible import check_convertible


class Doubled(nn.Conv2d):
    def forward(self, x: Tensor) -> Tensor:
        return 2 * super().forward(x)


@pytest.mark.parametrize(
    ("module", "message"),
    [
        (Doubled(2, 2, 3), "layer a.b is a Doubled, not a plain nn.Conv2d.*leave it dense"),
        (nn.ConvTranspose2d(2, 2, 3), "layer a.b is a ConvTranspose2d, not a plain"),
        (nn.ReLU(), "layer a.b is a ReLU, not a plain"),
    ],
)
def test_other_modules_are_refused_by_name(module: nn.Module, message: str) -> None:
    with pytest.raises(UnsupportedLayerError, match=message):
        check_convertible("a.b", module)


def test_a_parametrised_weight_is_refused() -> None:
    conv = parametrizations.weight_norm(nn.Conv2d(2, 2, 3))
    assert is_parametrized(conv)
    with pytest.raises(UnsupportedLayerError, match=r"layer a\.b has a parametrised weight"):
        check_convertible("a.b", conv)


@pytest.mark.parametrize(
    "register", ["register_forward_hook", "register_forward_pre_hook", "register_full_backward_hook"]
)
def test_hooks_are_refused_until_they_are_removed(register: str) -> None:
    conv = nn.Conv2d(2, 2, 3)
    handle = getattr(conv, register)(lambda *_: None)
    with pytest.raises(
        UnsupportedLayerError, match=r"layer a\.b has hooks, which its replacement would not call"
    ):
        check_convertible("a.b", conv)
    handle.remove()
    check_convertible("a.b", conv)


@pytest.mark.parametrize(
    "options",
    [{}, {"groups": 2}, {"padding": "same"}, {"padding_mode": "circular"}, {"dilation": 2}],
    ids=str,
)
def test_every_plain_convolution_is_accepted(options: dict[str, Any]) -> None:
    check_convertible("a", nn.Conv2d(2, 2, 3, **options))


def test_every_plain_linear_layer_is_accepted() -> None:
    check_convertible("a", nn.Linear(2, 2))
