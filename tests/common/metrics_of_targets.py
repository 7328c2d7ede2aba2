"""Metrics for the command line."""


def same_classes(outputs, targets):
    """The share of samples whose most likely class is that of the targets."""
    return float((outputs.argmax(1) == targets).float().mean())


def threes(outputs, targets):
    """The share of samples whose most likely class is 3, as all targets are."""
    assert targets == [3] * len(outputs)
    return float((outputs.argmax(1) == 3).float().mean())
