"""Products of two computed values, such as those of attention: work that no weight is part of."""

from __future__ import annotations

from typing import Any

from torch import Tensor

# The fused kernels of `scaled_dot_product_attention`; unfused it is two products.
FUSED_ATTENTION = "_scaled_dot_product_"
NO_WEIGHT = "is left alone: no weight of it could stay on arrays"
PRODUCT = f"a product of two computed values {NO_WEIGHT}"
ATTENTION = f"attention {NO_WEIGHT}"


def is_attention(operator: str) -> bool:
    """Whether an operator is softmax(Q K^T) V in one kernel."""
    return operator.startswith(FUSED_ATTENTION) and not operator.endswith("_backward")


def attention_macs(args: tuple[Any, ...]) -> int:
    """Multiply-accumulates of softmax(Q K^T) V: L x E x S for the scores and L x S x D for their use.

    Args:
        args: of the operator: Q (..., L, E), K (..., S, E) and V (..., S, D) first. A causal mask saves
            nothing on arrays, so all S are counted.
    """
    queries, keys, values = args[:3]
    length = int(keys.shape[-2])
    # Each element of Q meets every key once, whatever stands for the batch and the heads.
    scores = queries.numel() * length
    used = queries.numel() // int(queries.shape[-1]) * length * int(values.shape[-1])
    return scores + used


def product_macs(left: Tensor, out: Tensor) -> int:
    """Multiply-accumulates of a product: for each output as many as the left factor has columns."""
    return out.numel() * int(left.shape[-1])
