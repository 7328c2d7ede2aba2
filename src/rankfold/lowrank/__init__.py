"""Low-rank factors of a convolution's weight."""

from rankfold.lowrank.data_aware import decompose_for_data, output_error
from rankfold.lowrank.factors import (
    DECOMPOSITIONS,
    LowRankFactors,
    RankRule,
    check_rank,
    decompose,
    full_rank,
    reconstruct,
)
from rankfold.lowrank.row_sparse import row_sparse
from rankfold.lowrank.support import FittedSupport, fitted_supports, nested_supports, refit, shared_supports

__all__ = [
    "DECOMPOSITIONS",
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
