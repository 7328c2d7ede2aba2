"""What users name in code of their own, `package.module:name`."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rankfold.errors import InputError, first_line


def imported(name: str, what: str, expected: str) -> Callable[..., Any]:
    """The function or class called `package.module:name`; importing it runs the user's code.

    Args:
        name: as the user gives it.
        what: it is for, in messages, such as `model`.
        expected: of it, in messages, such as `a function or class that returns an nn.Module`.

    Raises:
        InputError: it cannot be imported, or cannot be called.
    """
    module_name, colon, attribute = name.partition(":")
    if not (module_name and colon and attribute):
        raise InputError(f"{what} {name} must be package.module:name, {expected}")
    # A console script does not look in the current folder, where the user's file lies.
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        found = getattr(importlib.import_module(module_name), attribute)
    except (Exception, SystemExit) as error:  # an import runs the user's code, which may raise anything
        raise InputError(
            f"{what} {name} cannot be imported: {first_line(error)}; expected package.module:name"
        ) from error
    if not callable(found):
        raise InputError(f"{what} {name} is a {type(found).__name__}; expected {expected}")
    function: Callable[..., Any] = found
    return function
