"""The published reading of a network's cycles in words."""

from __future__ import annotations

from rankfold.cli.words.mapping import size_in_words
from rankfold.cost import PublishedCycles
from rankfold.records.text_table import format_table, with_short_names


def published_table(counted: PublishedCycles) -> str:
    """Window and cycles of each layer that counts, what the reading is, and the sum."""
    rows = []
    for shape, count in counted.layers:
        rows.append([shape.name, size_in_words(count.window), f"{count.cycles:,}"])
    table = format_table(["layer", "window", "cycles"], with_short_names(rows), "<<>")
    return (
        f"published reading, as the code of PAIRS and GAROS counts:\n\n{table}\n\n"
        f"{counted.cycles:,} cycles on {counted.array} arrays, of {len(counted.layers)} of {counted.runs} "
        f"layers: 3x3, stride 1, as many outputs as inputs, without padding; one square window each, found "
        f"for {counted.large} arrays and cut"
    )
