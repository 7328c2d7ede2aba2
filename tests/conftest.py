"""What all tests share."""

import os

import pytest
from hypothesis import HealthCheck, settings

from common.real_data import MISSING, data_folder, why_missing

# Few examples, the same in every run; `RANKFOLD_THOROUGH=1` tries thousands of new ones.
settings.register_profile(
    "default", max_examples=60, derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile(
    "thorough", max_examples=5000, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("thorough" if os.environ.get("RANKFOLD_THOROUGH") else "default")


@pytest.fixture(scope="session", autouse=True)
def image_cache(tmp_path_factory):
    """Decoded images go to a folder of this test run, never to the user's cache."""
    folder = tmp_path_factory.mktemp("cache")
    os.environ["RANKFOLD_CACHE"] = str(folder)
    return folder


@pytest.fixture(scope="session")
def cifar10():
    """The folder of CIFAR-10, where this machine has it."""
    folder = data_folder("cifar10")
    if not folder.is_dir():
        pytest.skip(why_missing("cifar10"))
    return str(folder)


def pytest_terminal_summary(terminalreporter):
    """Say how many tests did not run for lack of real data, which a line of dots hides."""
    skipped = terminalreporter.stats.get("skipped", [])
    reasons = [str(report.longrepr[2]) for report in skipped if isinstance(report.longrepr, tuple)]
    missing = [reason for reason in reasons if MISSING in reason]
    if missing:
        terminalreporter.write_sep("-", "real data")
        terminalreporter.write_line(
            f"{len(missing)} tests were skipped: {missing[0].removeprefix('Skipped: ')}"
        )
