"""Products of two computed values, such as those of attention: work that no weight is part of."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

from torch import Tensor

from rankfold.workload.product import Product

# Where operators that multiply by a matrix take their two factors.
PRODUCTS = {
    "mm": (0, 1),
    "bmm": (0, 1),
    "addmm": (1, 2),
    "baddbmm": (1, 2),
    "mv": (0, 1),
    "addmv": (1, 2),
}
# The fused kernels of `scaled_dot_product_attention`; unfused it is two products.
FUSED_ATTENTION = "_scaled_dot_product_"


def is_attention(operator: str) -> bool:
    """Whether an operator is softmax(Q K^T) V in one kernel."""
    return operator.startswith(FUSED_ATTENTION) and not operator.endswith("_backward")


def attention_products(args: tuple[Any, ...], batch: int) -> tuple[Product, Product]:
    """The scores Q K^T, (L, E) x (E, S) for each head, and their use, (L, S) x (S, D).

    Args:
        args: of the operator: Q (..., L, E), K (..., S, E) and V (..., S, D) first. A causal mask saves
            nothing on arrays, so all S are counted.
        batch: images in one run.
    """
    queries, keys, values = args[:3]
    # Several heads of queries may share one of keys and values.
    heads = math.prod(keys.shape[:-2])
    vectors = queries.numel() // int(queries.shape[-1]) // heads
    length = int(keys.shape[-2])
    scores = Product(matrices=heads, inputs=int(keys.shape[-1]), outputs=length, vectors=vectors)
    scores = scores.of_one_image(batch)
    return scores, replace(scores, inputs=length, outputs=int(values.shape[-1]))


def product_of(left: Tensor, right: Tensor, batch: int) -> Product:
    """The product of (..., p, n) and (..., n, m) for an image, of whichever the batch is a part."""
    inputs, outputs = right.numel(), 1  # of a vector
    if right.ndim > 1:
        inputs, outputs = int(right.shape[-2]), int(right.shape[-1])
    matrices = math.prod(right.shape[:-2])
    # Of an empty product nothing is computed.
    vectors = left.numel() // max(1, inputs * matrices)
    return Product(matrices=matrices, inputs=inputs, outputs=outputs, vectors=vectors).of_one_image(batch)
