"""The versions of what a result may depend on, looked up without importing any of it."""

from __future__ import annotations

import platform
from importlib import metadata

from rankfold.version import __version__

# What computes, reads data or writes files; the first ones are what a report of a fault needs most.
MATTERS = ("torch", "numpy", "scipy", "onnx", "onnxruntime", "safetensors", "datasets", "optuna", "ray")


def version_of(package: str) -> str | None:
    """The version of an installed package; None where it is not installed."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def versions_in_words() -> str:
    """For `rankfold --version`: a line for each, ours first."""
    lines = [f"rankfold {__version__}", f"Python {platform.python_version()}"]
    for package in MATTERS:
        lines.append(f"{package} {version_of(package) or 'not installed'}")
    return "\n".join(lines)
