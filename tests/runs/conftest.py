"""What the tests of runs share."""

from common.trained_net import digits, weights
from common.unlabelled import dense, images

__all__ = ["dense", "digits", "images", "weights"]
