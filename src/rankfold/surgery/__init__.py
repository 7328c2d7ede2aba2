"""Replacing the layers of a network as a plan says.

The names are imported when they are first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rankfold.nn.sub_pixel import replace_transposed_ as replace_transposed_
    from rankfold.surgery.channels import channel_plan as channel_plan
    from rankfold.surgery.compress import compress_ as compress_
    from rankfold.surgery.layer_report import LayerReport as LayerReport
    from rankfold.surgery.quantise import quantise_ as quantise_
    from rankfold.surgery.saving import load_ as load_
    from rankfold.surgery.saving import save as save

_HOMES = {
    "LayerReport": "surgery.layer_report",
    "channel_plan": "surgery.channels",
    "compress_": "surgery.compress",
    "load_": "surgery.saving",
    "quantise_": "surgery.quantise",
    "replace_transposed_": "nn.sub_pixel",
    "save": "surgery.saving",
}

__all__ = [
    "LayerReport",
    "channel_plan",
    "compress_",
    "load_",
    "quantise_",
    "replace_transposed_",
    "save",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'rankfold.surgery' has no attribute {name!r}")
    return getattr(import_module(f"rankfold.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return __all__
