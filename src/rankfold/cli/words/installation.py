"""What is installed on this machine, as `rankfold doctor` tells it."""

from __future__ import annotations

import argparse
import os
import platform
import shlex
import shutil
import sys
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rankfold.cli.words.versions import version_of
from rankfold.errors import InputError

if TYPE_CHECKING:
    from rankfold.cli.arguments.settings import Settings

OURS = "rankfold"
FOR_DEVELOPERS = "dev"  # an extra that users need not hear of


@dataclass(frozen=True)
class Package:
    """A package that we need, or that an extra needs.

    Attributes:
        name: of the package.
        needed: versions that will do, such as `>=1.26`.
        version: that is installed; None: none is.
        fits: whether it will do.
    """

    name: str
    needed: str
    version: str | None
    fits: bool


@dataclass(frozen=True)
class Device:
    """What torch computes on.

    Attributes:
        name: as `--device` takes it.
        what: it is, in words.
        bfloat16: whether it multiplies bfloat16 natively, so that training uses it.
    """

    name: str
    what: str
    bfloat16: bool


def packages() -> dict[str, list[Package]]:
    """The packages that are needed, by extra; those of the name "" are needed by all.

    Raises:
        InputError: nothing on this machine says what is needed.
    """
    from packaging.requirements import Requirement

    found: dict[str, list[Package]] = {"": []}
    try:
        lines = metadata.requires(OURS) or ()
    except metadata.PackageNotFoundError:
        raise InputError(
            "rankfold runs from a folder and is not installed, so that nothing says what it needs; "
            "install it (pip install -e FOLDER)"
        ) from None
    for line in lines:
        requirement = Requirement(line)
        extra = _extra(line)
        # `rankfold[onnx]`, of extras that hold others.
        if extra == FOR_DEVELOPERS or requirement.name == OURS:
            continue
        version = version_of(requirement.name)
        fits = version is not None and requirement.specifier.contains(version, prereleases=True)
        package = Package(requirement.name, str(requirement.specifier), version, fits)
        found.setdefault(extra, []).append(package)
    return found


def _extra(line: str) -> str:
    """The extra of a requirement such as `optuna>=4.0; extra == "search"`; empty: it is of none."""
    _, _, rest = line.partition("extra ==")
    return rest.strip().strip("'\"")


def devices() -> list[Device]:
    """What torch finds, the processor first; none where torch cannot be imported."""
    try:
        import torch

        from rankfold.training.device import computes_bfloat16
    except (ImportError, OSError):  # OSError: a library of a broken installation
        return []
    cpu = torch.device("cpu")
    words = f"{_processor()}, threads: {torch.get_num_threads()}"
    found = [Device("cpu", words, computes_bfloat16(cpu))]
    for number in range(torch.cuda.device_count()):
        device = torch.device("cuda", number)
        properties = torch.cuda.get_device_properties(device)
        words = f"{properties.name}, {properties.total_memory / 2**30:.0f} GiB"
        found.append(Device(f"cuda:{number}", words, computes_bfloat16(device)))
    if torch.backends.mps.is_available():
        found.append(Device("mps", "Apple GPU", False))
    return found


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def compiler() -> dict[str, Any]:
    """The C compiler that fast kernels are made with, and whether one of them can be made and loaded."""
    command = os.environ.get("CC") or "cc"
    try:
        found = shutil.which(shlex.split(command)[0])
    except (ValueError, IndexError):  # quotes that are not closed, or nothing but spaces
        found = None
    works = False
    if found is not None:
        try:
            from rankfold.nn.kernels import kernels

            works = kernels() is not None
        except (ImportError, OSError):
            pass
    return {"command": command, "path": found, "kernels": works}


def caches() -> dict[str, Any]:
    """The cache folder, and how large what is in it is: decoded images, and compiled kernels."""
    from rankfold.c_libraries import LIBRARIES
    from rankfold.files import cache_folder
    from rankfold.training.cache import cached

    folder = cache_folder()
    images = sum(entry.size for entry in cached())
    kernels = sum(path.lstat().st_size for path in folder.glob(LIBRARIES))
    return {"folder": str(folder), "images": images, "kernels": kernels}


def settings(commands: tuple[str, ...]) -> dict[str, Any]:
    """The file of options that counts in the working folder, which commands take what, and what is wrong."""
    from rankfold.cli.arguments.settings import find_settings

    nothing: dict[str, Any] = {"file": None, "options": {}, "commands": {}}
    try:
        found = find_settings(Path.cwd(), commands)
        if found is None:
            return nothing
        taken = _taken(found, commands)
    except InputError as error:
        return {**nothing, "error": str(error)}
    except OSError:  # a working folder that somebody has removed
        return nothing
    options = {**found.shared}
    for command, own in found.of_command.items():
        options.update({f"{command}.{name}": value for name, value in own.items()})
    return {"file": str(found.path), "options": options, "commands": taken}


def _taken(found: Settings, commands: tuple[str, ...]) -> dict[str, list[str]]:
    """The commands that take each option which a file has for all.

    Raises:
        InputError: a command takes no such value, or its own table has what is no option of it.
    """
    from rankfold.cli.main import build_parser

    taken: dict[str, list[str]] = {name: [] for name in found.shared}
    parser = build_parser(*commands, settings=found)
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for command, its in action.choices.items():
                for name in its.get_default("applied").names.values():
                    if name in taken:
                        taken[name].append(command)
    return taken


def examined(commands: tuple[str, ...]) -> dict[str, Any]:
    """Everything, as plain values for JSON.

    Args:
        commands: that a file of options may have tables for.

    Raises:
        InputError: see `packages`.
    """
    return {
        "rankfold": version_of(OURS),
        "python": platform.python_version(),
        "executable": sys.executable,
        "system": platform.platform(),
        "packages": {extra: [asdict(one) for one in all_] for extra, all_ in packages().items()},
        "devices": [asdict(device) for device in devices()],
        "compiler": compiler(),
        "caches": caches(),
        "settings": settings(commands),
    }
