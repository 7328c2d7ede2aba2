"""A network on a chip of several arrays, in words."""

from __future__ import annotations

from rankfold.cost import ChipSchedule
from rankfold.cost.energy import ArrayAccuracy, PricedChip, accuracy_in_words

HOUR = 3600e6  # us
UNITS = ((86_400e6, "days"), (HOUR, "hours"), (60e6, "minutes"), (1e6, "seconds"))


def priced_chip_in_words(chip: PricedChip, fewest: int, accuracy: ArrayAccuracy | None = None) -> str:
    """What a chip makes of the network, with times, energies and area.

    Args:
        chip: the chip.
        fewest: arrays of the network under the mapping that needs fewest.
        accuracy: what the network keeps on such arrays; None: not simulated.
    """
    plan = chip.schedule
    held = f"{plan.tiles:,} tiles, which {plan.packing.arrays:,} arrays hold ({_proof(plan)})"
    lines = [f"chip of {chip.arrays:,} arrays, {chip.area:.2f} mm2: {held}"]
    if chip.interval is None or chip.latency is None or chip.staying_energy is None:
        lines.append(f"  too small for the weights to stay: {_rewriting(chip)}")
    else:
        lines.append(
            f"  weights stay, {_how(plan)}: an image every {chip.interval:,.2f} us "
            f"({1e6 / chip.interval:,.0f} images/s), {chip.latency:,.1f} us from in to out, "
            f"{1e-3 * chip.staying_energy:,.1f} nJ an image with leakage"
        )
        ratio = chip.rewriting_latency / chip.interval
        verdict = f"{ratio:,.1f} times as long"
        if ratio < 1:
            verdict = f"{1 / ratio:,.1f} times as fast"
        lines.append(f"  weights rewritten instead: {_rewriting(chip)}; {verdict}")
    lines += [f"  {line}" for line in _wear(chip)]
    lines.append(f"  accuracy on these arrays: {accuracy_in_words(accuracy)}")
    if chip.interval is None and fewest <= chip.arrays:
        lines.append(f"  other mappings fit: --max-arrays {chip.arrays} finds those of the fewest cycles")
    return "\n".join(lines)


def _rewriting(chip: PricedChip) -> str:
    """What an image takes whose weights are rewritten."""
    way = chip.schedule.rewriting
    written = f"{way.written:,} tiles are written for each image"
    if way.kept:
        written = f"{way.kept:,} tiles stay, and {way.written:,} are written for each image"
    if chip.writing_energy is None:
        return (
            f"{written}, {chip.rewriting_latency:,.2f} us an image without the time to write (the component "
            "table does not say what writing takes)"
        )
    return (
        f"{written}, {chip.rewriting_latency:,.2f} us an image ({chip.writing_time:,.2f} us for writing), "
        f"{1e-3 * chip.rewriting_energy:,.1f} nJ ({1e-3 * chip.writing_energy:,.1f} nJ for writing)"
    )


def _wear(chip: PricedChip) -> list[str]:
    """How long cells last that are rewritten, and what batches make of it."""
    lines = []
    images = chip.images_endured
    if images is not None:
        span = images * chip.rewriting_latency
        lines.append(
            f"rewritten cells are worn out after {images:,.0f} images, {_time(span)} "
            f"({chip.endurance:,.0f} writes of each)"
        )
    if chip.sharing_batch > 1 and chip.interval is None:
        lines.append(
            f"in batches of {chip.sharing_batch:,} images that go through layer by layer, writing takes half "
            "of the time"
        )
    return lines


def _time(span: float) -> str:
    """A time in us in words."""
    for unit, name in UNITS:
        if span >= unit:
            return f"{span / unit:,.1f} {name}"
    return f"{span:,.0f} us"


def chip_in_words(chip: ChipSchedule) -> str:
    """What a chip makes of the network, in cycles: of arrays whose cells hold a whole weight."""
    packing = chip.packing
    held = f"{chip.tiles:,} tiles with a cell for each weight, which {packing.arrays:,} arrays hold"
    lines = [f"chip of {chip.chip.arrays:,} arrays: {held} ({_proof(chip)})"]
    # None where not all tiles fit at once: arrays must then be rewritten for each image.
    if chip.interval is None:
        lines.append(
            f"  too small for the weights to stay: {chip.rewrites:,} tiles are written for each image or "
            "batch"
        )
    else:
        lines.append(
            f"  weights stay, {_how(chip)}: an image every {chip.interval:,} cycles, {chip.latency:,} cycles "
            "from in to out"
        )
    lines.append(
        f"  all arrays on one layer after another, rewritten in between: {chip.rewriting_latency:,} cycles "
        "an image and the time to write"
    )
    return "\n".join(lines)


def _proof(chip: ChipSchedule) -> str:
    # The packing is a heuristic: its bound says how far it may be from the best.
    if chip.packing.gap == 0:
        return "no fewer hold them"
    return f"at least {chip.packing.lower_bound:,}"


def _how(chip: ChipSchedule) -> str:
    # With an array for each tile the rest hold copies; with fewer, tiles share arrays.
    if chip.case == "copies":
        return "spare arrays hold copies"
    return "tiles that share an array take turns"
