"""Libraries made of one file in C at first use, and kept in the cache folder.

It needs Linux and a C compiler with OpenMP (`cc`, or what the variable `CC` says). Without, or where anything
fails, `compiled` gives None and callers do the same in another way. `CC=false` leaves libraries out.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import platform
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from rankfold.files import cache_folder

LIBRARIES = "kernels-*.so"  # what they are called in the cache folder
# No -ffast-math: NaN has to stay NaN. No contraction: where a product and an addition are fused, the source
# says so. The wide vectors are worth it here, as all time goes into them.
FLAGS = ("-O3", "-march=native", "-ffp-contract=off", "-fno-math-errno", "-fno-trapping-math", "-fopenmp")
Functions = TypeVar("Functions")


def compiled(source: Path, functions: Callable[[ctypes.CDLL], Functions]) -> Functions | None:
    """The functions of a compiled library, or None where this machine cannot make it.

    Args:
        source: one file in C.
        functions: declares those of the loaded library.
    """
    try:
        return functions(library(source))
    # RuntimeError: a user without a home; ValueError: quotes in CC that are not closed; AttributeError: a
    # function that the library lacks.
    except (OSError, subprocess.SubprocessError, AttributeError, RuntimeError, ValueError):
        return None


def library(source: Path) -> ctypes.CDLL:
    """A compiled library, of this source, compiler and processor: from the cache folder, or made now.

    Args:
        source: one file in C.

    Raises:
        OSError, subprocess.SubprocessError, ValueError, RuntimeError: this machine cannot make or load it.
    """
    if sys.platform != "linux":
        raise OSError("not on this system")
    compiler, *options = shlex.split(os.environ.get("CC") or "cc")
    found = shutil.which(compiler)
    if found is None:
        raise OSError("no C compiler")
    command = [found, *options, *FLAGS]
    # `-march=native` means other instructions on other machines, which may share the folder.
    identity = [source.read_bytes(), " ".join(command).encode(), _processor().encode()]
    key = hashlib.sha256(b"\0".join(identity)).hexdigest()[:20]
    kept = cache_folder() / LIBRARIES.replace("*", key)
    with suppress(OSError):
        return _loaded(kept)
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder) / "kernels.so"
        command += ["-shared", "-fPIC", "-o", str(made), str(source), "-lm"]
        subprocess.run(command, check=True, capture_output=True, stdin=subprocess.DEVNULL, timeout=60)
        made.chmod(0o700)
        # Where it cannot be kept, the next process compiles again; where temporary files cannot be run, what
        # was kept can.
        with suppress(OSError):
            _keep(made, kept)
            return _loaded(kept)
        return _loaded(made)


def _loaded(path: Path) -> ctypes.CDLL:
    """A library that belongs to this user and that nobody else may change: others may share the folder."""
    handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    try:
        found = os.fstat(handle)
        if found.st_uid != os.geteuid() or found.st_mode & 0o022:
            raise OSError(f"others may have written {path}")
        # The very file that was looked at, whatever has its name by now. The linker knows libraries by name:
        # the file stays open, so that the next library of this process gets another one.
        return ctypes.CDLL(f"/proc/self/fd/{handle}")
    except OSError:
        os.close(handle)
        raise


def _keep(made: Path, kept: Path) -> None:
    """Copy a library into the cache folder, whole or not at all, and private at all times."""
    kept.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=kept.name, dir=kept.parent)
    try:
        with open(handle, "wb") as temporary:
            temporary.write(made.read_bytes())
            os.fsync(handle)
        os.replace(name, kept)
    finally:
        Path(name).unlink(missing_ok=True)


def _processor() -> str:
    """What tells processors of different instructions apart."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    flags = [line for line in lines if line.startswith(("flags", "Features"))]
    return f"{platform.machine()} {platform.processor()} {flags[:1]}"
