"""What the tests of the command line share."""

import pytest
import torch

from common.command_line import PAIRS, SMALL
from common.few_digits import few_digits
from rankfold.cli.main import main
from rankfold.models.zoo import build


@pytest.fixture(scope="session")
def weights(tmp_path_factory):
    """Weights of a ResNet-8 for digits, not trained."""
    path = tmp_path_factory.mktemp("weights") / "resnet8.pt"
    torch.save(build("resnet8", 10, 1).state_dict(), path)
    return path


@pytest.fixture(scope="session")
def finished(tmp_path_factory, weights, few_cache):
    """The folder of a finished run on few digits, which tests read and do not change."""
    out = tmp_path_factory.mktemp("runs") / "run"
    with few_digits(few_cache):
        assert main(["compress", *SMALL, *PAIRS, "--checkpoint", str(weights), "--out", str(out)]) == 0
    return out
