"""What the tests of runs share."""

from common.trained_net import digits, weights

__all__ = ["digits", "weights"]
