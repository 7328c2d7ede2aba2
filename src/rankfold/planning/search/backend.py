"""Optuna, which searches need: whether it is there, and that it keeps its notices to itself."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rankfold.errors import MissingDependencyError


def check_optuna() -> None:
    """Refuse a search without the package.

    Raises:
        MissingDependencyError: it is not installed.
    """
    try:
        import optuna  # noqa: F401
    except ImportError as error:
        raise MissingDependencyError(
            "a search needs optuna, which is not installed; pip install 'rankfold[search]'"
        ) from error


@contextmanager
def quiet_optuna() -> Iterator[None]:
    """Optuna says only what is wrong inside, and what the user wants to hear outside."""
    import optuna

    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        yield
    finally:
        optuna.logging.set_verbosity(before)
