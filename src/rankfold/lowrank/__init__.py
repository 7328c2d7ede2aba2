"""Factors of a weight and their error."""

from rankfold.lowrank.factors import LowRankFactors, RankRule, check_rank, decompose, full_rank, reconstruct

__all__ = ["LowRankFactors", "RankRule", "check_rank", "decompose", "full_rank", "reconstruct"]
