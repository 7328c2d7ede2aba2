"""Arguments that several commands share, and how they are read."""

from __future__ import annotations

import argparse
import ctypes
import shlex
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from rankfold.cost.energy import DEFAULT_TABLE, TABLES, ComponentTable, find_table
from rankfold.errors import InputError, RankfoldError
from rankfold.mapping import CODINGS, ArraySpec
from rankfold.plan import LayerRule
from rankfold.workload.shape import is_count

T = TypeVar("T")


def checked(parse: Callable[[str], T]) -> Callable[[str], T]:
    """Wrap a library parser for argparse, which shows only its own kind of error in full."""

    def convert(text: str) -> T:
        try:
            return parse(text)
        except RankfoldError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return convert


def image_input(text: str) -> tuple[int, int, int]:
    """Read `3x32x32` as (C, H, W).

    Raises:
        InputError: not three positive whole numbers.
    """
    parts = text.lower().split("x")
    if len(parts) != 3 or not all(is_count(part) and int(part) > 0 for part in parts):
        raise InputError(f"input (={text}) must be channels x height x width, such as 3x32x32")
    return int(parts[0]), int(parts[1]), int(parts[2])


def image_size(text: str) -> tuple[int, int]:
    """Read `32x32` as (H, W).

    Raises:
        InputError: not two positive whole numbers.
    """
    parts = text.lower().split("x")
    if len(parts) != 2 or not all(is_count(part) and int(part) > 0 for part in parts):
        raise InputError(f"image size (={text}) must be height x width, such as 32x32")
    return int(parts[0]), int(parts[1])


def bit_width(text: str) -> int | None:
    """Read `4` as 4 bits and `float` as None.

    Raises:
        InputError: neither 1 to 8 nor `float`.
    """
    if text == "float":
        return None
    if text.isascii() and text.isdigit() and 1 <= int(text) <= 8:
        return int(text)
    raise InputError(f"bits (={text}) must lie between 1 and 8, or be `float`")


def add_array(parser: argparse.ArgumentParser) -> None:
    """Add `--array`; None where it is not given."""
    parser.add_argument("--array", type=checked(ArraySpec.parse), metavar="RxC", help="array, rows x columns (default 64x64)")


def add_low_rank(parser: argparse.ArgumentParser) -> None:
    """Add `--groups`, `--rank` and `--pointwise`."""
    parser.add_argument("--groups", type=int, metavar="g", help="low-rank groups of every layer (default 1)")
    parser.add_argument(
        "--rank", metavar="r", help="rank of every group: a number, or a fraction of the output channels such as 1/8"
    )
    parser.add_argument("--pointwise", action="store_true", help="low-rank for 1x1 convolutions too")


def add_entries(parser: argparse.ArgumentParser, what: str) -> None:
    """Add `--entries`; `what` it means here."""
    parser.add_argument("--entries", type=int, metavar="e", help=what)


class _Rule(argparse.Action):
    """Collects `--include` and `--exclude` in one list, in the order in which they are given."""

    def __call__(self, parser: Any, namespace: Any, values: Any, option_string: str | None = None) -> None:
        namespace.rules = (*namespace.rules, LayerRule(values, option_string == "--include"))


def add_rules(parser: argparse.ArgumentParser) -> None:
    """Add `--linear`, `--fit`, `--include` and `--exclude`; the rules are collected in `rules`."""
    parser.add_argument("--linear", action="store_true", help="map fully connected layers too, and make them low-rank")
    parser.add_argument(
        "--fit", action="store_true", help="where a layer cannot have these groups or this rank, take the next lower ones"
    )
    parser.set_defaults(rules=())
    for verb, what in (("include", "low-rank, whatever the default says"), ("exclude", "kept dense")):
        parser.add_argument(
            f"--{verb}", action=_Rule, dest="rules", metavar="RULE", default=argparse.SUPPRESS,
            help=f"layers to be {what}: a name or a pattern such as 'layer1.*'; names go before patterns, then the first decides",
        )  # fmt: skip


def add_precision(parser: argparse.ArgumentParser) -> None:
    """Add `--bits`, and `--cell-bits`, `--coding` and `--dac-bits` of real arrays."""
    parser.add_argument("--bits", type=checked(bit_width), default=None, help="of weights and inputs, 1 to 8 (first and last 8)")
    parser.add_argument("--cell-bits", type=int, metavar="N", help="bits a cell stores (default: a whole weight)")
    parser.add_argument("--coding", choices=CODINGS, help=f"of signed weights (default {CODINGS[0]})")
    parser.add_argument("--dac-bits", type=int, metavar="N", help="input bits driven at once (default: a whole input)")


