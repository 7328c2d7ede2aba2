"""What the tests of `rankfold plan` share."""

from common.trained_net import digits, model, weights

__all__ = ["digits", "model", "weights"]
