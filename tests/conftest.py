"""What all tests share."""

import gc
import os
from types import SimpleNamespace

import pytest
from hypothesis import HealthCheck, settings

from common.real_data import MISSING, data_folder, why_missing
from common.thorough import thorough

# Few examples, the same in every run; `RANKFOLD_THOROUGH=1` tries thousands of new ones.
settings.register_profile(
    "default", max_examples=30, derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile(
    "thorough", max_examples=5000, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile(thorough("thorough", "default"))


@pytest.fixture(scope="session")
def shared_folder(tmp_path_factory):
    """A folder that all processes of this test run have."""
    base = tmp_path_factory.getbasetemp()
    return base.parent if "PYTEST_XDIST_WORKER" in os.environ else base


@pytest.fixture(scope="session", autouse=True)
def image_cache(shared_folder):
    """Decoded images and compiled kernels go to a folder of this test run, never to the user's cache."""
    folder = shared_folder / "cache"
    folder.mkdir(exist_ok=True)
    os.environ["RANKFOLD_CACHE"] = str(folder)
    return folder


@pytest.fixture(scope="session", autouse=True)
def no_search_for_garbage():
    """Commands do not look through the memory of all tests, which takes longer than most of what they do."""
    still = SimpleNamespace(
        collect=lambda: 0,
        freeze=lambda: None,
        unfreeze=lambda: None,
        get_freeze_count=lambda: 0,
        get_threshold=gc.get_threshold,
        set_threshold=lambda *_: None,
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("rankfold.cli.arguments.process.gc", still)
        yield


@pytest.fixture(scope="session")
def few_cache(image_cache, shared_folder):
    """Where decoded images go in modules that ask for `few_digits`."""
    folder = shared_folder / "few"
    folder.mkdir(exist_ok=True)
    return folder


@pytest.fixture(scope="session")
def cluster_address(few_cache):
    """Of a Ray cluster of one core; its first process takes two seconds to start, each task imports torch.

    Its processes see few digits, whichever test was the first to ask for it.
    """
    from common.ray_cluster import ray_cluster  # not for tests that need no cluster

    with ray_cluster(few_cache) as address:
        yield address


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
def few_digits(few_cache):
    """In a module that asks for it, `digits` are a quarter of them: enough where nothing need be learnt."""
    from common.few_digits import few_digits  # not for tests that need no images

    with few_digits(few_cache):
        yield


def pytest_collection_finish():
    """Tests and modules stay to the end, and need not be looked through for garbage."""
    gc.collect()
    gc.freeze()


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
