"""What the tests of exploring share."""

from common.trained_net import digits, model, weights

__all__ = ["digits", "model", "weights"]
