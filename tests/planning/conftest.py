"""What the tests of planning share."""

from dataclasses import replace

import pytest

from common.planned_net import ARRAY, WHOLE, Remembers
from common.small_network import net
from common.trained_net import digits, model, weights
from common.unlabelled import dense, images
from rankfold.models.load import apply_weights, read_weights
from rankfold.planning import planning_problem

__all__ = ["dense", "digits", "images", "model", "weights"]


@pytest.fixture(scope="session")
def problem(weights, digits):
    """The planning problem of `model`, whose accuracies are measured once for all tests."""
    model = net()
    apply_weights(model, read_weights(weights), str(weights))
    made = planning_problem(model.eval(), digits, ARRAY, *WHOLE)
    return replace(made, accuracy=Remembers(made.accuracy))
