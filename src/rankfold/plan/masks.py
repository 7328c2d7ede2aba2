"""Masks of pruned layers, as they are saved with the weights; read without torch."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from rankfold.errors import InputError
from rankfold.plan.plan import Plan

SUFFIX = ".mask"  # of the name of a layer, or of a stage of it: as torch names the buffer in a state dict


def load_masks(path: str | Path) -> dict[str, np.ndarray]:
    """The masks in a file of weights.

    Args:
        path: a safetensors file, such as `model.safetensors` of a finished run.

    Returns:
        (m, C_in/G, kh, kw) booleans by layer; empty where nothing is pruned.

    Raises:
        InputError: the file is missing or damaged.
    """
    # Imported here, so that plans without masks do not load it.
    from safetensors import SafetensorError, safe_open

    source = Path(path)
    if not source.is_file():
        raise InputError(f"{source} does not exist; give the model.safetensors of a finished run")
    try:
        with safe_open(source, "numpy") as file:
            # Tensors are read one by one, so the weights, the bulk of the file, stay on disk.
            names = [key for key in file.keys() if key.endswith(SUFFIX)]  # noqa: SIM118 (the file is no dictionary)
            return {name.removesuffix(SUFFIX): file.get_tensor(name).astype(bool) for name in names}
    except (SafetensorError, OSError) as error:
        raise InputError(f"{source} is truncated or damaged: {error}") from error


def masks_for(plan: Plan, path: str | Path) -> dict[str, np.ndarray]:
    """The masks in a file of weights; none, and no file is read, where the plan has no layers with masks.

    Args:
        plan: of a finished run.
        path: its `model.safetensors`.

    Raises:
        InputError: see `load_masks`.
    """
    if any(layer.kind.masked for layer in plan.layers):
        return load_masks(path)
    return {}
