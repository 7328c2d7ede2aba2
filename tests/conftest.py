"""What all tests share."""

import os

import pytest
from hypothesis import HealthCheck, settings

from common.real_data import MISSING, data_folder, why_missing
from common.thorough import thorough

# Few examples, the same in every run; `RANKFOLD_THOROUGH=1` tries thousands of new ones.
settings.register_profile(
    "default", max_examples=60, derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile(
    "thorough", max_examples=5000, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile(thorough("thorough", "default"))

FEW = 450  # digits, 90 of them for tests


@pytest.fixture(scope="session", autouse=True)
def image_cache(tmp_path_factory):
    """Decoded images go to a folder of this test run, never to the user's cache."""
    folder = tmp_path_factory.mktemp("cache")
    os.environ["RANKFOLD_CACHE"] = str(folder)
    return folder


@pytest.fixture(scope="session")
def cifar10():
    """The folder of CIFAR-10, where this machine has it."""
    return _folder_of("cifar10")


@pytest.fixture(scope="session")
def cifar100():
    """The folder of CIFAR-100, where this machine has it."""
    return _folder_of("cifar100")


def _folder_of(name):
    folder = data_folder(name)
    if not folder.is_dir():
        pytest.skip(why_missing(name))
    return str(folder)


@pytest.fixture(scope="module")
def few_digits(image_cache, tmp_path_factory):
    """In a module that asks for it, `digits` are a quarter of them: enough where nothing need be learnt."""
    from sklearn.datasets import load_digits  # not for tests that need no images
    from sklearn.utils import Bunch

    bunch = load_digits()
    few = Bunch(images=bunch.images[:FEW], target=bunch.target[:FEW])
    with pytest.MonkeyPatch.context() as patch:
        # The cache of this test run keeps all of them, under the same name.
        patch.setenv("RANKFOLD_CACHE", str(tmp_path_factory.mktemp("few")))
        patch.setattr("sklearn.datasets.load_digits", lambda: few)
        yield


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
