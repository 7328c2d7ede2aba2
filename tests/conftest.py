"""What all tests share."""

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# Few examples, the same in every run; `RANKFOLD_THOROUGH=1` tries thousands of new ones.
settings.register_profile(
    "default", max_examples=100, derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile(
    "thorough", max_examples=5000, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("thorough" if os.environ.get("RANKFOLD_THOROUGH") else "default")

CIFAR10 = Path(__file__).parents[2] / "shared" / "data" / "cifar10"


@pytest.fixture(scope="session", autouse=True)
def image_cache(tmp_path_factory):
    """Decoded images go to a folder of this test run, never to the user's cache."""
    folder = tmp_path_factory.mktemp("cache")
    os.environ["RANKFOLD_CACHE"] = str(folder)
    return folder


@pytest.fixture
def cifar10():
    """The folder of CIFAR-10, where this machine has it."""
    if not CIFAR10.is_dir():
        pytest.skip(f"CIFAR-10 is not at {CIFAR10}")
    return str(CIFAR10)
