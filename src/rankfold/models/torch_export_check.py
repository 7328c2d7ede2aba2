"""What is checked in a `torch.export` file (.pt2) before torch reads it, so that nothing in it is run.

The archive may hold pickles, compiled code, or far more than its size; the texts in its JSON have rules of
their own, see `torch_export_rules`.
"""

from __future__ import annotations

import io
import json
import math
import pickle
import re
import zipfile
from collections.abc import Sequence
from pathlib import Path

import torch
from torch._export.serde import schema

from rankfold.errors import InputError, first_line
from rankfold.models.torch_export_rules import FieldCheck

FORMAT = "archive_format"
COMPILED = "data/aotinductor/"
# What torch's own reader would hand to Python's pickle.
PICKLES = ("custom_obj_", "opaque_obj_")
# The entries that torch.export.save writes for a network. Others are not passed on to torch.
KNOWN = re.compile(
    r"archive_format|archive_version|byteorder|version|\.data/(version|serialization_id)"
    r"|models/model\.json"
    r"|data/(weights|constants)/model(\.pt|_(weights|constants)_config\.json)"
    r"|data/sample_inputs/model\.pt"
    r"|data/weights/weight_\d+|data/constants/tensor_\d+"
)
# torch.export.save does not pack. Files that somebody packed may grow by this factor, and small ones to
# this many bytes.
GROWTH = 4
SMALL = 64 * 2**20


def checked_archive(source: Path) -> io.BytesIO:
    """The archive written anew from the entries that were checked here, so that torch finds no others.

    Torch takes names without their case, and of two equal ones another than Python does; and it reads an
    older form of file, which may hold anything.

    Raises:
        InputError: the file is damaged, or holds anything that torch would unpickle or run, or far more
            than its size.
    """
    checked = io.BytesIO()
    try:
        with zipfile.ZipFile(source) as archive, zipfile.ZipFile(checked, "w") as copy:
            _copy_checked(archive, copy, source)
    except InputError:
        raise
    except Exception as error:  # a damaged archive raises anything
        raise InputError(f"{source} is not a torch.export file, or is damaged: {first_line(error)}") from None
    checked.seek(0)
    return checked


def _copy_checked(
    archive: zipfile.ZipFile,
    copy: zipfile.ZipFile,
    source: Path,
) -> None:
    # Before anything is unpacked.
    _check_names(archive.namelist(), source)
    limit = _check_sizes(archive, source.stat().st_size, source)
    for entry in archive.infolist():
        _, _, name = entry.filename.partition("/")
        name = name.lower()
        if name.startswith(COMPILED):
            raise InputError(
                f"{source} holds compiled code, which is not run; save it with torch.export.save"
            )
        # Others are left behind: torch has no use for them, and nobody has looked at them.
        if KNOWN.fullmatch(name):
            # Read by the declared size: what an entry unpacks to beyond it is never made.
            content = archive.open(entry).read(entry.file_size)
            copy.writestr(entry.filename, _checked_entry(name, content, source, limit))


def _check_names(names: Sequence[str], source: Path) -> None:
    """All entries are in one folder, and no two have the same name."""
    folder = ""
    if names:
        folder, _, _ = names[0].partition("/")
    if f"{folder}/{FORMAT}" not in names:
        raise InputError(
            f"{source} is no torch.export file (no {FORMAT} in it); save the network with torch.export.save"
        )
    outside = not all(name.startswith(f"{folder}/") for name in names)
    different = {name.lower() for name in names}
    if outside or len(different) < len(names):
        raise InputError(
            f"{source} has entries of one name or outside its folder; save it again with torch.export.save"
        )


def _check_sizes(
    archive: zipfile.ZipFile,
    size: int,
    source: Path,
) -> int:
    """Refuse an archive that unpacks to far more than its size; returns the bytes that it may unpack to."""
    limit = max(GROWTH * size, SMALL)
    total = sum(entry.file_size for entry in archive.infolist())
    if total > limit:
        raise InputError(
            f"{source} unpacks to {total:,} bytes, more than the {limit:,} allowed for {size:,} packed ones; "
            "save it again with torch.export.save, which does not pack"
        )
    # Python unpacks other kinds without a bound.
    bounded = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
    for entry in archive.infolist():
        if entry.compress_type not in bounded:
            raise InputError(
                f"{source} is packed otherwise than torch packs; save it again with torch.export.save"
            )
    return limit


def _checked_entry(
    name: str,
    content: bytes,
    source: Path,
    limit: int,
) -> bytes:
    """The entry as torch may read it; refused if anything in it would be unpickled or run."""
    if name.endswith("_config.json"):
        return _checked_config(content, source, limit)
    if name.endswith(".pt") and content:
        return _checked_tensors(content, source)
    if name.startswith("models/"):
        # Torch reads UTF-8; left to itself, json would take other encodings too.
        model = json.loads(content.decode("utf-8"))
        check = FieldCheck(source)
        check.check_formulae(model)
        check.check(schema.ExportedProgram, model, "")
        # Written anew: of two equal keys torch could take another than was checked.
        return json.dumps(model).encode()
    return content


def _checked_config(
    content: bytes,
    source: Path,
    limit: int,
) -> bytes:
    """A table of weights or constants: none of them pickled, none larger than the file allows."""
    config = json.loads(content.decode("utf-8"))
    for name, entry in config["config"].items():
        if entry["use_pickle"] or entry["path_name"].startswith(PICKLES):
            raise InputError(_pickled(source))
        # A tensor may repeat its stored numbers, and of an empty entry torch makes zeros.
        count = math.prod(size.get("as_int", 0) for size in entry["tensor_meta"]["sizes"])
        if count > limit:
            raise InputError(
                f"{source} declares {count:,} numbers for {name[:60]!r}, "
                f"more than the {limit:,} that its size allows"
            )
    FieldCheck(source).check(schema.PayloadConfig, config, "")
    return json.dumps(config).encode()


def _checked_tensors(content: bytes, source: Path) -> bytes:
    """Tensors written anew: if torch cannot read a file of them safely, it unpickles it."""
    if not zipfile.is_zipfile(io.BytesIO(content)):
        raise InputError(_pickled(source))
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        _check_sizes(archive, len(content), source)
    try:
        tensors = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        raise InputError(_pickled(source)) from None
    # By torch itself, from what was read safely: the file's own pickle is not passed on.
    written = io.BytesIO()
    torch.save(tensors, written)
    return written.getvalue()


def _pickled(source: Path) -> str:
    return f"{source} holds pickled objects, which are not read; export plain tensors only"
