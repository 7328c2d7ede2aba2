"""Low-rank factors of a convolution's weight."""

from rankfold.lowrank.data_aware import decompose_for_data, output_error
from rankfold.lowrank.factors import DECOMPOSITIONS, LowRankFactors, RankRule, check_rank, decompose, full_rank, reconstruct

__all__ = [
    "DECOMPOSITIONS",
    "LowRankFactors",
    "RankRule",
    "check_rank",
    "decompose",
    "decompose_for_data",
    "full_rank",
    "output_error",
    "reconstruct",
]
