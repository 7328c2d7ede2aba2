"""Replacing the layers of a network as a plan says.

The names are imported when they are first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rankfold.surgery.channels import channel_plan as channel_plan
    from rankfold.surgery.compress import LayerReport as LayerReport
    from rankfold.surgery.compress import compress_ as compress_
    from rankfold.surgery.quantise import quantise_ as quantise_
    from rankfold.surgery.save import load_ as load_
    from rankfold.surgery.save import save as save

_HOMES = {
    "LayerReport": "compress",
    "channel_plan": "channels",
    "compress_": "compress",
    "load_": "save",
    "quantise_": "quantise",
    "save": "save",
}

__all__ = ["LayerReport", "channel_plan", "compress_", "load_", "quantise_", "save"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'rankfold.surgery' has no attribute {name!r}")
    return getattr(import_module(f"rankfold.surgery.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return __all__
