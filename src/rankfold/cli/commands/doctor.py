"""`rankfold doctor`: what is installed, what is missing, and how to get it."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from typing import Any

from rankfold.cli.words.installation import examined
from rankfold.records.text_table import format_table

MEBIBYTE = 1 << 20
FAILED = 1


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Print it; 1 where something is wrong that every command needs."""
    from rankfold.cli.main import COMMANDS

    found = examined(tuple(COMMANDS))
    if options.json:
        print(json.dumps(found, indent=2))
    else:
        print("\n\n".join(_parts(found)))
    if _faults(found):
        return FAILED
    return 0


def _faults(found: Mapping[str, Any]) -> list[str]:
    """What has to be mended, each with how."""
    faults = []
    for package in found["packages"][""]:
        if not package["fits"]:
            there = package["version"] or "missing"
            wanted = f"{package['name']}{package['needed']}"
            faults.append(f'{package["name"]} is {there}: pip install "{wanted}"')
    if not found["devices"]:
        faults.append("torch cannot be imported: install it anew, pip install --force-reinstall torch")
    if "error" in found["settings"]:
        faults.append(found["settings"]["error"])
    return faults


def _parts(found: Mapping[str, Any]) -> list[str]:
    head = (
        f"rankfold {found['rankfold']}, Python {found['python']} ({found['executable']}), {found['system']}"
    )
    return [head, _needed(found), _extras(found), _machine(found), _conclusion(found)]


def _needed(found: Mapping[str, Any]) -> str:
    rows = []
    for package in found["packages"][""]:
        rows.append([package["name"], package["version"] or "missing", package["needed"], _verdict(package)])
    return format_table(["needed", "installed", "versions", ""], rows, "<<<<")


def _verdict(package: Mapping[str, Any]) -> str:
    if package["fits"]:
        return "good"
    if package["version"] is None:
        return "missing"
    return "other version"


def _extras(found: Mapping[str, Any]) -> str:
    rows = []
    for extra, packages in found["packages"].items():
        if not extra:
            continue
        there = [f"{one['name']} {one['version']}" for one in packages if one["version"] is not None]
        how = "good"
        if not all(package["fits"] for package in packages):
            how = f'pip install "rankfold[{extra}]"'
        rows.append([extra, ", ".join(there) or "none", how])
    return format_table(["extra", "installed", ""], rows, "<<<")


def _machine(found: Mapping[str, Any]) -> str:
    lines = []
    for device in found["devices"]:
        natively = "float32 training steps"
        if device["bfloat16"]:
            natively = "bfloat16 training steps"
        lines.append(f"device {device['name']}: {device['what']}, {natively}")
    compiler = found["compiler"]
    if compiler["kernels"]:
        words = "kernels in C are used"
    elif compiler["path"] is None:
        words = "no C compiler: the same results, slower; install gcc or clang with OpenMP, or set CC"
    else:
        words = "kernels in C cannot be made: the same results, slower; it needs Linux and OpenMP"
    lines.append(f"compiler {compiler['path'] or compiler['command']}: {words}")
    caches = found["caches"]
    sizes = ", ".join(f"{what} {caches[what] / MEBIBYTE:,.1f} MiB" for what in ("images", "kernels"))
    lines.append(f"cache {caches['folder']}: {sizes}; RANKFOLD_CACHE names another folder")
    settings = found["settings"]
    said = "no rankfold.toml, and no [tool.rankfold] in a pyproject.toml"
    if settings["options"]:
        said = ", ".join(f"{name} = {value}" for name, value in settings["options"].items())
    lines.append(f"options of {settings['file'] or 'no file'}: {settings.get('error', said)}")
    for name, commands in settings["commands"].items():
        lines.append(f"  {name} counts in: {', '.join(commands) or 'no command'}")
    return "\n".join(lines)


def _conclusion(found: Mapping[str, Any]) -> str:
    faults = _faults(found)
    if not faults:
        return "all that is needed is there"
    return "to mend:\n" + "\n".join(f"  {fault}" for fault in faults)