def add_technology(parser: argparse.ArgumentParser, resolution: bool = True) -> None:
    """Add `--technology`, `--adc` and, unless the command has one for its simulated arrays, `--adc-bits`."""
    parser.add_argument(
        "--technology", metavar="NAME",
        help=f"component table for energy and area: {', '.join(TABLES)}, zigzag, or a .yaml file (default {DEFAULT_TABLE})",
    )  # fmt: skip
    parser.add_argument("--adc", metavar="KIND", help="ADC of the table: flash, sar, zigzag or your own (default: the table's)")
    if resolution:
        parser.add_argument("--adc-bits", type=int, metavar="N", help="resolution of the ADCs (default: the table's)")


def component_table(options: argparse.Namespace, array: ArraySpec) -> ComponentTable:
    """The table that `--technology`, `--adc` and `--adc-bits` ask for.

    Raises:
        InputError: there is no such table or ADC, or the resolution is out of range.
        MissingDependencyError: `zigzag` without its package.
    """
    return find_table(options.technology, array, options.adc, options.adc_bits)


def add_training(parser: argparse.ArgumentParser, epochs: int, rate: float) -> None:
    """Add the options of a training run."""
    parser.add_argument(
        "--data", required=True, metavar="DATA", help="`digits`, a folder of Parquet shards or images by class, or a hub id"
    )
    parser.add_argument("--out", required=True, type=Path, metavar="DIR", help="folder for the results")
    parser.add_argument("--epochs", type=int, default=epochs, help=f"passes over the training images (default {epochs})")
    parser.add_argument("--batch", type=int, default=128, help="images per step (default 128)")
    parser.add_argument("--rate", type=float, default=rate, help=f"peak learning rate (default {rate})")
    parser.add_argument("--seed", type=int, default=0, help="fixes everything drawn at random (default 0)")
    parser.add_argument(
        "--augment",
        default="crop-flip",
        choices=("crop-flip", "crop", "none"),
        help="default crop-flip; digits are never flipped",
    )
    parser.add_argument(
        "--precision",
        default="auto",
        choices=("auto", "float32", "bfloat16"),
        help="of training steps; auto: bfloat16 where native",
    )
    parser.add_argument("--compile", action="store_true", help="run the training steps through torch.compile")
    parser.add_argument("--image-size", type=checked(image_size), metavar="HxW", help="resize every image")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, ... (default auto)")
    parser.add_argument("--threads", type=int, help="processor threads (default: all)")
    parser.add_argument("--resume", action="store_true", help="go on with the run that DIR holds")


def training_settings(options: argparse.Namespace, arguments: dict[str, Any]) -> Any:
    """The `CompressSettings` of a command; `arguments` are its fields beyond the training options."""
    from rankfold.runs.settings import CompressSettings
    from rankfold.training.recipe import Recipe

    prepare_process(options.threads)
    recipe = Recipe(
        epochs=options.epochs, batch_size=options.batch, peak_rate=options.rate, augment=options.augment,
        precision=options.precision, compiled=options.compile, seed=options.seed,
    )  # fmt: skip
    settings = CompressSettings(
        model=options.model, data=options.data, out=options.out, array=options.array, recipe=recipe,
        image_size=options.image_size, device=options.device, resume=options.resume, command=command_line(),
        technology=options.technology, adc=options.adc, adc_bits=options.adc_bits,
    )  # fmt: skip
    return replace(settings, **arguments)


def prepare_process(threads: int | None = None) -> None:
    """Settings of this process that make training faster; the library itself never changes them.

    Raises:
        InputError: `threads` is not a positive number.
    """
    import torch

    if threads is not None:
        if threads < 1:
            raise InputError(f"threads (={threads}) must be 1 or more")
        torch.set_num_threads(threads)
    if sys.platform == "linux":
        # glibc gives every large tensor back to the system when it is freed, and each new one then costs a page
        # fault per 4 KiB. Keep freed memory instead.
        m_trim_threshold, m_mmap_threshold = -1, -3
        mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
        if mallopt is not None:
            mallopt(m_mmap_threshold, 2**31 - 1)
            mallopt(m_trim_threshold, 2**31 - 1)


def command_line() -> str:
    """The command that runs now, as the user would type it."""
    return shlex.join(["rankfold", *(argument for argument in sys.argv[1:] if argument != "--resume")])


def show_report(folders: Mapping[str | None, Path], page: Path, title: str | None = None) -> None:
    """Write the page of finished runs, print their comparison and where the page is.

    Args:
        folders: the runs by label; None labels a run by what it did.
        page: the HTML file.
        title: its heading.
    """
    from rankfold.report import load_run, summary_table, write_report

    runs = [load_run(folder, label) for label, folder in folders.items()]
    write_report(page, runs, title)
    print(summary_table(runs))
    print(f"report: {page}")
