"""What surgery does with the kernel positions that a plan lets a layer keep."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import nn

from rankfold.calibration.moments import PatchMoments
from rankfold.errors import InputError
from rankfold.nn.low_rank import weight_shape
from rankfold.plan import LayerPlan, support_to_mask, text_to_support
from rankfold.plan.support import check_entries, check_row_sparse
from rankfold.surgery.supports import supported_weight


def check_layer_entries(layer: LayerPlan, module: nn.Module) -> None:
    """Refuse entries, or a support, that a layer of the network cannot have.

    Raises:
        InputError: it is no convolution, or they do not fit it; the message names the layer.
    """
    if not isinstance(module, nn.Conv2d):
        raise InputError(f"layer {layer.name}: entries (={layer.entries}) are for convolutions; it is a fully connected layer")
    shape = replace(weight_shape(module), name=layer.name)
    if layer.groups is not None and layer.rank is not None:
        check_row_sparse(shape, layer.groups, layer.rank, layer.entries or 0)
    else:
        check_entries(shape, layer.entries or 0)
    layer_support(layer, module)


def layer_support(layer: LayerPlan, conv: nn.Conv2d) -> np.ndarray | None:
    """(C_in, kh*kw) booleans, the positions that the plan names; None: it does not.

    Raises:
        InputError: they do not fit the convolution.
    """
    if layer.support is None:
        return None
    return text_to_support(layer.support, replace(weight_shape(conv), name=layer.name))


def take_support_(conv: nn.Conv2d, layer: LayerPlan, moments: PatchMoments | None) -> tuple[np.ndarray, float, float | None]:
    """Give a convolution, in place, the weight of its support, which is chosen where the plan does not name it.

    Returns:
        The mask (m, C_in/G, kh, kw), the relative error of the weight, and of the output on data (None where nothing is known).
    """
    weight = conv.weight.detach().cpu().double().numpy()
    found = supported_weight(weight, conv.groups, layer.entries or 0, moments, layer_support(layer, conv))
    with torch.no_grad():
        conv.weight.copy_(torch.from_numpy(found.weight))
    mask = support_to_mask(found.support, len(weight), conv.groups, (weight.shape[2], weight.shape[3]))
    return mask, found.error, found.output_error
