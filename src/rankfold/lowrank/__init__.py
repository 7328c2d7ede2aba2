"""Low-rank factors of a convolution's weight.

What is made for data needs SciPy's linear algebra, which takes a while to import; those names are imported
when they are first used, so that shapes and plans do without.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from rankfold.lowrank.factors import (
    DECOMPOSITIONS,
    ROUNDINGS,
    LowRankFactors,
    RankRule,
    check_rank,
    decompose,
    full_rank,
    reconstruct,
)

if TYPE_CHECKING:
    from rankfold.lowrank.data_aware import decompose_for_data as decompose_for_data
    from rankfold.lowrank.data_aware import output_error as output_error
    from rankfold.lowrank.sparse_factors import row_sparse as row_sparse
    from rankfold.lowrank.support import FittedSupport as FittedSupport
    from rankfold.lowrank.support import fitted_supports as fitted_supports
    from rankfold.lowrank.support import nested_supports as nested_supports
    from rankfold.lowrank.support import refit as refit
    from rankfold.lowrank.support import shared_supports as shared_supports

_HOMES = {
    "FittedSupport": "support",
    "decompose_for_data": "data_aware",
    "fitted_supports": "support",
    "nested_supports": "support",
    "output_error": "data_aware",
    "refit": "support",
    "row_sparse": "sparse_factors",
    "shared_supports": "support",
}

__all__ = [
    "DECOMPOSITIONS",
    "ROUNDINGS",
    "FittedSupport",
    "LowRankFactors",
    "RankRule",
    "check_rank",
    "decompose",
    "decompose_for_data",
    "fitted_supports",
    "full_rank",
    "nested_supports",
    "output_error",
    "reconstruct",
    "refit",
    "row_sparse",
    "shared_supports",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'rankfold.lowrank' has no attribute {name!r}")
    return getattr(import_module(f"rankfold.lowrank.{_HOMES[name]}"), name)
