"""`rankfold cache`: the decoded images that data sets leave behind, to show and to clear."""

from __future__ import annotations

import argparse

from rankfold.records.text_table import format_table

MEBIBYTE = 1 << 20


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    parser.add_argument(
        "action",
        nargs="?",
        choices=("show", "clear"),
        default="show",
        help="show: where decoded images are kept, of which data and how large (the default); clear: remove "
        "them all, they are decoded anew when they are needed",
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Print what is in the cache, or empty it."""
    # Late: what reads images imports torch.
    from rankfold.files import cache_folder
    from rankfold.training.cache import cached, clear_cache

    folder = cache_folder()
    if options.action == "clear":
        freed = clear_cache()
        print(f"{folder}: {freed / MEBIBYTE:,.1f} MiB freed")
        return 0
    entries = cached()
    rows = []
    for entry in entries:
        rows.append([entry.source, entry.images, f"{entry.size / MEBIBYTE:,.1f}"])
    total = sum(entry.size for entry in entries) / MEBIBYTE
    if rows:
        print(format_table(["data", "images", "MiB"], rows, "<<>"), end="\n\n")
    print(f"{folder}: {len(entries)} data sets, {total:,.1f} MiB; RANKFOLD_CACHE names another folder")
    return 0
